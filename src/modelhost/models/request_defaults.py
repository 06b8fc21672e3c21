"""The values that a model's requests get where they are silent, from the registry or set while the host runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.config.request_defaults import RequestDefaults
from modelhost.config.schema import read_as
from modelhost.errors import InvalidRequest

NAMES: Final = tuple(RequestDefaults.model_fields)


def parse_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` checked: only those that are given, ``None`` among them for a default that is taken away.

    Raises:
        InvalidRequest: an unknown field, or a value out of its range; ``param`` is the field's name if one is wrong.
    """
    found, problems = read_as(RequestDefaults, dict(values), label="defaults")
    if found is None:
        wrong = [
            name for name in values if name not in NAMES or read_as(RequestDefaults, {name: values[name]}, label="")[1]
        ]
        message = "; ".join(problem.removeprefix("defaults: ") for problem in problems)
        raise InvalidRequest(f"{message}.", param=wrong[0] if len(wrong) == 1 else None)
    return found.model_dump(include=found.model_fields_set)
