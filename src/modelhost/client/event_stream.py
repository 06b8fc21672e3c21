"""Server-sent events, read as the standard says: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``name`` is empty for an ordinary one."""

    name: str
    data: bytes


class EventReader:
    """Parses events from bytes. Comments are skipped; a last event without its empty line is ignored."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[bytes] = []

    def read(self, block: bytes) -> list[Event]:
        """Return the events that ``block`` completes."""
        *lines, self._rest = (self._rest + block).split(b"\n")
        events = []
        for line in lines:
            field, colon, value = line.removesuffix(b"\r").partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
            elif field == b"event":
                self._name = value.removeprefix(b" ").decode(errors="replace")
            elif not field and not colon:
                if self._data:
                    events.append(Event(self._name, b"\n".join(self._data)))
                self._name, self._data = "", []
        return events
