"""One flag per setting, made from ``Settings``, for every command that takes the configuration of a host."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Concatenate, Final

import typer

from modelhost.cli import console
from modelhost.cli.models.smallest import InventoryFile, Smallest, with_smallest
from modelhost.cli.signature import literal, option, with_signature
from modelhost.config import environment
from modelhost.config.document import read_content
from modelhost.config.environment import CONFIG_VARIABLE, OTHER_NAMES, read_dotenv_settings
from modelhost.config.fields import SETTINGS, Origin, Setting, display_text
from modelhost.config.file import DEFAULT_FILES, DEFAULT_NAMES
from modelhost.config.llm_server import DEFAULT_NAME, DISTINCTIVE_KEYS, LlmServerFile
from modelhost.config.paths import broken_link, expand_home, is_file_or_link
from modelhost.config.sources import EffectiveConfig, load
from modelhost.engines import TRAITS
from modelhost.engines.installed import quantizing_by
from modelhost.errors import ConfigError, ModelFileMissing


def with_quantization(wanted: str, engine: str | None, options: Sequence[str] | None) -> list[str]:
    """Return the engine options ``options`` (``KEY=VALUE``) with the one for the quantization ``wanted``.

    Raises:
        ConfigError: ``engine`` does not quantize, or ``options`` sets the option already.
    """
    found = TRAITS[engine or quantizing_by("isq")].capabilities
    if found is None or found.quantizes_by is None:
        raise ConfigError(
            f"--isq {wanted}: {engine} takes weights as they are; leave the engine out, so that mistral.rs quantizes "
            "them while they are loaded, or name a file that is quantized already, such as org/name:Q4_K_M",
            param="engine",
        )
    given = list(options or ())
    if any(each.partition("=")[0].strip() == found.quantizes_by for each in given):
        raise ConfigError(f"--isq and --engine-option {found.quantizes_by} are two names of one; give one of them")
    return [*given, f"{found.quantizes_by}={wanted}"]


MIN_DISTINCTIVE_KEYS: Final = 2
"""The ``config.json`` of a model may have one of the keys, such as ``model_name``."""


def has_llm_server_file(cwd: Path) -> bool:
    """Whether ``cwd`` has a file of LLM-Server, even an invalid one, which its reader reports."""
    path = cwd / DEFAULT_NAME
    if not path.is_file():
        return False
    try:
        text = read_content(path).decode("utf-8", "replace")
    except ValueError:
        return False
    spellings = (mark.replace("_", "[ _]") for mark in DISTINCTIVE_KEYS)
    return sum(bool(re.search(rf"""\b{mark}["']?\s*:""", text)) for mark in spellings) >= MIN_DISTINCTIVE_KEYS


def find_other_choice(flags: Mapping[str, Any], *, environ: Mapping[str, str], cwd: Path) -> str | None:
    """Return what else configures the host, as the beginning of a sentence; ``None``: nothing.

    That is a setting on the command line, a model or configuration in the environment, or a file of ours.
    """
    given = [SETTINGS[key].flags[0] for key, value in flags.items() if value is not None]
    if given:
        return f"{given[0]} is given"
    variables = read_dotenv_settings(cwd).merged_with(environ)
    named = [name for name in _naming_models() if variables.get(name, "").strip()]
    if named:
        return f"{named[0]} is set"
    here = [name for name in (*DEFAULT_NAMES, *DEFAULT_FILES["models_config"]) if is_file_or_link(cwd / name)]
    return f"{here[0]} is here" if here else None


def _naming_models() -> list[str]:
    keys = ("model", "models_config")
    others = [name for name, other in OTHER_NAMES.items() if other.key in keys]
    return [CONFIG_VARIABLE, *(SETTINGS[key].environment for key in keys), *others]


_METAVARS: Final = {"text": "TEXT", "integer": "N", "number": "NUMBER", "list": "TEXT", "mapping": "KEY=VALUE"}


def _flag(setting: Setting) -> inspect.Parameter:
    """Return the option of one setting. It takes text, which the configuration validates alike for all sources."""
    annotation: Any = list[str] if setting.kind in {"list", "mapping"} else str
    return option(
        setting.key,
        bool | None if setting.kind == "boolean" else annotation | None,
        typer.Option(
            None,
            *(() if setting.kind == "boolean" else setting.flags),
            help=literal(_help(setting)),
            metavar="|".join(setting.choices) or _METAVARS.get(setting.kind),
            show_default=False,
            rich_help_panel=setting.panel,
            autocompletion=_completion(setting),
        ),
    )


def _help(setting: Setting) -> str:
    default = display_text(setting.default)
    return setting.description if default == "-" else f"{setting.description} Default: {default}."


def _completion(setting: Setting) -> Callable[[str], list[str]] | None:
    def choices(incomplete: str) -> list[str]:
        return [choice for choice in setting.choices if choice.startswith(incomplete)]

    return choices if setting.choices else None


_OWN: Final = (
    option(
        "model",
        str | None,
        typer.Argument(None, metavar="MODEL", help=literal(SETTINGS["model"].description), show_default=False),
    ),
    option(
        "hub_id",
        str | None,
        typer.Option(None, "--m", "--model", metavar="MODEL", help="The same as MODEL.", rich_help_panel="Model"),
    ),
    option(
        "local_path",
        Path | None,
        typer.Option(None, "--w", help="MODEL as a local file or directory.", rich_help_panel="Model"),
    ),
    option(
        "quantization",
        str | None,
        typer.Option(
            None,
            "--isq",
            "--quant",
            metavar="FORMAT",
            help="Format to quantize the weights to while they are loaded, such as Q4K or 8, with "
            "mistral.rs (engine option `isq`). With --engine vllm: awq, gptq ... (`quantization`).",
            show_default=False,
            rich_help_panel="Engine",
        ),
    ),
    option("smallest", Smallest, False),
    option("inventory", InventoryFile, None),
    option(
        "config_path",
        Path | None,
        typer.Option(None, "--config", "-c", help="Configuration file. Default: modelhost.yaml, if it exists."),
    ),
    option(
        "llm_server",
        bool | None,
        typer.Option(
            None,
            "--llm-server/--no-llm-server",
            help=f"Use a configuration file of LLM-Server: {DEFAULT_NAME}, unless --config names one. Default: used "
            "if that file is in this directory and nothing else selects what to serve.",
            show_default=False,
        ),
    ),
    option(
        "no_tools",
        bool,
        typer.Option(
            False,
            "--no-tools",
            help="Start no MCP servers, even if there is an `mcp.json` or a setting names one.",
            rich_help_panel=SETTINGS["mcp_config"].panel,
        ),
    ),
)


def with_settings(command: Callable[Concatenate[EffectiveConfig, ...], None]) -> Callable[..., None]:
    """Give a command a flag for each setting, and the configuration as its first argument.

    Its other parameters stay options of its own.
    """
    _effective, *own = inspect.signature(command, eval_str=True).parameters.values()

    @functools.wraps(command)
    def with_flags(**values: Any) -> None:
        values["llm_server"] = _is_llm_server(values)
        effective = _read(values)
        for warning in effective.warnings:
            console.warning(warning)
        command(effective, **{parameter.name: values[parameter.name] for parameter in own})

    settings = (_flag(setting) for key, setting in SETTINGS.items() if key != "model")
    return with_signature(with_flags, [*_OWN, *settings, *own])


def _is_llm_server(values: Mapping[str, Any]) -> bool:
    """Whether the configuration file is one of LLM-Server; prints a note if a file in this directory decides that."""
    wanted: bool | None = values["llm_server"]
    cwd = Path.cwd()
    names_one = any(values[name] for name in ("model", "hub_id", "local_path", "smallest", "config_path"))
    if wanted is not None or names_one or not has_llm_server_file(cwd):
        return bool(wanted)
    flags = {key: values[key] for key in SETTINGS if key != "model"}
    flags["engine_options"] = flags["engine_options"] or values["quantization"]
    other = find_other_choice(flags, environ=environment.current(), cwd=cwd)
    if other is None:
        console.note(f"{DEFAULT_NAME} of LLM-Server is here and is used (--no-llm-server: do without it)")
        return True
    console.note(f"{DEFAULT_NAME} of LLM-Server is here and is not used, since {other} (--llm-server: use it)")
    return False


def _read(values: Mapping[str, Any]) -> EffectiveConfig:
    flags = {key: values[key] for key in SETTINGS if key != "model"}
    named = choose_model(values["model"], values["hub_id"], values["local_path"])
    flags["model"] = with_smallest(named, is_wanted=values["smallest"], inventory=values["inventory"])
    path = values["config_path"]
    file = LlmServerFile(path=path) if values["llm_server"] else path
    effective = load(flags, config_path=file, environ=environment.current(), cwd=Path.cwd())
    if wanted := values["quantization"]:
        flags["engine_options"] = with_quantization(wanted, effective.settings.engine, flags["engine_options"])
        effective = load(flags, config_path=file, environ=environment.current(), cwd=Path.cwd())
    if values["no_tools"]:
        effective = _without_tools(effective)
    return replace(effective, read_again=functools.partial(_read, values))


def _without_tools(effective: EffectiveConfig) -> EffectiveConfig:
    """Return the configuration without MCP servers, wherever they were configured.

    Raises:
        ConfigError: the command line configures them.
    """
    if effective.origins["mcp_config"].kind == "flag":
        raise ConfigError("--no-tools leaves nothing for --mcp-config to do; give one of them")
    return replace(
        effective,
        settings=effective.settings.model_copy(update={"mcp_config": None}),
        origins={**effective.origins, "mcp_config": Origin(kind="flag", name="--no-tools")},
    )


def choose_model(model: str | None, hub_id: str | None, local_path: Path | None) -> str | None:
    """Return the model that MODEL, ``--m`` or ``--w`` names; ``None`` when none of them is given.

    Raises:
        ConfigError: they name different models.
        ModelFileMissing: ``local_path`` does not exist.
    """
    if local_path is not None and not expand_home(local_path).exists():
        nowhere = broken_link(expand_home(local_path))
        raise ModelFileMissing(f"--w: there is no file or directory {local_path}{f': {nowhere}' if nowhere else ''}")
    given = {"MODEL": model, "--m": hub_id, "--w": None if local_path is None else str(local_path)}
    named = {name: value for name, value in given.items() if value is not None}
    if len(set(named.values())) > 1:
        listed = " and ".join(f"{name} {value}" for name, value in named.items())
        raise ConfigError(f"{listed} name different models; give one of them")
    return next(iter(named.values()), None)
