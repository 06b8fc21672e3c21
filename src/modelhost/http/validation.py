"""Checking the body of a request against a model of its fields, at doors where unknown fields are ignored and noted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from modelhost.chat.notes import ON_NOTE
from modelhost.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)
IGNORED: Final = "ignored"
"""The note on what a request holds in vain: ``ignored=name``."""
INVALID_TAG: Final = "union_tag_invalid"
TAG_ERRORS: Final = frozenset({INVALID_TAG, "union_tag_not_found"})
MISSING: Final = frozenset({"missing", "union_tag_not_found"})
UNKNOWN_TYPE: Final = "this type is unknown here"


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
        raise _invalid_request(error, body) from None
    for name in request.model_extra or ():
        note_ignored(name)
    return request


def note_ignored(what: str) -> None:
    """Note on the current request that ``what`` has no effect."""
    if (on_note := ON_NOTE.get()) is not None:
        on_note(f"{IGNORED}={what.encode('ascii', 'backslashreplace').decode()[:60]}")


def _invalid_request(error: ValidationError, body: Mapping[str, Any]) -> InvalidRequest:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    # Each branch of a union reports an error; the one with the longest path describes the actual mistake.
    errors = [(_path(each, body), each) for each in found if each["loc"][:1] == found[0]["loc"][:1]]
    param = max((path for path, _ in errors), key=len)
    reasons = dict.fromkeys(_reason(each) for path, each in errors if path == param)
    return InvalidRequest(f"{param or 'body'}: {'; or: '.join(reasons)}.", param=param or None)


def _reason(error: ErrorDetails) -> str:
    if error["type"] in MISSING:
        return "Field required"
    return UNKNOWN_TYPE if error["type"] == INVALID_TAG else error["msg"]


def _path(error: ErrorDetails, body: Any) -> str:
    parts = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in _parts(error, body))
    return (f"{parts}.type" if error["type"] in TAG_ERRORS else parts).lstrip(".")


def _parts(error: ErrorDetails, body: Any) -> Iterator[int | str]:
    """Yield the parts of an error's place that ``body`` has, or lacks, without the branches of unions in between."""
    at, location = body, error["loc"]
    missing = len(location) - 1 if error["type"] == "missing" else None
    for place, part in enumerate(location):
        if isinstance(at, list) and isinstance(part, int):
            at = at[part]
        elif isinstance(at, dict) and isinstance(part, str) and (part in at or place == missing):
            at = at.get(part)
        else:
            continue
        yield part
