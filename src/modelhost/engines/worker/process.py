"""The worker's side of the protocol of :mod:`modelhost.engines.launch`, for workers written in Python.

Call :func:`read_config` first, before anything may print: it redirects file descriptor 1 to standard error, so that
only the announcements below reach the host. Then :func:`watch_lifeline`, then the slow imports and the loading.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping
from typing import Any, Final

STDIN, STDOUT, STDERR = 0, 1, 2
PR_SET_PDEATHSIG = 1  # linux/prctl.h
UNUSABLE: Final = "model_file_invalid"
"""The code of a failure that no retry mends (:class:`modelhost.errors.ModelFileInvalid`)."""
OF_FILES: Final = (ValueError, TypeError, LookupError, AttributeError, AssertionError, EOFError, RuntimeError)
"""What libraries raise for files that are damaged or that they do not know, besides errors of the system."""
READERS: Final = frozenset({"safetensors", "safetensors_rust", "onnxruntime"})
"""Libraries that read files and have errors of their own."""
OF_MACHINE: Final = re.compile(r"cuda|cudnn|cublas|hip error|nccl|memory|alloc|thread", re.IGNORECASE)
SOURCE: Final = re.compile(r"(?:[\w.+-]*/)+[\w.+-]+\.(?:py|pyx|c|cc|cpp|cu|h|hpp|rs)\b(?::\d+)?:?\s*")
"""A place in the source of a library, as far as where it was built."""
LONGEST_REPORT: Final = 10_000
"""Characters of an error that are looked at; a library may list all tensors."""
LONGEST_CAUSE: Final = 500


class UnusableFiles(ValueError):
    """The files of a model cannot be used. The message says what is wrong with them and what to do about it."""


_host: list[int] = []  # the descriptor that leads to the host, once read_config has moved it


def read_config() -> dict[str, Any]:
    """Read the configuration and reserve standard output for the announcements; to be called once, first of all.

    Raises:
        ValueError: standard input did not begin with a line of JSON.
    """
    _host.append(os.dup(STDOUT))
    os.dup2(STDERR, STDOUT)
    line = bytearray()
    while not line.endswith(b"\n"):
        # Straight from the descriptor: a buffered reader would be locked by the lifeline's thread at exit.
        byte = os.read(STDIN, 1)
        if not byte:
            break
        line += byte
    config: dict[str, Any] = json.loads(line)
    return config


def watch_lifeline() -> None:
    """End this process at once when the host is gone.

    The end of standard input signals that on every platform. On Linux the kernel also sends a signal, which ends a
    process whose threads are stuck, too. The kernel does so when the *thread* that spawned this process ends, so the
    host spawns workers from one that lives as long as the host. SIGINT is ignored: Ctrl-C reaches the whole process
    group, and the host decides when a worker ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_exit_at_end_of_input, name="lifeline", daemon=True).start()


def _exit_at_end_of_input() -> None:
    while os.read(STDIN, 4096):
        pass
    os._exit(0)


def end_with_host() -> None:
    """As :func:`watch_lifeline`, for a process that leads a process group: end the group when the host is gone.

    The kernel's signal is not used: it would end this process only.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_group_at_end_of_input, name="lifeline", daemon=True).start()


def _end_group_at_end_of_input() -> None:
    while os.read(STDIN, 4096):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def announce_engine(*, is_loaded: bool) -> None:
    """Announce that the library of the engine is about to be imported, or that it is: the rest is for the model."""
    _announce({"event": "engine", "is_loaded": is_loaded})


def announce_progress(fraction: float) -> None:
    """Announce that ``fraction`` (0 to 1) of the loading is done."""
    _announce({"event": "progress", "fraction": fraction})


def announce_ready(  # noqa: PLR0913 (all are facts of one worker)
    url: str,
    *,
    context_length: int | None = None,
    slots: int | None = None,
    tasks: Iterable[str] = (),
    engine_version: str | None = None,
    cache_folder: str | None = None,
    chat_stops: Iterable[str] = (),
    chat_defaults: Mapping[str, Any] | None = None,
    most_tokens: int | None = None,
    sees_images: bool | None = None,
    why_blind: str | None = None,
    hears_audio: bool | None = None,
    calls_tools: bool | None = None,
    voices: Iterable[str] = (),
    reports_begin: bool = False,
    features: Iterable[str] = (),
    guided: Iterable[str] = (),
    lacks: Iterable[str] = (),
) -> None:
    """Announce that the worker listens at ``url`` (see :class:`modelhost.engines.launch.Ready`)."""
    _announce(
        {
            "event": "ready",
            "url": url,
            "context_length": context_length,
            "slots": slots,
            "tasks": list(tasks),
            "engine_version": engine_version,
            "cache_folder": cache_folder,
            "chat_stops": list(chat_stops),
            "chat_defaults": dict(chat_defaults or {}),
            "most_tokens": most_tokens,
            "sees_images": sees_images,
            "why_blind": why_blind,
            "hears_audio": hears_audio,
            "calls_tools": calls_tools,
            "voices": list(voices),
            "reports_begin": reports_begin,
            "features": list(features),
            "guided": list(guided),
            "lacks": list(lacks),
        }
    )


def announce_failed(code: str, message: str, *, has_way_out: bool = False) -> None:
    """Announce why the worker cannot start, and whether ``message`` says what to do; the caller exits afterwards."""
    _announce({"event": "failed", "code": code, "message": message, **({"has_way_out": True} if has_way_out else {})})


def announce_load_error(error: BaseException) -> None:
    """Announce what a library raised while it loaded the model, and write its traceback to the log.

    The code is :data:`UNUSABLE` where it is for the files, otherwise ``load_failed``: another try may succeed.
    """
    traceback.print_exception(error)
    sys.stderr.flush()
    if isinstance(error, UnusableFiles):
        announce_failed(UNUSABLE, str(error), has_way_out=True)
    else:
        announce_failed(UNUSABLE if is_of_files(error) else "load_failed", cause_of(error))


def cause_of(error: BaseException) -> str:
    """Return ``error`` in one line, without places in the source of a library."""
    said = SOURCE.sub("", " ".join(str(error)[:LONGEST_REPORT].split()))
    cause = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return cause if len(cause) <= LONGEST_CAUSE else f"{cause[:LONGEST_CAUSE]}..."


def is_of_files(error: BaseException) -> bool:
    """Whether a library that loads a model raises ``error`` for its files, not for the machine."""
    if isinstance(error, OSError):
        return error.errno in (None, errno.ENOENT)
    is_of_reader = type(error).__module__.partition(".")[0] in READERS
    return (is_of_reader or isinstance(error, OF_FILES)) and not OF_MACHINE.search(str(error))


def _announce(event: dict[str, Any]) -> None:
    line = json.dumps(event).encode() + b"\n"
    os.write(_host[0], line)
