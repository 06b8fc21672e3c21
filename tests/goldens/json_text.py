"""JSON as people review it: what fits on a line stands on one, the rest is broken up as an editor would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

WIDTH: Final = 110
INDENT: Final = "  "


def json_text(value: Any, *, sort_keys: bool = False) -> str:
    """``value`` as JSON. Keys keep their order unless they are sorted: it is the order in which they were sent."""
    if sort_keys:
        value = json.loads(json.dumps(value, sort_keys=True))
    return "".join(_parts(value, "", 0))


def on_a_line(value: Any) -> str:
    """``value`` as JSON on one line."""
    return json.dumps(value, ensure_ascii=False)


def _parts(value: Any, indent: str, used: int) -> Iterator[str]:
    line = on_a_line(value)
    if not isinstance(value, dict | list) or not value or len(indent) + used + len(line) <= WIDTH:
        yield line
        return
    inner = indent + INDENT
    pairs = [(f"{on_a_line(key)}: ", each) for key, each in value.items()] if isinstance(value, dict) else None
    entries = pairs if pairs is not None else [("", each) for each in value]
    yield "{" if pairs is not None else "["
    for number, (key, each) in enumerate(entries):
        yield f"{',' if number else ''}\n{inner}{key}"
        yield from _parts(each, inner, len(key) + 1)
    yield f"\n{indent}{'}' if pairs is not None else ']'}"
