"""What a person sees of tools during an answer, and how questions are put and answered."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from modelhost.cli import console
from modelhost.cli.talk.answers import stream_text
from modelhost.cli.talk.person import FormAnswer, TerminalUser
from modelhost.errors import InvalidAnswer, NotFound

NOBODY = TerminalUser(is_there=False)


def person(*lines: str) -> TerminalUser:
    """Types ``lines``, then nothing more."""
    typed = iter(lines)

    def read_line(prompt: str) -> str:
        sys.stderr.write(prompt)
        line = next(typed, None)
        if line is None:
            raise EOFError
        return line

    return TerminalUser(is_there=True, read_line=read_line)


def extension(field: str, /, **payload: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": None}], f"modelhost.{field}": payload}


def call(**more: Any) -> dict[str, Any]:
    return extension("tool_call", **{"id": "1", "name": "s_weather", "arguments": {"city": "Paris"}, **more})


def result(**more: Any) -> dict[str, Any]:
    known = {"id": "1", "name": "s_weather", "server": "s", "tool": "weather", "is_error": False, "text": "Sunny."}
    return extension("tool_result", **{**known, **more})


def question(**more: Any) -> dict[str, Any]:
    known = {"id": "q1", "kind": "approval", "what": "tool", "server": "s", "name": "s_rm", "tool": "rm"}
    return extension("question", **{**known, "arguments": {"path": "/"}, "annotations": {}, **more})


def form(schema: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return extension(
        "question", id="q1", kind="elicitation", server="s", tool="t", message="Tell me.", schema=schema, **more
    )


def answered(client: Any, someone: TerminalUser = NOBODY) -> str:
    return "".join(stream_text(client, [], {}, someone))


def test_a_call_is_a_line_beside_the_answer(
    fake_client: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert answered(fake_client("I look.", call(), result(), "It is sunny.")) == "I look.It is sunny."
    assert capsys.readouterr().err == '\n⚙ s.weather {"city": "Paris"} → Sunny.\n'


def test_a_failed_or_long_or_wild_result_stays_one_tame_line(
    fake_client: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    text = "\x1b[31mtoo\nlong " + "x" * 1000
    answered(fake_client(call(arguments="{not json"), result(is_error=True, text=text, server=None, tool=None)))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('⚙ s_weather "{not json" → failed:  [31mtoo long xxx')
    assert line.endswith("x ...")
    assert len(line) < 140


def test_a_call_that_the_host_ended_is_told(
    fake_client: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answered(fake_client(call(), extension("tool_cancelled", id="1", name="s_weather")))
    assert capsys.readouterr().err == '⚙ s_weather {"city": "Paris"} (ended by the host)\n'


def test_why_the_host_ended_a_loop_is_told(fake_client: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    last = {
        "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}],
        "modelhost.finish_details": {"type": "turn_limit", "message": "Ten turns."},
    }
    answered(fake_client("Hm", last))
    assert "(cut off: Ten turns.)" in capsys.readouterr().err


def test_thoughts_are_shown_on_a_terminal_only_and_are_no_part_of_the_answer(
    fake_client: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    thoughts = [{"choices": [{"index": 0, "delta": {"reasoning_content": text}}]} for text in ("Let me", " think")]
    assert answered(fake_client(*thoughts, "Yes")) == "Yes"
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    answered(fake_client(*thoughts, "Yes"))
    assert "Let me" in sys.stderr.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("typed", "is_approved"), [("y", True), ("YES", True), ("", False), ("n", False), (None, False)]
)
def test_an_approval_is_asked_and_only_yes_is_yes(
    fake_client: Callable[..., Any], capsys: pytest.CaptureFixture[str], typed: str | None, is_approved: bool
) -> None:
    client = fake_client(question(annotations={"destructiveHint": True}), "Done.")
    answered(client, person(*([] if typed is None else [typed])))
    assert client.called == [("answer-approval", {"id": "q1", "approve": is_approved})]
    asked = capsys.readouterr().err
    assert '⚙ s.rm (marked as destructive) requests to run with {"path": "/"}' in asked
    assert "[y/N, a: always in this conversation]" in asked


def test_always_is_yes_for_that_tool_until_the_conversation_is_forgotten(
    fake_client: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    someone = person("a", "n", "y")
    client = fake_client(question(), question(id="q2"), question(id="q3", tool="mv"), question(id="q4", server="t"))
    answered(client, someone)
    assert [told["approve"] for _, told in client.called] == [True, True, False, True]
    asked = capsys.readouterr().err
    assert asked.count("Allowed, as agreed.") == 1
    assert asked.count("s.rm requests to run") == 2  # what runs is shown all the same
    someone.approved_tools.clear()
    client.called.clear()
    answered(client, someone)
    assert [told["approve"] for _, told in client.called] == [False] * 4


def test_a_wish_to_have_a_model_write_is_asked_every_time(fake_client: Callable[..., Any]) -> None:
    client = fake_client(question(what="sampling", tool=None), question(what="sampling", tool=None))
    answered(client, person("a", "y"))
    assert [told["approve"] for _, told in client.called] == [False, True]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_how_far_a_call_is_and_what_its_server_says_is_shown_on_a_terminal(
    fake_client: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [extension("tool_progress", id="1", progress=step, total=100, message=None) for step in range(0, 100, 4)]
    others = [
        extension("tool_progress", id="1", progress=7, total=None, message="almost\x1b[2J"),
        extension("tool_log", server="s", level="debug", logger=None, data="hidden"),
        extension("tool_log", server="s", level="warning", logger=None, data={"left": 3}),
    ]
    chunks = ["I look.", call(), *steps, *others, result(), "Sunny."]
    assert answered(fake_client(*chunks)) == "I look.Sunny."
    assert capsys.readouterr().err == '\n⚙ s.weather {"city": "Paris"} → Sunny.\n'
    monkeypatch.setattr(sys, "stderr", Terminal())
    answered(fake_client(*chunks))
    shown = re.sub(r"\x1b\[\d*m", "", sys.stderr.getvalue())  # type: ignore[attr-defined]
    lines = [line for line in shown.splitlines() if line]
    assert lines[0] == "⚙ s_weather: 0 %"
    assert sum(line.startswith("⚙ s_weather:") for line in lines) == 11
    assert lines[-3].startswith("⚙ s_weather: 7 almost")
    assert lines[-2] == '⚙ s warning: {"left": 3}'
    assert "\x1b[2J" not in shown
    assert "hidden" not in shown


def test_a_wait_for_servers_is_shown_and_those_that_did_not_come(
    fake_client: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = extension("waiting_for_tools", servers=["slow", "dead\x1b[2J"], seconds=15.0)
    missing = extension("tools", missing=[{"server": "dead\x1b[2J", "state": "connecting"}])
    assert answered(fake_client(waiting, missing, "Hello.")) == "Hello."
    assert capsys.readouterr().err.startswith("(without the tools of dead")
    answered(fake_client(missing, "Hello."))  # it was told when somebody waited
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    answered(fake_client(waiting, "Hello."))
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "(waiting for the tools of slow, dead" in shown
    assert "\x1b[2J" not in shown


def test_a_wait_for_the_model_is_shown_on_a_terminal(
    fake_client: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loading = [extension("loading"), *(extension("loading", progress=step / 50) for step in range(50))]
    chunks = [extension("queued", position=2), *loading, "Hello."]
    assert answered(fake_client(*chunks)) == "Hello."
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    answered(fake_client(*chunks))
    shown = re.sub(r"\x1b\[\d*m", "", sys.stderr.getvalue())  # type: ignore[attr-defined]
    assert [line for line in shown.splitlines() if line] == [
        "(waiting: place 2 in the queue)",
        "(loading the model)",
        *(f"(loading the model: {percent} %)" for percent in (20, 40, 60, 80)),
    ]


def test_a_wish_to_have_a_model_write_is_asked_in_its_own_words(
    fake_client: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answered(fake_client(question(what="sampling", tool=None)), person("n"))
    assert "⚙ s requests text from a model" in capsys.readouterr().err


def test_nobody_there_is_told_from_a_no_at_once(
    fake_client: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    client = fake_client(question(), form({"properties": {"a": {}}}))
    answered(client)
    assert client.called == [
        ("answer-approval", {"id": "q1", "approve": None}),
        ("answer-elicitation", {"id": "q1", "action": "decline", "content": None}),
    ]
    assert capsys.readouterr().err.count("no terminal to ask on") == 2


def test_an_answer_that_comes_too_late_does_not_end_the_chat(
    fake_client: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    client = fake_client(question(), "Done.")
    client.failure = NotFound("gone")
    assert answered(client, person("y")) == "Done."
    assert "too late" in capsys.readouterr().err


FORM = {
    "properties": {
        "name": {"type": "string", "minLength": 2, "title": "Your name"},
        "age": {"type": "integer", "minimum": 18, "description": "in years"},
        "size": {"type": "number", "default": 1.8},
        "news": {"type": "boolean"},
        "colour": {"type": "string", "enum": ["r", "g"], "enumNames": ["Red", "Green"]},
        "pets": {"type": "array", "items": {"anyOf": [{"const": "c", "title": "Cat"}, {"const": "d", "title": "Dog"}]}},
        "notes": {"type": "string"},
    },
    "required": ["name", "age", "news", "colour", "pets"],
}


def test_a_form_is_filled_in_field_by_field(capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["", "J", "Jo", "old", "3", "30", "", "perhaps", "y", "7", "2", "cat, Dog", "1,Dog", ""]
    said = person(*typed).answer(form(FORM)["modelhost.question"])
    assert said == FormAnswer(
        action="accept",
        content={"name": "Jo", "age": 30, "size": 1.8, "news": True, "colour": "g", "pets": ["c", "d"]},
    )
    shown = capsys.readouterr().err
    assert "⚙ s requests input: Tell me." in shown
    for text in ("Your name", "age (in years)", "size [1.8]", "news y/n", "1 Red", "2 Dog", "notes [nothing]"):
        assert text in shown
    for complaint in (
        "this field is required",
        "too short",
        "a whole number",
        "less than the minimum",
        "y or n",
        "from 1 to 2",
    ):
        assert complaint in shown


@pytest.mark.parametrize(("typed", "action"), [(["Jo", "/decline"], "decline"), (["Jo"], "cancel")])
def test_a_form_can_be_declined_or_left(typed: list[str], action: str) -> None:
    assert person(*typed).answer(form(FORM)["modelhost.question"]) == FormAnswer(action=action)  # type: ignore[arg-type]


@pytest.mark.parametrize(("typed", "action"), [("y", "accept"), ("", "decline")])
def test_an_address_is_shown_and_opened_by_the_person(
    capsys: pytest.CaptureFixture[str], typed: str, action: str
) -> None:
    asked = form({}, mode="url", url="https://example.com/\x1b[0m")["modelhost.question"]
    assert person(typed).answer(asked) == FormAnswer(action=action)  # type: ignore[arg-type]
    assert "Open this URL in a browser if you trust it: https://example.com/ [0m" in capsys.readouterr().err


def test_a_schema_that_is_wrong_itself_checks_nothing() -> None:
    asked = form({"properties": {"a": {"type": "strange"}}})["modelhost.question"]
    assert person("x").answer(asked).content == {"a": "x"}


def test_what_a_stranger_says_is_one_line_without_commands() -> None:
    assert console.printable(" a\n\tb\x1b[0m\u202e ") == "a b [0m "


def test_a_form_that_the_host_refuses_is_filled_in_again(
    fake_client: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    schema = {"properties": {"start": {"type": "string"}}}
    client = fake_client(form(schema), "Done.")
    client.failures = [InvalidAnswer("start is no date")]
    assert answered(client, person("soon", "today")) == "Done."
    assert [told["content"] for _, told in client.called] == [{"start": "soon"}, {"start": "today"}]
    assert "start is no date" in capsys.readouterr().err
