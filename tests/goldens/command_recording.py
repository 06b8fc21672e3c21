"""Runs commands and writes down what they print and how they end.

Most run in this process, through the entry point of the program, which is what a shell calls; starting Python for each
would take a minute. Those that need a process of their own (for its signals, its pipes, its environment) have one.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from string import Template
from typing import Any, Final, Literal
from unittest import mock

import structlog

from modelhost.cli.main import main
from tests.goldens.json_text import json_text
from tests.goldens.normalising import Normaliser
from tests.goldens.surroundings import Surroundings
from tests.support.eventually import eventually

SECONDS: Final = 60.0
COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
"""On a machine of a build service some libraries colour what nobody watches."""
BOXES: Final = re.compile("[\u2500-\u257f]+")
PROGRESS: Final = re.compile(r"^(downloading [^:]+): .*$")
OF_THE_MACHINE: Final = re.compile(r"llama\.cpp could be faster here|engine_could_be_faster")
"""Some machines have a better build of llama.cpp than the wheel."""
HEAD_LINES: Final = 25
Shown = Literal["all", "keys", "head"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One run; ``$name`` in it is a value of the recording, such as the address of the host."""

    line: str
    """As in a shell, without ``modelhost``."""
    stdin: str = ""
    process: bool = False
    """Whether it has a process of its own."""
    interrupted_after: str | None = None
    """A text in its output after which it gets Ctrl-C; it has a process of its own then."""
    ended_after: str | None = None
    """The same with SIGTERM."""
    variables: Mapping[str, str] = field(default_factory=dict)
    shown: Shown = "all"
    """``keys``: of JSON that tells about the machine, the keys only; ``head``: the first lines."""
    provokes: str | None = None
    """The code of the error that ends it; commands print messages and no codes."""
    hides: str | None = None
    """A regular expression for what is measured in a table."""
    awaits: str | None = None
    """A regular expression: it is run again until it prints that, since when the host says so is a matter of time."""
    may_miss: str | None = None
    """A text: lines that end with it are left out, since whether they come is a matter of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended, and what it printed."""

    status: int
    stdout: str
    stderr: str


def record_commands(
    commands: Iterable[Command], values: Mapping[str, str], surroundings: Surroundings, normaliser: Normaliser
) -> str:
    """Run ``commands`` one after the other; return what a reader of the screen would have seen."""
    parts = []
    for command in commands:
        normaliser.begin_scenario()
        for name, value in values.items():
            normaliser.know(value, name)
        arguments = [Template(word).substitute(values) for word in shlex.split(command.line)]
        run: Callable[..., Ended] = _in_a_process if _needs_process(command) else _in_this_process
        variables = {name: Template(value).substitute(values) for name, value in command.variables.items()}
        once = partial(run, arguments, command, {**surroundings.variables, **variables}, surroundings)
        ended = once() if command.awaits is None else _ended_with(command.awaits, once)
        assert command.provokes is None or ended.status == 1, ended
        parts.append(_written(command, ended, normaliser))
    return "\n".join(parts)


def _ended_with(pattern: str, once: Callable[[], Ended]) -> Ended:
    """Run a command until it prints what ``pattern`` finds."""
    tries: list[Ended] = []

    def is_printed() -> bool:
        tries.append(once())
        return re.search(pattern, tries[-1].stdout) is not None

    eventually(is_printed, seconds=SECONDS)
    return tries[-1]


def _needs_process(command: Command) -> bool:
    return command.process or command.interrupted_after is not None or command.ended_after is not None


def _in_this_process(
    arguments: list[str], command: Command, variables: Mapping[str, str], surroundings: Surroundings
) -> Ended:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    stdin = io.TextIOWrapper(io.BytesIO(command.stdin.encode()), encoding="utf-8")
    with surroundings.entered(), mock.patch.dict("os.environ", variables), mock.patch.object(sys, "stdin", stdin):
        try:
            with redirect_stdout(out), redirect_stderr(err):
                status = main(arguments)
        finally:
            structlog.reset_defaults()
    return Ended(status=status, stdout=_told_to(out), stderr=_told_to(err))


def _told_to(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


def _in_a_process(
    arguments: list[str], command: Command, variables: Mapping[str, str], surroundings: Surroundings
) -> Ended:
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "modelhost", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=surroundings.work,
            env=dict(variables),
            text=True,
        ) as started,
    ):
        try:
            stdout = _output_of(started, command)
            status = started.wait(SECONDS)
        finally:
            started.kill()
        stderr.seek(0)
        return Ended(status=status, stdout=stdout, stderr=stderr.read())


def _output_of(process: subprocess.Popen[str], command: Command) -> str:
    """Feed it, send it its signal when it has said what it is to be sent after, and return all that it prints."""
    assert process.stdin is not None
    assert process.stdout is not None
    awaited = command.interrupted_after or command.ended_after
    if awaited is None:
        process.stdin.write(command.stdin)
        process.stdin.close()
        return process.stdout.read()
    said = ""
    while awaited not in said:
        line = process.stdout.readline()
        assert line, f"it ended without {awaited}: {said}"
        said += line
    process.send_signal(signal.SIGINT if command.interrupted_after else signal.SIGTERM)
    return said + process.stdout.read()


def _written(command: Command, ended: Ended, normaliser: Normaliser) -> str:
    fed = f"  # given {command.stdin!r}" if command.stdin else ""
    lines = [f"$ modelhost {command.line}{fed}"]
    lines += [f"# with {name}={value}" for name, value in command.variables.items()]
    if command.interrupted_after:
        lines.append(f'# Ctrl-C after "{command.interrupted_after}"')
    if command.ended_after:
        lines.append(f'# SIGTERM after "{command.ended_after}"')
    if command.provokes:
        lines.append(f"# provokes: {command.provokes}")
    lines.append(f"exit status {ended.status}")
    for name, text in (("stdout", ended.stdout), ("stderr", ended.stderr)):
        if text.strip() and (shown := _shown(text, command, normaliser)):
            lines += [f"--- {name}", shown]
    return "\n".join([*lines, ""])


def _shown(text: str, command: Command, normaliser: Normaliser) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        if command.hides is not None:
            text = re.sub(command.hides, "<measured>", text)
        lines = [
            PROGRESS.sub(r"\1: (progress)", line)
            for line in normaliser.table(BOXES.sub(" ", COLOURS.sub("", text))).splitlines()
        ]
        if command.may_miss is not None:
            lines = [line for line in lines if not line.endswith(command.may_miss)]
        said = [line for line in lines if not OF_THE_MACHINE.search(line)]
        lines = [_log_line(line, normaliser) for line, _ in groupby(said) if line.strip()]
        return "\n".join(lines[:HEAD_LINES] if command.shown == "head" else lines)
    if command.shown == "keys":
        return json_text(_keys_of(value))
    return json_text(normaliser.value(value))


def _log_line(line: str, normaliser: Normaliser) -> str:
    """A line as it is; one that is JSON with what it tells by its keys normalised."""
    if line.startswith("{"):
        try:
            return json.dumps(normaliser.value(json.loads(line)), ensure_ascii=False)
        except ValueError:
            return line
    return line


def _keys_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _keys_of(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_keys_of(value[0])] if value else []
    return "<value>"
