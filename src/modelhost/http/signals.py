"""The signals that end a host or have it reload its configuration, and what a reload changes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelhost import logs
from modelhost.config.fields import secrets_in
from modelhost.config.settings import Settings
from modelhost.errors import ConfigError
from modelhost.http.keys import check_exposure
from modelhost.redaction import hide

if TYPE_CHECKING:
    from modelhost.host import Host

TERMINAL: Final = Path("/dev/tty")
ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Signals:
    """The replaceable handlers of signals; a second signal to stop ends the process at once."""

    def __init__(self, end: Callable[[], object]) -> None:
        self.end = end
        """Called at the first SIGTERM or SIGINT, and when the terminal of the host is closed."""
        self.drain = end
        """Called at the first SIGQUIT."""
        self.reread: Callable[[], object] = logs.reopen_files
        """Called at each SIGHUP."""
        # A closing terminal sends SIGHUP, too; with `nohup`, the host survives it.
        self._has_terminal = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and has_terminal()
        self._is_ending = False

    def on_ending(self, number: signal.Signals) -> None:
        """Stop, as ``number`` requires."""
        if self._is_ending:
            os._exit(128 + number)
        self._is_ending = True
        (self.drain if number == signal.SIGQUIT else self.end)()

    def on_hangup(self) -> None:
        """Reload; stop if the terminal was closed."""
        if self._has_terminal and not has_terminal():
            if not self._is_ending:
                self.on_ending(signal.SIGHUP)
            return
        self.reread()


@contextmanager
def signals(loop: asyncio.AbstractEventLoop, end: Callable[[], object]) -> Iterator[Signals]:
    """Install the handlers; signals to stop call ``end`` by default."""
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
    """Whether this process has a terminal."""
    try:
        os.close(os.open(TERMINAL, os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


log = logs.get_logger(__name__)

LIVE: Final = ("api_keys", "allow_origin", "allowed_host", "log_level", "allow_models", "alerts")
"""Settings that a reload applies; all others require a restart."""


class ConfigReloader:
    """Reloads the model registry, the file of MCP servers and the configuration, and reopens log files."""

    def __init__(
        self,
        host: Host,
        address: str,
        *,
        read: Callable[[], Settings] | None,
        admit: Callable[[Settings], object],
    ) -> None:
        """``read`` reads the configuration, if it can be read again; ``admit`` applies the access control.

        ``address`` is the host's.
        """
        self._host = host
        self._settings = host.settings
        self._address = address
        self._read = read
        self._admit = admit
        self._task: asyncio.Task[None] | None = None
        self._is_wanted = False

    def begin(self) -> None:
        """Start a reload, or repeat it if one is running."""
        logs.reopen_files()
        self._host.reread()
        self._is_wanted = True
        if self._read is not None and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._configure(self._read), name="rereading the configuration")

    async def _configure(self, read: Callable[[], Settings]) -> None:
        while self._is_wanted:
            self._is_wanted = False
            reading = await asyncio.to_thread(self._checked, read)
            if isinstance(reading, ConfigError):
                log.error("configuration_refused", problems=reading.message)
            else:
                self._apply(reading)

    def _checked(self, read: Callable[[], Settings]) -> Settings | ConfigError:
        try:
            settings = read()
            check_exposure(settings, self._address)
        except ConfigError as error:
            return error
        return settings

    def _apply(self, settings: Settings) -> None:
        changed = [name for name in Settings.model_fields if getattr(settings, name) != getattr(self._settings, name)]
        live = {name: getattr(settings, name) for name in LIVE}
        self._settings = self._settings.model_copy(update=live)
        hide(secrets_in(self._settings))
        logs.set_level(self._settings.log_level)
        self._admit(self._settings)
        self._host.apply_settings(self._settings)
        log.info("configuration_in_force", changed=[name for name in changed if name in LIVE])
        if waiting := [name for name in changed if name not in LIVE]:
            log.warning("settings_need_restart", names=waiting)
