"""JSON that others wrote: nothing in it may be more than can be passed on."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from modelhost import json_text


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"a": 2**64 - 1, "b": -(2**63)}, b'{"a":18446744073709551615,"b":-9223372036854775808}'),
        ({"a": [2**64, -(2**63) - 1]}, b'{"a":[18446744073709551616,-9223372036854775809]}'),
        ((2**70, float("nan"), True, None), b"[1180591620717411303424,null,true,null]"),
    ],
)
def test_integers_keep_all_of_their_digits(value: Any, written: bytes) -> None:
    assert json_text.encode(value) == written


@pytest.mark.parametrize("value", ["\ud83d", nested(300), nested(5000), {"a": 2**70, "b": nested(300)}])
def test_what_cannot_be_written_is_refused(value: Any) -> None:
    with pytest.raises(orjson.JSONEncodeError):
        json_text.encode(value)


@pytest.mark.parametrize("text", ["", "{", "NaN", '{"a": Infinity}', '"\\ud83d"', "[" * 5000, "[" * 300 + "]" * 300])
def test_what_could_not_be_written_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        json_text.decode(text)


def test_what_is_read_can_be_written() -> None:
    text = '{"a":[18446744073709551616,0.5,"\u00e9"]}'
    assert json_text.encode(json_text.decode(text)).decode() == text
