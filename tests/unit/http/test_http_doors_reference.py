"""The tables of what becomes of each field are complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from modelhost.http.anthropic import bodies
from modelhost.http.anthropic.effects import TAG
from modelhost.http.openai.effects import EFFECTS
from modelhost.http.validation import Lenient
from tests.support.serving import ServedHost
from tools.reference.doors import DOORS, DoorReference, doors_page
from tools.reference.media import COLUMNS, media_sections
from tools.reference.media import fields_of as fields_of_request


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


def test_every_field_of_requests_for_sound_and_images_is_in_the_reference_with_one_effect(
    nano_host: ServedHost,
) -> None:
    document = nano_host.http.get("/openapi.json").json()
    page = media_sections(document)
    paths = {path for path in document["paths"] if path.startswith(("/v1/images/", "/v1/audio/"))}
    posts = {path for path in paths if document["paths"][path].get("post", {}).get("requestBody")}
    assert set(EFFECTS) == posts
    for path, section in zip(EFFECTS, page.split("\n## ")[1:], strict=True):
        named = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
        assert set(named) == set(EFFECTS[path]) == set(fields_of_request(document["paths"][path]["post"], document))
        assert all(line.count("|") == len(COLUMNS) + 1 for line in section.splitlines() if line.startswith("| `"))


def test_the_page_names_every_field() -> None:
    page = doors_page()
    for model, effects in (each for door in DOORS for each in door.effects.items()):
        assert [name for name in effects if f"| `{name}` |" not in page] == [], model.__name__
    assert [kind for kind in bodies.IGNORED_BLOCKS if f"`{kind}`" not in page] == []
