"""Models on transformers that write no text: how they are recognised and launched, and what needs no library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelhost.engines import ENGINES
from modelhost.engines.installed import can_do, kind_of
from modelhost.engines.launch import ModelSpec
from modelhost.engines.media.sentences import LONGEST, MOST_AT_ONCE, bounded, sentences_in
from modelhost.engines.transformers.embedding import default_prompt, most_tokens, poolings_in, read_modules
from modelhost.engines.transformers.hearing import Segment, read_window
from modelhost.errors import ConfigError, InvalidAudio, NothingToSpeak

TRANSFORMERS = ENGINES["transformers"]
END, TIMES = 50, 100
"""The token that ends a text, and the timestamp of 0 seconds."""


def spec(**fields: Any) -> ModelSpec:
    return ModelSpec(name="m", path=Path("/models/m"), **fields)


@pytest.mark.parametrize(
    ("task", "module"), [("speech", "speaking"), ("transcription", "hearing"), ("embeddings", "embedding")]
)
def test_each_task_has_a_worker_of_its_own(task: Any, module: str) -> None:
    launch = TRANSFORMERS.launch(spec(task=task), "key")
    assert launch.argv[1:] == ("-m", f"modelhost.engines.transformers.{module}")
    assert TRANSFORMERS.launch(spec(), "key").argv[1:] == ("-m", "modelhost.engines.transformers.worker")


def test_a_limit_of_no_minutes_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_minutes"):
        TRANSFORMERS.launch(spec(task="transcription", options={"max_minutes": 0}), "key")


@pytest.mark.parametrize(
    ("families", "kind"),
    [
        ({"whisper"}, ("transformers", "transcription")),
        ({"vits"}, ("transformers", "speech")),
        ({"dia", "dia_decoder"}, ("transformers", "speech")),
        ({"bark"}, ("transformers", "speech")),
        ({"csm"}, ("transformers", "speech")),
        ({"qwen3", "sentence_transformers"}, ("transformers", "embeddings")),
        ({"qwen3"}, None),
        (set(), None),
    ],
)
def test_the_kind_of_a_model_follows_from_its_files(families: set[str], kind: tuple[str, str] | None) -> None:
    assert kind_of(frozenset(families)) == kind


def test_a_model_can_do_its_own_task_only() -> None:
    assert can_do("transformers", "speech", own_task="speech")
    assert not can_do("transformers", "chat", own_task="speech")
    assert not can_do("transformers", "speech")
    assert can_do("transformers", "chat")
    assert can_do("whisper", "transcription")


@pytest.mark.parametrize(("kind", "error"), [("invalid_audio", InvalidAudio), ("nothing_to_speak", NothingToSpeak)])
def test_what_its_workers_refuse_has_a_code(kind: str, error: type[Exception]) -> None:
    payload = {"error": {"message": "no", "type": kind, "param": "file"}}
    assert type(TRANSFORMERS.translate_error(400, payload, model="m", worker="1")) is error


def window(*tokens: int | float, seconds: float = 30.0) -> tuple[list[tuple[float, float, list[int]]], float]:
    """Read a window in which floats are timestamps."""
    written = [TIMES + round(each / 0.02) if isinstance(each, float) else each for each in tokens]
    read = read_window(written, end=END, first_time=TIMES, seconds=seconds)
    return [(round(each.start, 2), round(each.end, 2), list(each.tokens)) for each in read.segments], read.seconds


def test_the_segments_of_a_window_stand_between_timestamps() -> None:
    assert window(0.0, 1, 2, 1.5, 1.5, 3, 4.0, END) == ([(0.0, 1.5, [1, 2]), (1.5, 4.0, [3])], 30.0)
    assert window(END) == ([], 30.0)
    assert window(0.0, 1, 2, END, seconds=12.0) == ([(0.0, 12.0, [1, 2])], 12.0)
    assert window(0.0, 1, 90.0, seconds=12.0) == ([(0.0, 12.0, [1])], 12.0)
    assert window(20.0, 1, 2, END, seconds=12.0) == ([(11.98, 12.0, [1, 2])], 12.0)


def test_a_segment_that_is_cut_off_begins_the_next_window() -> None:
    assert window(0.0, 1, 20.0, 20.0, 2, END) == ([(0.0, 20.0, [1])], 20.0)
    last = window(0.0, 1, 5.0, 5.0, 2, END, seconds=10.0)
    assert last == ([(0.0, 5.0, [1]), (5.0, 10.0, [2])], 10.0)


def test_a_window_always_goes_on() -> None:
    assert window(3.0, 1, 2.0, 2) == ([(2.0, 30.0, [1, 2])], 30.0)
    assert Segment(start=0.0, end=1.0, tokens=(1,)).end == 1.0


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("3.5 is a number", ["3.5 is a number"]),
        ("一。二", ["一。", "二"]),
        ("a\n\nb\n...", ["a", "b"]),
        (" ... ", []),
    ],
)
def test_a_text_is_spoken_sentence_by_sentence(text: str, sentences: list[str]) -> None:
    assert sentences_in(text) == sentences


def test_a_sentence_that_is_too_long_is_spoken_in_parts_and_nothing_of_it_is_lost() -> None:
    words = "one two three, four five six " * 200
    parts = sentences_in(words)
    assert max(map(len, parts)) <= LONGEST
    assert " ".join(parts) == words.strip()
    assert all(part.endswith(",") for part in parts[:-1])
    unbroken = "a" * (3 * LONGEST + 1)
    assert [len(part) for part in sentences_in(unbroken)] == [LONGEST, LONGEST, LONGEST, 1]
    plain = [part for part in sentences_in("word " * 300) if part != parts[0]]
    assert all(set(part.split()) == {"word"} for part in plain)


def test_a_text_of_short_sentences_is_left_to_a_voice_that_finds_them_itself() -> None:
    short = "One sentence. " * 100
    assert bounded(short) == [short]
    assert bounded(f"Short. {'long ' * 200}")[0] == "Short."
    book = "Hello there, my friend. How are you?\n" * 500
    assert "".join(bounded(book)) == book
    assert {len(part) <= MOST_AT_ONCE and part.startswith("Hello") for part in bounded(book)[:-1]} == {True}


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, ("mean",)),
        ({"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}, ("cls", "max")),
        ({"pooling_mode": "lasttoken"}, ("lasttoken",)),
    ],
)
def test_poolings_are_read_in_both_forms(config: dict[str, Any], kinds: tuple[str, ...]) -> None:
    assert poolings_in(config) == kinds


@pytest.mark.parametrize("config", [{}, {"pooling_mode": "median"}])
def test_a_pooling_that_is_unknown_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="pooling: "):
        poolings_in(config)


def test_the_files_say_the_modules_the_prompt_and_the_limit(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text('[{"path": "1_P", "type": "sentence_transformers.models.Pooling"}]')
    assert read_modules(tmp_path) == [("Pooling", "1_P")]
    assert (default_prompt(tmp_path), most_tokens(tmp_path, 512)) == ("", 512)
    prompts = '{"prompts": {"query": "query: "}, "default_prompt_name": "query"}'
    (tmp_path / "config_sentence_transformers.json").write_text(prompts)
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 128}')
    assert (default_prompt(tmp_path), most_tokens(tmp_path, 512)) == ("query: ", 128)
