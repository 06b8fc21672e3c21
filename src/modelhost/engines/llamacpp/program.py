"""A ``llama-server`` as a program: its version and its flags, read from its own output.

Its flags are those of its help text, as ``common_arg::to_string`` of llama.cpp's ``common/arg.cpp`` writes them: names
and values in the first columns, the meaning after or below them.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

SECONDS: Final = 30.0
"""A build for GPUs loads their libraries before it prints anything. Less than the least time for a load, whose end
would not name the program.
"""
NAMES_COLUMNS: Final = 40
LONGEST_NAMES: Final = 37
"""Characters; the meaning of longer ones is on the next line."""
_VERSION: Final = re.compile(r"^version: (\S+ \(.+\))$", re.MULTILINE)
_FLAG: Final = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
_VARIABLE: Final = re.compile(r"\(env: (LLAMA_ARG_\w+)\)")
_DEVICE: Final = re.compile(r"^ +(\w+): .*\((\d+) MiB, \d+ MiB free\)", re.MULTILINE)
_REMOVED: Final = "argument has been removed"


class NotAServerError(Exception):
    """The program is not a ``llama-server``; the message is for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProgram:
    """The version and the flags of a ``llama-server``."""

    path: str
    version: str
    """For example ``0.6.0 (build 11549, commit 6f3ab12)``; older versions print the build only, ``4719 (b3e8a1c)``."""
    flags: Mapping[str, str]
    """The help text of each flag, with its values."""
    variables: frozenset[str]
    """Environment variables that it reads as flags."""

    def has(self, flag: str) -> bool:
        return flag in self.flags

    def help_mentions(self, flag: str, words: str) -> bool:
        """Whether the help of ``flag`` contains ``words``; false if there is no such flag."""
        return words in self.flags.get(flag, "")


def inspect_program(path: str, *, before: Callable[[], None] | None = None) -> ServerProgram:
    """Return the version and the flags of the program at ``path``. ``before``: see :func:`output_of`.

    Raises:
        NotAServerError: it cannot be started, or its output is not that of a ``llama-server``.
    """
    with ThreadPoolExecutor(max_workers=2) as both:
        version, help_text = both.map(lambda flag: output_of(path, flag, before=before), ("--version", "--help"))
    return ServerProgram(
        path=path,
        version=version_in(version, path),
        flags=flags_in(help_text),
        variables=frozenset(_VARIABLE.findall(help_text)),
    )


def output_of(
    path: str, *arguments: str, env: Mapping[str, str] | None = None, before: Callable[[], None] | None = None
) -> str:
    """Return the output of the program, from both streams, when it is started with ``arguments``.

    ``before`` is called in the new process before the program starts.

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


def version_in(output: str, path: str) -> str:
    """Return the version in ``output``, the output of the program at ``path``.

    Raises:
        NotAServerError: there is no version in it.
    """
    found = _VERSION.search(output)
    if found is None:
        last = next((line for line in reversed(output.splitlines()) if line.strip()), "nothing")
        raise NotAServerError(
            f'{path} is no llama-server, or lacks its libraries: to --version it says "{last.strip()}"'
        )
    return found[1]


def flags_in(help_text: str) -> dict[str, str]:
    """Return the entry of each flag in a help text, without flags that have been removed."""
    flags: dict[str, str] = {}
    for entry in re.split(r"^(?=-)", help_text, flags=re.MULTILINE):
        if _REMOVED not in " ".join(entry.split()):
            flags |= dict.fromkeys(_FLAG.findall(_names_of(entry.partition("\n")[0])), entry)
    return flags


def _names_of(line: str) -> str:
    return line if line[LONGEST_NAMES:NAMES_COLUMNS].strip() else line[:NAMES_COLUMNS]


def lists_gpus(output: str) -> bool:
    """Return whether the output of ``--list-devices`` has a GPU; BLAS, which computes on CPUs, has no memory."""
    return any(name != "BLAS" and int(mib) > 0 for name, mib in _DEVICE.findall(output))
