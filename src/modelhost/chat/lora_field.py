"""One of the LoRA adapters that a request names in its field ``lora``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

_NAMED_ONCE: JsonDict = {
    "oneOf": [
        {"properties": {"name": {"type": "string"}, "id": {"type": "null"}}, "required": ["name"]},
        {"properties": {"id": {"type": "integer"}, "name": {"type": "null"}}, "required": ["id"]},
    ]
}


class WantedAdapter(BaseModel):
    """A LoRA adapter of the model: by its name, or as llama.cpp has it by its place among all of them, from 0."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True, json_schema_extra=_NAMED_ONCE)
    name: Annotated[str, Field(min_length=1)] | None = None
    id: Annotated[int, Field(ge=0)] | None = None
    scale: Annotated[float, Field(ge=-100, le=100)] | None = None
