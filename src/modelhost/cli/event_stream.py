"""Server-sent events, read as the standard says: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``name`` is empty for an ordinary one."""

    name: str
    data: str


def events(lines: Iterable[bytes]) -> Iterator[Event]:
    """The events in ``lines`` (each with its line end).

    Comments are skipped; a last event without its empty line is not whole and is left out, as the standard asks.
    """
    name, data = "", list[str]()
    for raw in lines:
        line = raw.rstrip(b"\r\n").decode("utf-8", errors="replace")
        if not line:
            if data:
                yield Event(name, "\n".join(data))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
