"""A ``llama-server`` as a program: which version it is, and what it can, read from what it says of itself.

Its features are the flags of its help, as ``common_arg::to_string`` of llama.cpp's ``common/arg.cpp`` writes them:
names and values in the first columns, what they mean behind or below.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

SECONDS: Final = 60.0  # one that is built for GPUs loads their libraries before it says anything
NAMES_COLUMNS: Final = 40
LONGEST_NAMES: Final = 37
"""Characters; what a flag means stands below longer ones."""
_VERSION: Final = re.compile(r"^version: (\S+ \(.+\))$", re.MULTILINE)
_FLAG: Final = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
_VARIABLE: Final = re.compile(r"\(env: (LLAMA_ARG_\w+)\)")
_DEVICE: Final = re.compile(r"^ +(\w+): .*\((\d+) MiB, \d+ MiB free\)", re.MULTILINE)
_REMOVED: Final = "argument has been removed"


class NotAServerError(Exception):
    """A program that is no ``llama-server``; the message is for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProgram:
    """What a ``llama-server`` says of itself."""

    path: str
    version: str
    """As it says: ``0.6.0 (build 11549, commit 6f3ab12)``; older ones have the build alone, ``4719 (b3e8a1c)``."""
    flags: Mapping[str, str]
    """What its help says of each flag, values included."""
    variables: frozenset[str]
    """Environment variables that it takes for flags."""

    def has(self, flag: str) -> bool:
        return flag in self.flags

    def help_mentions(self, flag: str, words: str) -> bool:
        """Whether the help of ``flag`` has ``words`` in it; not of a flag that it has not."""
        return words in self.flags.get(flag, "")


def inspect_program(path: str, *, before: Callable[[], None] | None = None) -> ServerProgram:
    """Return what the program at ``path`` says of itself. ``before``: see :func:`output_of`.

    Raises:
        NotAServerError: it cannot be started, or answers as no ``llama-server`` does.
    """
    with ThreadPoolExecutor(max_workers=2) as both:
        version, told = both.map(lambda flag: output_of(path, flag, before=before), ("--version", "--help"))
    return ServerProgram(
        path=path,
        version=version_in(version, path),
        flags=flags_in(told),
        variables=frozenset(_VARIABLE.findall(told)),
    )


def output_of(
    path: str, *arguments: str, env: Mapping[str, str] | None = None, before: Callable[[], None] | None = None
) -> str:
    """Return what the program writes, to whichever stream, when it is started with ``arguments``.

    ``before`` is called in the process before the program starts.

    Raises:
        NotAServerError: it cannot be started, or does not end.
    """
    try:
        done = subprocess.run(  # noqa: S603 (the program that a setting names)
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
            preexec_fn=before,
        )
    except subprocess.TimeoutExpired:
        raise NotAServerError(f"{path} {' '.join(arguments)} did not end within {SECONDS:g} s") from None
    except OSError as error:
        raise NotAServerError(f"{path} cannot be started: {error.strerror or error}") from error
    return done.stdout


def version_in(said: str, path: str) -> str:
    """Return the version that the program at ``path`` has told.

    Raises:
        NotAServerError: there is none.
    """
    found = _VERSION.search(said)
    if found is None:
        last = next((line for line in reversed(said.splitlines()) if line.strip()), "nothing")
        raise NotAServerError(
            f'{path} is no llama-server, or lacks its libraries: to --version it says "{last.strip()}"'
        )
    return found[1]


def flags_in(told: str) -> dict[str, str]:
    """Return what a help text says of each flag; those are left out that are named only to say that they are gone."""
    flags: dict[str, str] = {}
    for entry in re.split(r"^(?=-)", told, flags=re.MULTILINE):
        if _REMOVED not in " ".join(entry.split()):
            flags |= dict.fromkeys(_FLAG.findall(_names_of(entry.partition("\n")[0])), entry)
    return flags


def _names_of(line: str) -> str:
    return line if line[LONGEST_NAMES:NAMES_COLUMNS].strip() else line[:NAMES_COLUMNS]


def lists_gpus(said: str) -> bool:
    """Return whether the answer to ``--list-devices`` has a GPU in it; BLAS, which computes on CPUs, has no memory."""
    return any(name != "BLAS" and int(mib) > 0 for name, mib in _DEVICE.findall(said))
