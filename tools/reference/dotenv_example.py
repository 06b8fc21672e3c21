"""``.env.example``: every variable, each in a comment with its default."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from modelhost.config.environment import OTHER_NAMES, OTHER_VARIABLES
from modelhost.config.fields import SETTINGS, display_text
from modelhost.config.vllm_environment import VARIABLES

WIDTH: Final = 110
INTRODUCTION: Final = (
    "Settings of modelhost as variables. Copy this file to `.env` in the directory where modelhost starts, and remove "
    "the `#` before the variables to set. The environment and command-line options take precedence over it, and it "
    "takes precedence over modelhost.yaml. Keep a `.env` with keys out of version control. Written by `make docs`."
)


def dotenv_example() -> str:
    """The whole file."""
    lines = [*_comment(INTRODUCTION)]
    for panel in dict.fromkeys(setting.panel for setting in SETTINGS.values()):
        lines += ["", *_comment(f"==== {panel} ====")]
        for setting in SETTINGS.values():
            if setting.panel == panel:
                default = display_text(setting.default)
                lines += _variable(setting.environment, setting.description, "" if default == "-" else default)
    lines += ["", *_comment("==== Names of other programs, and of commands ====")]
    for name, meaning in _others():
        lines += _variable(name, meaning, "")
    return "\n".join([*lines, ""])


def _others() -> Iterator[tuple[str, str]]:
    yield from OTHER_VARIABLES.items()
    yield from ((name, other.description) for name, other in OTHER_NAMES.items() if name not in OTHER_VARIABLES)
    yield from ((name, f"For `modelhost mcp`. {variable.meaning}") for name, variable in VARIABLES.items())


def _variable(name: str, meaning: str, value: str) -> list[str]:
    return ["", *_comment(meaning), f"#{name}={value}"]


def _comment(paragraph: str) -> list[str]:
    return textwrap.wrap(
        paragraph, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False
    )
