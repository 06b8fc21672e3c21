"""The reference page of the settings, ``docs/reference/settings.md``, made from the declarations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from modelhost.config.environment import OTHER_NAMES, OTHER_VARIABLES, PROGRAM_VARIABLES
from modelhost.config.fields import SETTINGS, Setting, display_text

COLUMNS: Final = ("Key", "Flag", "Environment", "Type", "Default", "Meaning")

_INTRODUCTION: Final = """\
# Settings

The value of a setting comes from the first of these that contains it: the command-line flag, the environment
variable, the same variable in `.env`, the configuration file, the default. `modelhost config show` prints the effective
values and their sources; `modelhost config check` lists all errors.

The file is YAML or JSON: the one named by `--config PATH` or `MODELHOST_CONFIG`, otherwise `modelhost.yaml`,
`modelhost.yml` or `modelhost.json` in the working directory. An unknown key is an error.

`.env` is the file of that name in the working directory, with lines such as `MODELHOST_PORT=9000`; `.env.example`, in
the modelhost repository, contains all of them. The host reads only the variables on this page from it, and the `VLLM_*`
variables of [`modelhost mcp`](../mcp-servers.md). `HF_TOKEN` and other variables of libraries must be in the
environment. A key from the environment is not sent to a host whose URL only `.env` sets.

In the environment, write a list as `a,b` or as JSON, and engine options as `key=value,key=value` or as JSON; an empty
variable counts as unset. On the command line, repeat the flag of a list. A list or the engine options of a source with
higher precedence replace those of lower ones; they are not merged.
"""


def markdown() -> str:
    """The whole page: one table for each panel of the command line's help, then the other variables."""
    panels = dict.fromkeys(setting.panel for setting in SETTINGS.values())
    sections = [
        f"## {panel}\n\n" + _table(COLUMNS, (_row(setting) for setting in SETTINGS.values() if setting.panel == panel))
        for panel in panels
    ]
    return "\n".join([_INTRODUCTION, *sections, _other_variables()])


def _other_variables() -> str:
    others = {name: other.description for name, other in OTHER_NAMES.items()}
    rows = others | dict(OTHER_VARIABLES) | dict(PROGRAM_VARIABLES)
    table = _table(("Variable", "Meaning"), ((f"`{name}`", rows[name]) for name in sorted(rows)))
    return f"## Other environment variables\n\n{table}"


def _row(setting: Setting) -> Sequence[str]:
    flags = ", ".join(f"`{flag}`" for flag in setting.flags)
    default = display_text(setting.default)
    return (
        f"`{setting.key}`",
        flags,
        f"`{setting.environment}`",
        setting.type_name,
        default if default == "-" else f"`{default}`",
        setting.description,
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)
