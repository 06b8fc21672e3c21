"""``modelhost serve``: from settings to a listening host and back to an exit status."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Final

import uvloop

from modelhost import lazy, logs
from modelhost.background import cancel_and_wait
from modelhost.config.settings import Settings
from modelhost.engines import TRAITS
from modelhost.errors import ConfigError, PortInUse
from modelhost.host import Host
from modelhost.http.keys import check_exposure
from modelhost.http.signals import ConfigReloader, signals
from modelhost.log_file import Clock
from modelhost.models.hub.progress import DownloadProgress
from modelhost.models.residency.status import State
from modelhost.parts import log_to_file
from modelhost.workers.process import ProgressCallback

log = logs.get_logger(__name__)

Announce = Callable[[str, Host], None]
BACKLOG = 2048
FILES_PER_CONNECTION = 4  # its socket, that to a worker, and some more
FINAL_SECONDS = 1.0  # for cancelled requests to send their error


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Callbacks for the progress of the start."""

    on_download: DownloadProgress | None = None
    on_loading: ProgressCallback | None = None


NOT_SHOWN: Final = Progress()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """The sockets of a host."""

    main: socket.socket
    mcp: socket.socket | None = None
    """For its MCP servers alone."""
    ollama: socket.socket | None = None
    """Where clients look for Ollama."""

    @property
    def all(self) -> list[socket.socket]:
        """Those that there are."""
        return [each for each in (self.main, self.mcp, self.ollama) if each is not None]


def serve(
    settings: Settings,
    *,
    announce: Announce,
    progress: Progress = NOT_SHOWN,
    reread: Callable[[], Settings] | None = None,
    clock: Clock = time.time,
) -> int:
    """Serve until a signal; return the exit status. ``announce`` is called with the address once the host listens.

    ``reread`` reads the configuration again, for SIGHUP; ``clock`` is that of the log file.

    Raises:
        SetupError: the port, the model or a setting cannot be used.
        WorkerStartFailed: the engine could not load the model.
    """
    logs.setup(settings.log_level, settings.log_format)
    check_ports(settings)
    # Before the model is loaded, so that a taken port is reported at once.
    with (
        log_to_file(settings, clock),
        logs.log_fatal_error(),
        _bound_socket(settings.host, settings.port) as listener,
        _bound_socket(settings.host, settings.mcp_port) if settings.mcp_port is not None else nullcontext() as mcp,
        _bound_as_ollama(settings) if settings.ollama else nullcontext() as ollama,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        _allow_open_files(settings.max_connections * FILES_PER_CONNECTION)
        check_exposure(settings, listener.getsockname()[0])
        listeners = Listeners(main=listener, mcp=mcp, ollama=ollama)
        return runner.run(_serve(settings, listeners, announce, progress, reread))


async def _serve(
    settings: Settings,
    listeners: Listeners,
    announce: Announce,
    progress: Progress,
    reread: Callable[[], Settings] | None,
) -> int:
    host = Host(settings)
    starting = asyncio.ensure_future(
        host.start(
            on_download=progress.on_download,
            on_progress=progress.on_loading,
            while_loading=lambda: lazy.preload("http_listening"),
        )
    )
    with signals(asyncio.get_running_loop(), starting.cancel) as taken:
        try:
            await starting
        except asyncio.CancelledError:
            log.info("stopped_while_starting")
            return 0
        slices: list[asyncio.Task[None]] = []
        try:
            server = lazy.http_listening.Server(
                host,
                mcp_port=_port(listeners.mcp),
                ollama_port=_port(listeners.ollama),
                backlog=BACKLOG,
                on_listening=lambda: slices.append(_listening(listeners, host, announce)),
            )
            rereading = ConfigReloader(host, listeners.main.getsockname()[0], read=reread, admit=server.admit)
            taken.end, taken.drain, taken.reread = server.stop_gracefully, server.drain, rereading.begin
            for listener in listeners.all:
                _listen(listener)
            await server.serve(sockets=listeners.all)
        finally:
            await cancel_and_wait(*slices)
            await host.stop(drain_seconds=FINAL_SECONDS)
    log.info("stopped")
    return 0


def _listening(listeners: Listeners, host: Host, announce: Announce) -> asyncio.Task[None]:
    """Say where the host listens, and have its slices follow its models."""
    name = host.settings.host
    url, mcp_url = _url(name, listeners.main), f"{_url(name, listeners.mcp or listeners.main)}/mcp"
    log.info("listening", url=url, mcp=mcp_url, models=[model.name for model in host.models], pid=os.getpid())
    if listeners.ollama is not None:
        log.info("listening_as_ollama", url=_url(name, listeners.ollama))
    announce(url, host)
    return asyncio.create_task(_shorten_slices(host), name="shorten slices")


async def _shorten_slices(host: Host) -> None:
    """Have this thread get a core soon, from when a model is to be loaded whose engine computes on all of them.

    Beside other engines a core is free. The host would then interrupt a worker at the first of several tokens, and
    write each by itself, which takes more time of both.
    """
    async with host.events() as events:
        async for event in events:
            if event.state in (State.LOADING, State.READY) and _computes_everywhere(host, event.model):
                lazy.time_slices.shorten_slices()
                return


def _computes_everywhere(host: Host, name: str) -> bool:
    engines = [model.engine.name for model in host.models if model.name == name]
    return any(TRAITS[engine].has_every_core for engine in engines)


def check_ports(settings: Settings) -> None:
    """Check that no two listeners have the same port, which two sockets could be bound to; raises ConfigError."""
    given = {"port": settings.port, "mcp_port": settings.mcp_port}
    if settings.ollama:
        given["ollama_port"] = settings.ollama_port
    names: dict[int, str] = {}
    for name, port in given.items():
        if port and (other := names.setdefault(port, name)) != name:
            raise ConfigError(f"{other} and {name} are both {port}; give each a port of its own.")


def _allow_open_files(wanted: int) -> None:
    """Raise the limit of open files to ``wanted``, as far as the system permits; the default is often 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with suppress(ValueError, OSError):  # macOS has a hidden limit
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def _bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to the address without listening yet.

    Raises:
        PortInUse: the address is in use, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise _port_in_use(host, port, error) from None
    return listener


def _bound_as_ollama(settings: Settings) -> socket.socket:
    """Return a socket that is bound to the port of Ollama.

    Raises:
        PortInUse: Ollama, or something else, has that port.
        ConfigError: the host has nothing for the clients of Ollama.
    """
    if settings.only_prompt:
        raise ConfigError(
            "ollama: with only_prompt the host answers prompts alone; leave one of them out", param="ollama"
        )
    try:
        return _bound_socket(settings.host, settings.ollama_port)
    except PortInUse as error:
        raise PortInUse(
            f"Cannot listen on {settings.host}:{settings.ollama_port}, where --ollama has this host answer: "
            f"{error.details['reason']}. Ollama itself may be running: stop it, or choose another --ollama-port and "
            "have its clients use that (OLLAMA_HOST).",
            **error.details,
        ) from None


def _port(listener: socket.socket | None) -> int | None:
    return None if listener is None else int(listener.getsockname()[1])


def _listen(listener: socket.socket) -> None:
    """Listen; two hosts can be bound to the same address until one of them listens.

    Raises:
        PortInUse: another host was faster.
    """
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        host, port = listener.getsockname()[:2]
        raise _port_in_use(host, port, error) from None


def _port_in_use(host: str, port: int, error: OSError) -> PortInUse:
    return PortInUse(
        f"Cannot listen on {host}:{port}: {error.strerror or error}. "
        "Choose another with --port (0 picks a free one) or --host.",
        host=host,
        port=port,
        reason=error.strerror or str(error),
    )


def _url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"
