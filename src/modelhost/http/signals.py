"""The signals that a host which serves listens to."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from modelhost import logs

TERMINAL: Final = Path("/dev/tty")
ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Signals:
    """What each does may be changed on the way; a second one of those that end the host ends the process at once."""

    def __init__(self, end: Callable[[], object]) -> None:
        self.end = end
        """At the first SIGTERM or SIGINT, and when the terminal of the host is closed."""
        self.drain = end
        """At the first SIGQUIT."""
        self.reread: Callable[[], object] = logs.reopen_files
        """At each SIGHUP."""
        # A terminal that closes sends SIGHUP, too; with `nohup` the host outlives it.
        self._has_terminal = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and has_terminal()
        self._is_ending = False

    def on_ending(self, number: signal.Signals) -> None:
        """End, in the way that ``number`` asks for."""
        if self._is_ending:
            os._exit(128 + number)
        self._is_ending = True
        (self.drain if number == signal.SIGQUIT else self.end)()

    def on_hangup(self) -> None:
        """Read anew what may have changed; end, if it is the terminal that has gone."""
        if self._has_terminal and not has_terminal():
            if not self._is_ending:
                self.on_ending(signal.SIGHUP)
            return
        self.reread()


@contextmanager
def signals(loop: asyncio.AbstractEventLoop, end: Callable[[], object]) -> Iterator[Signals]:
    """Take the signals in; each of those that end the host calls ``end`` until told otherwise."""
    taken = Signals(end)
    for number in ENDING:
        loop.add_signal_handler(number, taken.on_ending, number)
    loop.add_signal_handler(signal.SIGHUP, taken.on_hangup)
    try:
        yield taken
    finally:
        for number in (*ENDING, signal.SIGHUP):
            loop.remove_signal_handler(number)


def has_terminal() -> bool:
    """Whether this process belongs to a terminal that is still there."""
    try:
        os.close(os.open(TERMINAL, os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
