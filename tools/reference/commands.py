"""``docs/reference/cli.md``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from typer.main import get_command

from modelhost.cli.main import FORMS, app
from modelhost.config.fields import SETTINGS
from tools.reference.tables import table


def cli_page() -> str:
    """Every command with its arguments and options; those made from settings by name only."""
    root: Any = get_command(app)
    sections = [_command_section(("modelhost", *names), command) for names, command in _commands(root)]
    forms = [_command_section(("modelhost", name), root.get_command(None, name)) for name in FORMS]
    return f"""# Commands

`modelhost --help` lists the commands, `modelhost COMMAND --help` the options of one. Results go to standard output,
errors and notes to standard error. The exit status is 0 after success, 1 after an error, 2 for an invalid command line,
and 130 after Ctrl-C.

{table(("Option", "Meaning"), (_option_row(option) for option in root.params))}
{"".join(sections)}
The following commands are for users of mistral.rs; the help does not list them.
{"".join(forms)}"""


def _commands(group: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "commands"):
            yield from (((name, *inner), found) for inner, found in _commands(command))
        else:
            yield (name,), command


def _command_section(names: Sequence[str], command: Any) -> str:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter not in arguments]
    settings = [option for option in options if option.name in SETTINGS and option.name != "model"]
    rows = [
        *((f"`{_argument(argument)}`", argument.help) for argument in arguments),
        *(_option_row(option) for option in options if option not in settings),
    ]
    words = [_argument(each) if each.required else f"[{_argument(each)}]" for each in arguments]
    usage = " ".join([*names, *words, "[OPTIONS]"])
    flags = ", ".join(f"`{flag}`" for option in settings for flag in option.opts)
    examples = re.findall(r"^ {2}(\S.*)$", command.epilog or "", flags=re.MULTILINE)
    parts = [
        f"\n## `{' '.join(names)}`\n",
        f"{_paragraphs(command.help)}\n",
        f"```text\n{usage}\n```\n",
        table(("Argument or option", "Meaning"), rows) if rows else None,
        f"Options for [settings](settings.md): {flags}.\n" if flags else None,
        "```text\n" + "\n".join(examples) + "\n```\n" if examples else None,
    ]
    return "\n".join(part for part in parts if part is not None)


def _argument(argument: Any) -> str:
    """The name of an argument. Some say in it that they may be left out, which is for the command's own help."""
    return re.sub(r"^\[(.*)\]$", r"\1", argument.metavar or argument.name.upper())


def _option_row(option: Any) -> Sequence[str]:
    return ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts)), _plain(option.help or "")


def _plain(text: str) -> str:
    """Help without the escapes of Rich's markup."""
    return text.replace(r"\[", "[")


def _paragraphs(text: str) -> str:
    """The paragraphs of a docstring, one line each."""
    return _plain("\n\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip())))
