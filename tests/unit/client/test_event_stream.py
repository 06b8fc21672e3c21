"""Server-sent events, as they are read."""

from __future__ import annotations

import pytest

from modelhost.client.connections import Event, EventReader


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"data: a\n", b"\n"], [Event("", b"a")]),
        ([b"data:a\r\n", b"data: b\r\n", b"\r\n"], [Event("", b"a\nb")]),
        ([b"event: x\n", b"data: a\n", b"\n", b"data: b\n", b"\n"], [Event("x", b"a"), Event("", b"b")]),
        ([b": comment\n", b"\n", b"id: 1\n", b"retry: 5\n", b"\n"], []),
        ([b"data: not whole\n"], []),
        ([b"data\n", b"\n"], [Event("", b"")]),
    ],
)
def test_events_are_read_as_the_standard_says(lines: list[bytes], expected: list[Event]) -> None:
    reader = EventReader()
    assert [event for line in lines for event in reader.read(line)] == expected
    assert EventReader().read(b"".join(lines)) == expected


def test_events_split_anywhere_are_put_together() -> None:
    whole, reader = 'event: x\r\ndata: "Hé😀"\r\n\r\n'.encode(), EventReader()
    found = [event for at in range(len(whole)) for event in reader.read(whole[at : at + 1])]
    assert found == [Event("x", '"Hé😀"'.encode())]
