"""Checks of engine options, and of settings that an engine does not support; the same for every engine."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Final

from modelhost.engines.launch import ModelSpec
from modelhost.errors import ConfigError

MOST_SLOTS: Final = 256
"""The largest number of requests that a worker runs at the same time."""
SETTINGS: Final = frozenset(
    {
        *("context_length", "slots", "max_slots", "threads", "gpu_layers", "kv_cache_type", "kv_cache_memory"),
        *("lora", "draft_model", "mmproj", "chat_template", "special_tokens", "worker_env"),
    }
)
"""Settings of a model that are no engine options, although they are for the engine."""
NONE: Final[Mapping[str, Any]] = MappingProxyType({})


def check_options(
    engine: str,
    given: Mapping[str, Any],
    known: Mapping[str, Any],
    *,
    choices: Mapping[str, Collection[str]] = NONE,
    refused: Mapping[str, str] = NONE,
) -> dict[str, Any]:
    """Return ``known`` (name to default) overlaid with ``given``; values are brought to the type of the default.

    ``choices`` has the values that an option may have, where there are few. ``refused`` explains, for options of other
    engines, why this one does not have them and what helps.

    Raises:
        ConfigError: an unknown option, or a value of the wrong type, or none of its choices.
    """
    values = dict(known)
    for name, value in given.items():
        if name in refused:
            raise ConfigError(f'engine option "{name}": {refused[name]}', param="engine_options")
        if name not in known:
            hint = _hint(name, known)
            raise ConfigError(f'engine option "{name}" is unknown to {engine}; {hint}', param="engine_options")
        values[name] = _convert(engine, name, value, known[name])
        if name in choices and values[name] not in (known[name], *choices[name]):
            raise ConfigError(
                f'engine option "{name}" of {engine} takes {", ".join(choices[name])}, not "{values[name]}"',
                param="engine_options",
            )
    return values


def _hint(name: str, known: Collection[str]) -> str:
    if name in SETTINGS:
        return f"it is a setting, {name} (--{name.replace('_', '-')})"
    close = difflib.get_close_matches(name, known, n=1)
    return f'did you mean "{close[0]}"?' if close else f"it has: {', '.join(sorted(known))}"


def problem_of_options(
    engine: str,
    given: Mapping[str, Any],
    known: Mapping[str, Any],
    *,
    choices: Mapping[str, Collection[str]] = NONE,
    refused: Mapping[str, str] = NONE,
) -> str:
    """Return what :func:`check_options` would raise as a sentence; empty if all is well."""
    try:
        check_options(engine, given, known, choices=choices, refused=refused)
    except ConfigError as error:
        return error.message
    return ""


def _convert(engine: str, name: str, value: Any, default: Any) -> Any:
    """Bring ``value``, which may be text from the command line, to the type of ``default`` (``None``: any type)."""
    if default is None or type(value) is type(default):
        return value
    text = str(value).strip()
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
        if isinstance(default, int | float) and not isinstance(value, bool):
            return type(default)(text)
    except (KeyError, ValueError):
        pass
    else:
        if isinstance(default, str):
            return text
    raise ConfigError(
        f'engine option "{name}" of {engine} takes {_KINDS[type(default)]}, not {value!r}', param="engine_options"
    )


_KINDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
}


def check_settings(engine: str, spec: ModelSpec, cannot: Mapping[str, str], *, instead: str = "") -> None:
    """Check that ``spec`` has no setting that ``engine`` does not support: ``cannot`` has the advice for each.

    None of these engines supports other formats of the key-value cache; ``instead`` is the advice for that.

    Raises:
        ConfigError: naming the setting.
    """
    for setting, way_out in cannot.items():
        if getattr(spec, setting):
            raise ConfigError(f"{setting}: {engine} cannot do that; {way_out}", param=setting)
    if spec.kv_cache_type != "f16":
        keeps = f"kv_cache_type: {engine} keeps keys and values in the number format of the model"
        raise ConfigError(f"{keeps}; {instead}" if instead else keeps, param="kv_cache_type")
