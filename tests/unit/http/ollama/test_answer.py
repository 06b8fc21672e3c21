"""Answers as lines of Ollama's API, and answers that are put together from them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from modelhost.exchange.events import (
    Begin,
    CallFinished,
    CallStarted,
    Envelope,
    EvalTimes,
    Event,
    Extra,
    Finish,
    FinishDetails,
    Logprobs,
    PartialUsage,
    Question,
    Queued,
    Reasoning,
    Refusal,
    Text,
    ToolCallPiece,
    ToolsMissing,
    Usage,
)
from modelhost.http.ollama.answer import AnswerLines, Kind, Stopwatch, WholeAnswer, ended
from modelhost.http.ollama.lines import END, line_of
from modelhost.models.residency.hosted import HostedModel

Json = dict[str, Any]
BEGIN = Begin(envelope=Envelope(id="chatcmpl-1", created=1, model="m"))
USAGE = Usage(usage={"prompt_tokens": 5, "completion_tokens": 3})
TIMED = Usage(usage=USAGE.usage, extra=Extra(chunk={"timings": {"prompt_ms": 1.5, "predicted_ms": 20, "other": 1}}))
STOP = Finish(reason="stop")
DURATIONS = {"total_duration", "load_duration", "prompt_eval_duration", "eval_duration"}


def stopwatch() -> Stopwatch:
    return Stopwatch(cast("HostedModel", SimpleNamespace(loaded_at=None)))


def lines_of(*pieces: Event | tuple[Event, ...], kind: Kind = "chat", shows_thinking: bool = True) -> list[Json]:
    lines = AnswerLines(kind, "m:latest", stopwatch(), shows_thinking=shows_thinking)
    found = [line for piece in pieces for line in lines.of(piece if isinstance(piece, tuple) else (piece,))]
    for line in found:
        assert line.pop("model") == "m:latest"
        assert line.pop("created_at").endswith("Z")
        assert list(line)[-1] == "done"
    return found


def whole_of(*pieces: Event | tuple[Event, ...], kind: Kind = "chat") -> Json:
    whole = WholeAnswer(AnswerLines(kind, "m", stopwatch()))
    for piece in pieces:
        whole.add(piece if isinstance(piece, tuple) else (piece,))
    return whole.json()


def said(line: Json) -> str:
    message: Json = line["message"]
    assert message["role"] == "assistant"
    return str(message["content"])


def test_an_answer_is_its_texts_and_an_end() -> None:
    first, second, last = lines_of(BEGIN, Text(text="Hello"), Text(text=" you"), STOP, USAGE)
    assert [said(first), said(second), said(last)] == ["Hello", " you", ""]
    assert (first["done"], second["done"], last["done"]) == (False, False, True)
    assert (last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == ("stop", 5, 3)
    assert all(isinstance(last[name], int) and last[name] >= 0 for name in DURATIONS)
    assert last["eval_duration"] > 0
    assert not DURATIONS & first.keys()


def test_an_answer_to_a_prompt_has_no_message() -> None:
    text, last = lines_of(BEGIN, Text(text="Hello"), STOP, USAGE, kind="generate")
    assert text == {"response": "Hello", "done": False}
    assert (last["response"], last["done"], "message" in last) == ("", True, False)


def test_each_block_consists_of_whole_lines() -> None:
    lines = AnswerLines("chat", "m", stopwatch())
    assert lines.block((BEGIN,)) == b""
    assert lines.block((Text(text="a\nb"),)).count(b"\n") == 1
    assert not lines.block((Text(text="a"),)).endswith(END)
    last = lines.block((Text(text="c"), STOP, USAGE))
    assert [json.loads(line)["done"] for line in last.splitlines()] == [False, True]
    assert last.endswith(END)


@pytest.mark.parametrize("kind", ["chat", "generate"])
@pytest.mark.parametrize("text", ["Hi", 'a "quoted"\u2028 line\n', ""])
def test_a_text_that_comes_alone_is_written_as_any_line(kind: Kind, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelhost.http.ollama.answer.now", lambda: "2026-01-01T00:00:00.000000Z")
    piece = (Text(text=text),)
    made = AnswerLines(kind, 'a "model"\u2028', stopwatch())
    assert made.block(piece) == b"".join(map(line_of, made.of(piece)))


def test_what_comes_together_is_one_line() -> None:
    probabilities = Logprobs(logprobs={"content": [{"token": "a", "logprob": -1.0, "bytes": [97], "id": 5}]})
    (line,) = lines_of((Reasoning(text="Hm"), Text(text="a"), Text(text="b"), probabilities))
    assert line["message"] == {"role": "assistant", "content": "ab", "thinking": "Hm"}
    assert line["logprobs"] == [{"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []}]


def test_log_probabilities_have_their_alternatives() -> None:
    others = [{"token": "a", "logprob": -1.0}, {"token": "b", "logprob": -2.0, "bytes": None}]
    token = {"token": "a", "logprob": -1.0, "top_logprobs": others}
    (line,) = lines_of((Text(text="a"), Logprobs(logprobs={"content": [token]})))
    assert line["logprobs"][0]["top_logprobs"] == [
        {"token": "a", "logprob": -1.0},
        {"token": "b", "logprob": -2.0},
    ]


def test_thinking_is_beside_the_text() -> None:
    first, second = lines_of(Reasoning(text="Hm"), Text(text="a"))
    assert first["message"] == {"role": "assistant", "content": "", "thinking": "Hm"}
    assert said(second) == "a"
    (prompt,) = lines_of(Reasoning(text="Hm"), kind="generate")
    assert prompt == {"response": "", "thinking": "Hm", "done": False}


def test_thinking_that_nobody_wants_is_not_shown() -> None:
    assert [said(line) for line in lines_of(Reasoning(text="Hm"), Text(text="a"), shows_thinking=False)] == ["a"]


def test_a_refusal_is_text() -> None:
    assert [said(line) for line in lines_of(Refusal(text="No."))] == ["No."]


def test_calls_come_whole_before_the_end() -> None:
    pieces = (
        ToolCallPiece(index=0, id="c1", name="weather"),
        ToolCallPiece(index=1, name="hotel", arguments="{}"),
        ToolCallPiece(index=0, arguments='{"city": "Pa'),
        ToolCallPiece(index=0, arguments='ris"}'),
    )
    calls, last = lines_of(*pieces, Finish(reason="tool_calls"), USAGE)
    first, second = calls["message"]["tool_calls"]
    assert first == {"id": "c1", "function": {"index": 0, "name": "weather", "arguments": {"city": "Paris"}}}
    assert second["function"] == {"index": 1, "name": "hotel", "arguments": {}}
    assert second["id"]
    assert (calls["done"], last["done_reason"]) == (False, "stop")


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ("", {}),
        (" ", {}),
        ('{"a": 1}', {"a": 1}),
        ('{"a": ', {"INVALID_JSON": '{"a": '}),
        ("[1]", {"INVALID_JSON": "[1]"}),
    ],
)
def test_arguments_are_an_object(written: str, arguments: Json) -> None:
    calls, _ = lines_of(ToolCallPiece(index=0, id="c", name="a", arguments=written), STOP, USAGE)
    assert calls["message"]["tool_calls"][0]["function"]["arguments"] == arguments


@pytest.mark.parametrize(
    ("finish", "reason", "details"),
    [
        (STOP, "stop", None),
        (Finish(reason="length"), "length", None),
        (Finish(reason="tool_calls"), "stop", None),
        (Finish(reason="content_filter"), "stop", None),
        (
            Finish(reason="length", details=FinishDetails(kind="turn_limit", message="It is enough.")),
            "length",
            {"type": "turn_limit", "message": "It is enough."},
        ),
    ],
)
def test_why_an_answer_ended(finish: Finish, reason: str, details: Json | None) -> None:
    (last,) = lines_of(finish, USAGE)
    assert (last["done_reason"], last.get("modelhost.finish_details")) == (reason, details)
    assert "modelhost.finish_details" not in last or details is not None


def test_events_of_the_host_are_lines_without_text() -> None:
    started = CallStarted(id="c", name="stub_echo", arguments={"text": "a"})
    finished = CallFinished(id="c", name="stub_echo", server="stub", text="a")
    question = Question(id="q", kind="approval", seconds=5, about={"name": "stub_big"})
    found = lines_of(Queued(position=2), started, question, finished)
    assert [said(line) for line in found] == [""] * 4
    assert not any(line["done"] for line in found)
    assert found[0]["modelhost.queued"] == {"position": 2}
    assert found[1]["modelhost.tool_call"]["arguments"] == {"text": "a"}
    assert (found[2]["modelhost.question"]["id"], found[3]["modelhost.tool_result"]["text"]) == ("q", "a")


def test_a_usage_so_far_is_nothing_to_show() -> None:
    assert lines_of(PartialUsage(usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})) == []


def test_durations_are_the_engines_if_it_reports_them() -> None:
    (last,) = lines_of(STOP, TIMED)
    assert (last["prompt_eval_duration"], last["eval_duration"]) == (1_500_000, 20_000_000)


def test_durations_of_an_answer_in_several_turns_are_those_of_all_turns() -> None:
    usage = Usage(usage=USAGE.usage, times=EvalTimes(prompt_seconds=0.25, answer_seconds=0.5))
    *_, last = lines_of(CallStarted(id="c", name="a"), CallFinished(id="c", name="a"), Text(text="a"), STOP, usage)
    assert (last["prompt_eval_duration"], last["eval_duration"]) == (250_000_000, 500_000_000)


def test_durations_that_the_engine_does_not_tell_are_measured() -> None:
    *_, last = lines_of(Text(text="a"), STOP, USAGE)
    assert last["prompt_eval_duration"] > 0
    assert last["prompt_eval_duration"] + last["eval_duration"] <= last["total_duration"] + 1_000_000


def test_a_usage_that_the_engine_does_not_tell_is_zero() -> None:
    (last,) = lines_of(STOP, Usage(usage=None))
    assert (last["prompt_eval_count"], last["eval_count"]) == (0, 0)


def test_only_the_time_of_a_load_within_the_request_counts_as_one() -> None:
    model = SimpleNamespace(loaded_at=0.0)
    watch = Stopwatch(cast("HostedModel", model))
    assert watch.total()["load_duration"] == 0
    model.loaded_at = 2.0**40
    total = watch.total()
    assert 0 < total["load_duration"] <= total["total_duration"]


# Whole answers.


def test_a_whole_answer_has_all_texts_and_the_end() -> None:
    probabilities = Logprobs(logprobs={"content": [{"token": "a", "logprob": -1.0}]})
    found = whole_of(
        BEGIN,
        Reasoning(text="H"),
        Reasoning(text="m"),
        (Text(text="a"), probabilities),
        (Text(text="b"), probabilities),
        ToolCallPiece(index=0, id="c1", name="weather", arguments="{}"),
        STOP,
        USAGE,
    )
    call = {"id": "c1", "function": {"index": 0, "name": "weather", "arguments": {}}}
    assert found["message"] == {"role": "assistant", "content": "ab", "thinking": "Hm", "tool_calls": [call]}
    assert (found["done"], found["done_reason"], found["eval_count"]) == (True, "stop", 3)
    assert len(found["logprobs"]) == 2


def test_a_whole_answer_to_a_prompt() -> None:
    found = whole_of(BEGIN, Reasoning(text="Hm"), Text(text="a"), Text(text="b"), STOP, USAGE, kind="generate")
    assert (found["response"], found["thinking"], found["done"], "message" in found) == ("ab", "Hm", True, False)


def test_an_empty_answer_is_an_empty_text() -> None:
    assert said(whole_of(BEGIN, STOP, USAGE)) == ""
    assert whole_of(BEGIN, STOP, USAGE, kind="generate")["response"] == ""


def test_a_whole_answer_has_the_calls_that_the_host_made_and_what_was_missing() -> None:
    found = whole_of(
        ToolsMissing(servers=(("files", "failed"),)),
        CallStarted(id="c", name="stub_echo", arguments={"text": "a"}),
        CallFinished(id="c", name="stub_echo", server="stub", text="a"),
        Text(text="a"),
        STOP,
        USAGE,
    )
    (call,) = found["modelhost.tool_calls"]
    assert (call["name"], call["arguments"], call["text"], call["is_error"]) == ("stub_echo", {"text": "a"}, "a", False)
    assert found["modelhost.tools"] == {"missing": [{"server": "files", "state": "failed"}]}
    assert "modelhost.tool_call" not in found
    assert said(found) == "a"


def test_loading_is_an_answer_without_text() -> None:
    chat = ended("chat", "m", "load")
    assert (chat["message"], chat["done_reason"]) == ({"role": "assistant", "content": ""}, "load")
    prompt = ended("generate", "m", "unload")
    assert (prompt["response"], prompt["done_reason"], prompt["done"]) == ("", "unload", True)
