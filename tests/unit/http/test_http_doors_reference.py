"""The tables of what becomes of each field are complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from modelhost.http.anthropic import bodies
from modelhost.http.anthropic.effects import TAG
from modelhost.http.validation import Lenient
from tools.reference.doors import DOORS, DoorReference, doors_page


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models of a type and of the types of their fields, where they belong to the door."""
    if isinstance(annotation, type) and issubclass(annotation, Lenient):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation)
    for part in get_args(annotation):
        yield from models_in(part)


def fields_of(model: type[BaseModel]) -> Mapping[str, Any]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.title)
def test_every_object_of_a_door_has_a_table(door: DoorReference) -> None:
    used = {model for request in door.requests.values() for model in models_in(request)}
    assert set(door.effects) == used


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.title)
def test_every_field_of_an_object_has_one_effect(door: DoorReference) -> None:
    for model, effects in door.effects.items():
        assert set(effects) == set(fields_of(model)) - {TAG}, model.__name__


def test_the_page_names_every_field() -> None:
    page = doors_page()
    for model, effects in (each for door in DOORS for each in door.effects.items()):
        assert [name for name in effects if f"| `{name}` |" not in page] == [], model.__name__
    assert [kind for kind in bodies.IGNORED_BLOCKS if f"`{kind}`" not in page] == []
