"""An answer on its way to the terminal: its text, and what happens besides."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any, Final

import typer

from modelhost.cli import console
from modelhost.cli.answerer import Answerer, Message
from modelhost.cli.person import Person
from modelhost.errors import InvalidAnswer, NotFound
from modelhost.operations.tool_values import ApprovalParameters, ElicitationParameters
from modelhost.operations.tools import ANSWER, APPROVE

RESULT_CHARS: Final = 80
"""Of a tool's result, and of its arguments."""


def pieces(
    answerer: Answerer, messages: Sequence[Message], params: Mapping[str, Any], person: Person
) -> Generator[str]:
    """The text of the answer, piece by piece.

    Calls of tools, and why an answer ends early, are printed as notes; ``person`` answers what is asked meanwhile.
    """
    notes = _Notes()
    with closing(answerer.stream(messages, params)) as chunks:
        for chunk in chunks:
            notes.on_tools(chunk)
            if question := chunk.get("modelhost.question"):
                notes.begin()
                _answer(question, answerer, person)
            for choice in chunk.get("choices", ()):
                delta = choice.get("delta") or {}
                if thought := delta.get("reasoning_content"):
                    notes.on_thought(thought)
                if piece := delta.get("content"):
                    notes.on_text(piece)
                    yield piece
                if choice.get("finish_reason") == "length":
                    details = chunk.get("modelhost.finish_details") or {}
                    console.note(f"\n(cut off: {details.get('message') or 'the limit of tokens is reached'})")


def show(text: str) -> None:
    """Write a piece of an answer; it is seen at once."""
    typer.echo(text, nl=False)


class _Notes:
    """Keeps what is printed besides on lines of its own."""

    def __init__(self) -> None:
        self._calls: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._told: dict[str, tuple[int, str]] = {}
        """Of each call the last tenth and the last message of its progress."""
        self._has_waited = False
        self._line = ""
        """What stands on the line: nothing, ``text``, ``thought``."""

    def begin(self) -> None:
        """Begin a new line, if the cursor is not at the beginning of one."""
        if self._line:
            console.note("")
        self._line = ""

    def on_tools(self, chunk: Mapping[str, Any]) -> None:
        if waiting := chunk.get("modelhost.waiting_for_tools"):
            self._aside(f"(waiting for the tools of {_listed(waiting['servers'])}, {waiting['seconds']:g} s at most)")
            self._has_waited = True
        if self._has_waited and (tools := chunk.get("modelhost.tools")):
            missing = _listed(each["server"] for each in tools["missing"])
            self.begin()
            console.note(f"(without the tools of {missing}; `modelhost tools servers` says why)")
        if call := chunk.get("modelhost.tool_call"):
            self._calls[call["id"]] = call.get("arguments")
            self._names[call["id"]] = console.printable(str(call["name"]))
        if step := chunk.get("modelhost.tool_progress"):
            self._on_progress(step)
        if remark := chunk.get("modelhost.tool_log"):
            self._on_log(remark)
        if result := chunk.get("modelhost.tool_result"):
            self.begin()
            console.note(_line(result, self._calls.pop(result["id"], None)))
        if ended := chunk.get("modelhost.tool_cancelled"):
            self.begin()
            given = _shortened(json.dumps(self._calls.pop(ended["id"], None), ensure_ascii=False))
            console.note(f"⚙ {console.printable(str(ended['name']))} {given} (ended by the host)")

    def _on_progress(self, step: Mapping[str, Any]) -> None:
        """Show another tenth, or another message: some servers tell of every hundredth."""
        progress, total, message = step["progress"], step.get("total"), _shortened(str(step.get("message") or ""))
        told = int(10 * progress / total) if total else 0, message
        if self._told.get(step["id"]) == told:
            return
        self._told[step["id"]] = told
        amount = f"{100 * progress / total:.0f} %" if total else f"{progress:g}"
        self._aside(f"⚙ {self._names.get(step['id'], '')}: {amount} {message}".rstrip())

    def _on_log(self, remark: Mapping[str, Any]) -> None:
        data = remark.get("data")
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        if remark["level"] != "debug":
            self._aside(f"⚙ {console.printable(str(remark['server']))} {remark['level']}: {_shortened(text)}")

    def _aside(self, text: str) -> None:
        if console.is_watched():
            self.begin()
            console.note(text)

    def on_thought(self, piece: str) -> None:
        if self._line == "text":
            self.begin()
        console.thought(piece)
        self._line = "thought"

    def on_text(self, piece: str) -> None:
        if self._line == "thought":
            console.thought("\n")
        self._line = "" if piece.endswith("\n") else "text"


def _listed(servers: Iterable[object]) -> str:
    return ", ".join(console.printable(str(name)) for name in servers)


def _line(result: Mapping[str, Any], arguments: Any) -> str:
    """A call that is over."""
    known = ".".join(str(part) for part in (result.get("server"), result.get("tool")) if part)
    given = _shortened(json.dumps(arguments, ensure_ascii=False))
    failed = "failed: " if result.get("is_error") else ""
    return f"⚙ {console.printable(known or str(result['name']))} {given} → {failed}{_shortened(str(result['text']))}"


def _shortened(text: str) -> str:
    line = console.printable(text[: 4 * RESULT_CHARS])
    return line if len(line) <= RESULT_CHARS and len(text) <= 4 * RESULT_CHARS else f"{line[:RESULT_CHARS]} ..."


def _answer(question: Mapping[str, Any], answerer: Answerer, person: Person) -> None:
    try:
        if question.get("kind") == "approval":
            is_approved = person.approves(question)
            answerer.call(APPROVE, ApprovalParameters(id=question["id"], approve=is_approved))
        else:
            _tell(question, answerer, person)
    except NotFound:
        console.note("(too late: the question was given up)")


def _tell(question: Mapping[str, Any], answerer: Answerer, person: Person) -> None:
    """Have the person fill in a form, until it fits."""
    while True:
        said = person.elicited(question)
        try:
            answerer.call(ANSWER, ElicitationParameters(id=question["id"], action=said.action, content=said.content))
        except InvalidAnswer as error:
            console.error(console.printable(error.message))
        else:
            return
