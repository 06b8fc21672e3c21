"""An agent as a child process that has the terminal."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from modelhost.cli.launch.plan import Agent, Plan, environment_of, resolved
from modelhost.config.environment import current
from modelhost.errors import ConfigError

FORWARDED: Final = (signal.SIGTERM, signal.SIGHUP)
"""Signals for this process alone, which the agent gets, too. Ctrl-C and Ctrl-\\ reach both from the terminal."""
FROM_THE_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT)
SIGNAL_BASE: Final = 128
"""The status of a program that a signal ended is this and the signal's number, as shells report it."""


def run_agent(agent: Agent, plan: Plan, extra: tuple[str, ...], api_key: str | None) -> int:
    """Run ``agent`` until it ends; return its exit status. Its files exist as long as it runs.

    Raises:
        ConfigError: it is not installed.
    """
    inherited = current()
    program = shutil.which(agent.program, path=inherited.get("PATH"))
    if program is None:
        raise ConfigError(
            f"{agent.title} is not installed: there is no {agent.program} on the PATH. Install it: {agent.install}"
        )
    with tempfile.TemporaryDirectory(prefix="modelhost-launch-") as made:  # which only this user can read
        directory = Path(made)
        for name, file in plan.files.items():
            (directory / name).write_text(file.text(), "utf-8")
        arguments = [resolved(value, api_key, directory) for value in plan.arguments]
        return _status_of([program, *arguments, *extra], environment_of(plan, inherited, api_key, directory))


def _status_of(command: list[str], environment: Mapping[str, str]) -> int:
    with _left_to_the_child() as children, subprocess.Popen(command, env=environment) as child:  # noqa: S603
        children.append(child)
        status = child.wait()
    return status if status >= 0 else SIGNAL_BASE - status


@contextmanager
def _left_to_the_child() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Leave signals to the processes that are put into the list: this one ends when they have ended."""
    children: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _frame: Any) -> None:
        for child in children:
            child.send_signal(number)

    # Handlers and not SIG_IGN, which the child would inherit.
    before = {number: signal.signal(number, forward) for number in FORWARDED}
    before |= {number: signal.signal(number, lambda *_: None) for number in FROM_THE_TERMINAL}
    try:
        yield children
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
