"""Progress bars while a host starts, and what it prints when it listens."""

from __future__ import annotations

import io
import json
import shlex
from types import SimpleNamespace
from typing import Any

import pytest

from modelhost.cli.serve.starting import StartDisplay, announcement, first_example
from modelhost.config.settings import Settings
from modelhost.models.hub.progress import FileProgress


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(*, is_terminal: bool) -> str:
    stream = Terminal() if is_terminal else io.StringIO()
    display = StartDisplay(stream)
    for done in (1_000_000, 2_000_000):
        display.downloading(FileProgress(file="a.gguf", done_bytes=done, total_bytes=2_000_000, part=1, parts=2))
    display.loading(0.5)
    display.loading(1.0)
    display.stop()
    display.stop()
    return stream.getvalue()


def test_download_and_loading_are_shown_on_a_terminal() -> None:
    text = shown(is_terminal=True)
    assert "a.gguf (1 of 2)" in text
    assert "loading the model" in text


def test_without_a_terminal_loading_is_not_shown() -> None:
    assert "loading" not in shown(is_terminal=False).replace("downloading", "")


def test_the_curl_line_is_one_that_a_shell_can_run() -> None:
    text = announcement("http://127.0.0.1:9", "it's", needs_key=False)
    (line,) = (line for line in text.splitlines() if line.startswith("  curl "))
    words = shlex.split(line)
    assert words[1] == "http://127.0.0.1:9/v1/chat/completions"
    assert json.loads(words[-1])["model"] == "it's"
    assert "Authorization" not in text


def test_the_examples_carry_a_key_where_one_is_needed() -> None:
    text = announcement("http://127.0.0.1:9", "nano", needs_key=True)
    assert "Authorization: Bearer $MODELHOST_API_KEY" in text


def test_the_python_lines_compile() -> None:
    text = announcement("http://127.0.0.1:9", 'a "quoted" name', needs_key=False)
    lines = text[text.index("  from openai") :].splitlines()
    compile("\n".join(line.strip() for line in lines), "announcement", "exec")


def example(engine: str, task: str | None = None, **settings: Any) -> str:
    known = SimpleNamespace(spec=SimpleNamespace(task=task))
    model = SimpleNamespace(name="it's", engine=SimpleNamespace(name=engine), known=known)
    host: Any = SimpleNamespace(models=(model,), settings=Settings(**settings))
    return first_example("http://127.0.0.1:9", host)


@pytest.mark.parametrize(
    ("engine", "task", "path", "command"),
    [
        ("speech", None, "/v1/audio/speech", "speak"),
        ("whisper", None, "/v1/audio/transcriptions", "transcribe"),
        ("diffusers", None, "/v1/images/generations", "image"),
        ("transformers", "speech", "/v1/audio/speech", "speak"),
        ("transformers", "transcription", "/v1/audio/transcriptions", "transcribe"),
    ],
)
def test_a_model_that_only_speaks_hears_or_paints_has_an_example_of_that(
    engine: str, task: str | None, path: str, command: str
) -> None:
    text = example(engine, task)
    curl, words = (shlex.split(line) for line in text.splitlines() if line.startswith("  "))
    assert curl[:2] == ["curl", f"http://127.0.0.1:9{path}"]
    assert words[:2] == ["modelhost", command]
    assert words[-4:] == ["--model", "it's", "--url", "http://127.0.0.1:9"]
    assert "chat/completions" not in text
    assert "Authorization" not in text
    assert "Authorization: Bearer $MODELHOST_API_KEY" in example(engine, task, api_keys=["secret"])


def test_a_model_that_only_makes_embeddings_has_an_example_of_that() -> None:
    text = example("transformers", "embeddings")
    (line,) = (line for line in text.splitlines() if line.startswith("  "))
    words = shlex.split(line)
    assert words[:2] == ["curl", "http://127.0.0.1:9/v1/embeddings"]
    assert json.loads(words[-1]) == {"model": "it's", "input": "Hello!"}
    assert "chat" not in text


@pytest.mark.parametrize("engine", ["llamacpp", "transformers", "scripted"])
def test_other_models_have_an_example_of_a_chat(engine: str) -> None:
    assert "/v1/chat/completions" in example(engine)
    assert "/v1/chat/completions" not in example(engine, only_prompt=True)


def _step(done: int, part: int = 1, parts: int = 1) -> FileProgress:
    return FileProgress(file="m.gguf", done_bytes=done, total_bytes=1000, part=part, parts=parts)


def test_without_a_terminal_each_tenth_is_one_line() -> None:
    stream = io.StringIO()
    display = StartDisplay(stream)
    for done in range(0, 1001, 10):
        display.downloading(_step(done))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("downloading m.gguf: 0 %")
    assert "100 %" in lines[-1]


def test_a_part_of_a_split_model_says_which_part_it_is() -> None:
    stream = io.StringIO()
    StartDisplay(stream).downloading(_step(1000, part=2, parts=3))
    assert "m.gguf (2 of 3): 100 %" in stream.getvalue()


def test_terminal_gets_a_bar() -> None:
    stream = Terminal()
    display = StartDisplay(stream)
    display.downloading(_step(500))
    display.stop()
    assert "m.gguf" in stream.getvalue()
