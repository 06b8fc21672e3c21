"""modelhost: one program that hosts language models in worker processes, behind OpenAI's API.

The public names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from modelhost.supported import unsupported_python, unsupported_reason
from modelhost.version import __version__

if TYPE_CHECKING:
    from modelhost.config.settings import Settings
    from modelhost.errors import ModelhostError
    from modelhost.host import Host
    from modelhost.llm import LLM, Reply

if why_not := unsupported_python(sys.version_info[:2]):
    raise ImportError(why_not)

__all__ = ["LLM", "Host", "ModelhostError", "Reply", "Settings", "__version__", "run"]

_HOMES = {
    "Host": "modelhost.host",
    "LLM": "modelhost.llm",
    "ModelhostError": "modelhost.errors",
    "Reply": "modelhost.llm",
    "Settings": "modelhost.config.settings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if why := unsupported_reason(sys.platform):
        raise ImportError(why)
    return getattr(import_module(_HOMES[name]), name)


def run(args: Sequence[str]) -> int:
    """Serve as ``modelhost serve ARGS`` does, for example ``run(["--m", "org/name", "--p", "2000"])``; blocks.

    Returns the exit status; errors are printed, as on the command line.
    """
    from modelhost.cli.main import run as run_command  # noqa: PLC0415 - the command line is not everybody's

    return run_command(args)
