"""Request defaults of a model: values for what a request leaves out, from the registry or set while the host runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.config.checks import validate
from modelhost.config.request_defaults import RequestDefaults
from modelhost.engines import TRAITS
from modelhost.engines.base import Engine
from modelhost.engines.installed import serves
from modelhost.errors import ConfigError, InvalidRequest, RequestError

NAMES: Final = tuple(RequestDefaults.model_fields)
OF_OPENAI: Final = frozenset(
    {"max_tokens", "temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "stop"}
)
"""Defaults that every engine supports in some way."""
CHECKED_HERE: Final = frozenset({"top_k", "min_p"})
"""Defaults that the host checks as it does those, and every engine but a server elsewhere takes."""
OFF: Final[Mapping[str, tuple[float, ...]]] = {
    "top_k": (0, -1),
    "min_p": (0,),
    "min_tokens_to_keep": (1,),
    "repetition_penalty": (1,),
}
"""Values that change nothing: an engine without the parameter does so by itself."""
UNKNOWN_HERE: Final = "leave it out, or take another engine"
UNKNOWN_THERE: Final = 'if the server has it, say so with the engine option "fields" or "dialect"'


def parse_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` checked: only those that are given, ``None`` among them for a default that is removed.

    Raises:
        InvalidRequest: an unknown field, or a value out of its range; ``param`` is the field's name if one is wrong.
    """
    found, problems = validate(RequestDefaults, dict(values), label="defaults")
    if found is None:
        wrong = [
            name for name in values if name not in NAMES or validate(RequestDefaults, {name: values[name]}, label="")[1]
        ]
        message = "; ".join(problem.removeprefix("defaults: ") for problem in problems)
        raise InvalidRequest(f"{message}.", param=wrong[0] if len(wrong) == 1 else None)
    return found.model_dump(include=found.model_fields_set)


def default_problems(defaults: Mapping[str, Any], engine: Engine) -> list[str]:
    """Return why ``engine`` would refuse requests that get ``defaults``: a sentence without its end for each reason."""
    can = TRAITS[engine.name].capabilities
    problems = {name: _refusal(name, value, engine) for name, value in effective_defaults(defaults, engine).items()}
    temperature = defaults.get("temperature")
    if can is not None and temperature is not None and temperature > can.max_temperature:
        problems["temperature"] = f"{engine.name} takes {can.max_temperature:g} at most, not {temperature:g}"
    draws = temperature != 0 and defaults.get("top_k") != 1
    seed = defaults.get("seed")
    if can is not None and can.provider_of("seed") == "refused" and draws and seed is not None and seed >= 0:
        problems["seed"] = f"{engine.name} has none for a single request; leave it out, or take temperature 0"
    return [f'"{name}": {problem}' for name, problem in problems.items() if problem]


def effective_defaults(defaults: Mapping[str, Any], engine: Engine) -> dict[str, Any]:
    """Return the ``defaults`` that have an effect on ``engine``, without values that turn off what it does not have."""
    return {
        name: value
        for name, value in defaults.items()
        if value is not None and not (value in OFF.get(name, ()) and _refusal(name, value, engine))
    }


def _refusal(name: str, value: Any, engine: Engine) -> str:
    if name not in OF_OPENAI | CHECKED_HERE | engine.fields("chat"):
        way_out = UNKNOWN_THERE if serves(engine.name, "server") else UNKNOWN_HERE
        return f"{engine.name} has no such parameter; {way_out}"
    try:
        engine.adapt("chat", {"messages": [], name: value})
    except RequestError as error:
        return error.message.rstrip(".")
    return ""


def check_defaults(defaults: Mapping[str, Any], engine: Engine, *, model: str) -> None:
    """Check that ``engine`` supports all ``defaults`` of ``model``: every request would be refused otherwise.

    Raises:
        ConfigError: it cannot, with every reason.
    """
    if problems := default_problems(defaults, engine):
        reasons = "; ".join(f"request default {problem}" for problem in problems)
        raise ConfigError(f"{model}: {reasons}", param="request_defaults")
