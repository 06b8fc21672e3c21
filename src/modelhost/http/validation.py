"""Checking the body of a request against a model of its fields, at doors where unknown fields are ignored and noted."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from modelhost.chat.notes import ON_NOTE
from modelhost.chat.parsing.problems import invalid_request
from modelhost.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)
IGNORED: Final = "ignored"
"""The note on what a request holds in vain: ``ignored=name``."""


class Lenient(BaseModel):
    """An object whose unknown fields are ignored; ``"0.5"`` is not a number."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, defer_build=True)


def checked(model: type[M], body: Any) -> M:
    """Return ``body``, decoded JSON, as ``model``; its unknown fields are noted.

    Raises:
        InvalidRequest: ``param`` is the path of the first field that is wrong.
    """
    if not isinstance(body, dict):
        raise InvalidRequest("The body has to be a JSON object.")
    try:
        request = model.model_validate(body)
    except ValidationError as error:
        raise invalid_request(error, body) from None
    for name in request.model_extra or ():
        note_ignored(name)
    return request


def note_ignored(what: str) -> None:
    """Note on the current request that ``what`` has no effect."""
    if (on_note := ON_NOTE.get()) is not None:
        on_note(f"{IGNORED}={what.encode('unicode_escape').decode()[:60]}")  # fit for a header
