"""What is wrong with a body that its model refuses, by the path that the client wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from modelhost.errors import InvalidRequest

INVALID_TAG: Final = "union_tag_invalid"
NO_TAG: Final = "union_tag_not_found"
TAG_ERRORS: Final = frozenset({INVALID_TAG, NO_TAG})
MISSING: Final = frozenset({"missing", NO_TAG})
UNKNOWN_TYPE: Final = "this type is unknown here"


def invalid_request(error: ValidationError, body: Any) -> InvalidRequest:
    """Return the refusal of ``body``, decoded JSON; ``param`` is the path of the first field that is wrong."""
    found = error.errors(include_url=False, include_input=False)
    # Each branch of a union reports an error; the one with the longest path describes the actual mistake.
    errors = [(_path(each, body), each) for each in found if each["loc"][:1] == found[0]["loc"][:1]]
    param = max((path for path, _ in errors), key=len)
    reasons = dict.fromkeys(_reason(each) for path, each in errors if path == param)
    return InvalidRequest(f"{param or 'body'}: {'; or: '.join(reasons)}.", param=param or None)


def _reason(error: ErrorDetails) -> str:
    if error["type"] in MISSING:
        return "Field required"
    if error["type"] != INVALID_TAG:
        return error["msg"]
    context = error.get("ctx", {})
    # A function that chooses the branch has names of its own for them.
    is_field = str(context.get("discriminator", "")).startswith("'")
    return f"{UNKNOWN_TYPE}; known are {context['expected_tags']}" if is_field else UNKNOWN_TYPE


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
