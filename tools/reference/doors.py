"""``docs/reference/doors.md``: what becomes of each field, at doors that follow another API than OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from modelhost.http.anthropic import bodies as anthropic
from modelhost.http.anthropic.effects import EFFECTS as ANTHROPIC_EFFECTS
from modelhost.http.anthropic.openapi import REQUESTS as ANTHROPIC_REQUESTS
from modelhost.http.effects import WHO, Effects
from modelhost.http.ollama.effects import EFFECTS as OLLAMA_EFFECTS
from modelhost.http.ollama.openapi import REQUESTS as OLLAMA_REQUESTS
from modelhost.http.responses.effects import EFFECTS as RESPONSES_EFFECTS
from modelhost.http.responses.openapi import REQUESTS as RESPONSES_REQUESTS
from tools.reference.schemas import type_in_words
from tools.reference.tables import table

COLUMNS: Final = ("Field", "Type", "Required", "Who acts on it", "How")


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorReference:
    """A door: its requests by path, what becomes of their fields, and of values that no field says."""

    title: str
    requests: Mapping[str, type[BaseModel]]
    effects: Effects
    remarks: str = ""


DOORS: Final = (
    DoorReference(
        title="OpenAI's Responses API",
        requests=RESPONSES_REQUESTS,
        effects=RESPONSES_EFFECTS,
        remarks="Items and tools of unknown types are ignored and noted. Unknown fields of a request are ignored and "
        "noted; unknown fields of the objects in it are ignored.",
    ),
    DoorReference(
        title="Anthropic's Messages API",
        requests=ANTHROPIC_REQUESTS,
        effects=ANTHROPIC_EFFECTS,
        remarks="Blocks of these types are ignored and noted: "
        + ", ".join(f"`{kind}`" for kind in sorted(anthropic.IGNORED_BLOCKS))
        + ".\n\nUnknown fields of a request are ignored and noted; unknown fields of the objects in it are ignored.",
    ),
    DoorReference(
        title="Ollama's API",
        requests=OLLAMA_REQUESTS,
        effects=OLLAMA_EFFECTS,
        remarks="Unknown fields of a request and unknown `options` are ignored and noted; unknown fields of the other "
        "objects in it are ignored.",
    ),
)
"""A line for each door."""


def doors_page() -> str:
    """Every field of the doors' requests, with who acts on it."""
    return f"""# Fields of other APIs

Besides OpenAI's chats and completions, the host has the following APIs. The tables list every field and who acts on it:
the engine, whatever the name of the field is there; the host itself; or nobody, where the field is accepted without
effect. What is "noted" is named in the header `x-modelhost-notes`, as `ignored=NAME`. [Endpoints](endpoints.md) lists
the fields of the others of OpenAI's API, and [the API](../api.md) explains each of the others.
{"".join(map(_door, DOORS))}"""


def _door(door: DoorReference) -> str:
    sections = [_section(f"`POST {path}`", model, door.effects) for path, model in door.requests.items()]
    requests = set(door.requests.values())
    sections += [
        _section(f"`{model.__name__}`: {_summary(model)}", model, door.effects)
        for model, effects in door.effects.items()
        if model not in requests and effects
    ]
    remarks = f"\n{door.remarks}\n" if door.remarks else ""
    return f"\n## {door.title}\n{remarks}{''.join(sections)}"


def _section(heading: str, model: type[BaseModel], effects: Effects) -> str:
    schema = model.model_json_schema()
    required = schema.get("required", ())
    rows = [
        (f"`{name}`", type_in_words(field), "yes" if name in required else "", WHO[effect.who], effect.note)
        for name, field in schema["properties"].items()
        if (effect := effects[model].get(name)) is not None
    ]
    return f"\n### {heading}\n\n{table(COLUMNS, rows)}"


def _summary(model: type[BaseModel]) -> str:
    text = (model.__doc__ or "").partition("\n")[0].removesuffix(".")
    return text[:1].lower() + text[1:]
