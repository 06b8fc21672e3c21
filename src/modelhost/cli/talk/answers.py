"""Shows an answer at the terminal: its text, and notes about tools and loading."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any, Final

import typer

from modelhost.cli import console
from modelhost.cli.running_host import BlockingClient, Message
from modelhost.cli.talk.person import TerminalUser
from modelhost.errors import InvalidAnswer, NotFound
from modelhost.exchange import events
from modelhost.operations.tools import ANSWER, APPROVE, ApprovalParameters, ElicitationParameters

MAX_RESULT_CHARS: Final = 80
"""For the result of a tool, and for its arguments."""


def stream_text(
    client: BlockingClient, messages: Sequence[Message], params: Mapping[str, Any], person: TerminalUser
) -> Generator[str]:
    """Yield the text of the answer, piece by piece.

    Tool calls, and why an answer ends early, are printed as notes; ``person`` answers questions of tools.
    """
    notes = _Notes()
    if console.stderr_is_terminal():
        params = {**params, "stream_options": {"include_progress": True}}
    with closing(client.stream(messages, params)) as answer:
        for piece in answer:
            for event in piece:
                match event:
                    case events.Text(text=text) if text:
                        notes.on_text(text)
                        yield text
                    case events.Reasoning(text=thought) if thought:
                        notes.on_thought(thought)
                    case events.Question():
                        notes.begin()
                        _answer(event, client, person)
                    case events.Finish(reason="length", details=details):
                        why = (details and details.message) or "the limit of tokens is reached"
                        console.note(f"\n(cut off: {why})")
                    case events.HostEvent():
                        notes.on_tools(event)


def print_text(text: str) -> None:
    """Print a piece of an answer at once."""
    typer.echo(text, nl=False)


class _Notes:
    def __init__(self) -> None:
        self._calls: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._shown_progress: dict[str, tuple[int, str]] = {}
        """The last progress of each call that was printed: tenth and message."""
        self._loaded: int | None = None
        """How many fifths of the model were loaded at the last note."""
        self._has_waited = False
        self._line = ""
        """What the current line holds: nothing, ``text`` or ``thought``."""

    def begin(self) -> None:
        """Begin a new line unless the cursor is at the beginning of one."""
        if self._line:
            console.note("")
        self._line = ""

    def on_tools(self, event: events.HostEvent) -> None:
        match event:
            case events.Queued(position=position):
                self._aside(f"(waiting: place {position} in the queue)")
            case events.Loading(progress=progress):
                self._on_loading(progress)
            case events.WaitingForTools(servers=servers, seconds=seconds):
                self._aside(f"(waiting for the tools of {_listed(servers)}, {seconds:g} s at most)")
                self._has_waited = True
            case events.ToolsMissing(servers=missing) if self._has_waited:
                self.begin()
                names = _listed(server for server, _state in missing)
                console.note(f"(without the tools of {names}; `modelhost tools servers` shows why)")
            case events.CallStarted():
                self._calls[event.id] = event.arguments
                self._names[event.id] = console.printable(event.name)
            case events.CallProgressed():
                self._on_progress(event)
            case events.CallLogged(line=remark):
                self._on_log(remark)
            case events.CallFinished():
                self.begin()
                console.note(_line(event, self._calls.pop(event.id, None)))
            case events.CallCancelled():
                self.begin()
                given = _shortened(json.dumps(self._calls.pop(event.id, None), ensure_ascii=False))
                console.note(f"⚙ {console.printable(event.name)} {given} (ended by the host)")

    def _on_loading(self, progress: float | None) -> None:
        """Show that the model is being loaded, and every fifth of the progress."""
        fifth = int(5 * (progress or 0))
        if self._loaded == fifth:
            return
        self._loaded = fifth
        self._aside("(loading the model)" if not fifth else f"(loading the model: {20 * fifth} %)")

    def _on_progress(self, step: events.CallProgressed) -> None:
        """Show each new tenth or message: some servers report every percent."""
        progress, total, message = step.progress, step.total, _shortened(step.message or "")
        shown = int(10 * progress / total) if total else 0, message
        if self._shown_progress.get(step.id) == shown:
            return
        self._shown_progress[step.id] = shown
        amount = f"{100 * progress / total:.0f} %" if total else f"{progress:g}"
        self._aside(f"⚙ {self._names.get(step.id, '')}: {amount} {message}".rstrip())

    def _on_log(self, remark: Mapping[str, Any]) -> None:
        data = remark.get("data")
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        if remark["level"] != "debug":
            self._aside(f"⚙ {console.printable(str(remark['server']))} {remark['level']}: {_shortened(text)}")

    def _aside(self, text: str) -> None:
        if console.stderr_is_terminal():
            self.begin()
            console.note(text)

    def on_thought(self, piece: str) -> None:
        if self._line == "text":
            self.begin()
        console.print_thought(piece)
        self._line = "thought"

    def on_text(self, piece: str) -> None:
        if self._line == "thought":
            console.print_thought("\n")
        self._line = "" if piece.endswith("\n") else "text"


def _listed(servers: Iterable[object]) -> str:
    return ", ".join(console.printable(str(name)) for name in servers)


def _line(result: events.CallFinished, arguments: Any) -> str:
    known = ".".join(part for part in (result.server, result.tool) if part)
    given = _shortened(json.dumps(arguments, ensure_ascii=False))
    failed = "failed: " if result.is_error else ""
    return f"⚙ {console.printable(known or result.name)} {given} → {failed}{_shortened(result.text)}"


def _shortened(text: str) -> str:
    line = console.printable(text[: 4 * MAX_RESULT_CHARS])
    return (
        line
        if len(line) <= MAX_RESULT_CHARS and len(text) <= 4 * MAX_RESULT_CHARS
        else f"{line[:MAX_RESULT_CHARS]} ..."
    )


def _answer(question: events.Question, client: BlockingClient, person: TerminalUser) -> None:
    try:
        if question.kind == "approval":
            is_approved = person.approve(question.about)
            client.call(APPROVE, ApprovalParameters(id=question.id, approve=is_approved))
        else:
            _tell(question, client, person)
    except NotFound:
        console.note("(too late: the question was given up)")


def _tell(question: events.Question, client: BlockingClient, person: TerminalUser) -> None:
    """Let the user fill in a form until the server accepts it."""
    while True:
        said = person.answer(question.about)
        try:
            client.call(ANSWER, ElicitationParameters(id=question.id, action=said.action, content=said.content))
        except InvalidAnswer as error:
            console.error(console.printable(error.message))
        else:
            return
