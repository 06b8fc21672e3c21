"""API keys, and the names of those who have them."""

from __future__ import annotations

import hashlib

import pytest

from modelhost.http.keys import ApiKeys


def hashed(key: str) -> str:
    return f"key-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


@pytest.mark.parametrize(
    ("text", "given", "actor"),
    [
        ("sesame", "sesame", hashed("sesame")),
        ("sesame", "sesam", None),
        ("anna=sesame", "sesame", "anna"),
        ("anna=sesame", "anna=sesame", hashed("anna=sesame")),
        ("anna=sesame", "anna", None),
        ("build.server_1-x=a=b", "a=b", "build.server_1-x"),
        ("1anna=sesame", "sesame", None),
        ("an na=sesame", "sesame", None),
        (f"{'a' * 41}=sesame", "sesame", None),
        ("anna=", "", None),
    ],
)
def test_a_key_tells_who_has_it(text: str, given: str, actor: str | None) -> None:
    assert ApiKeys(["other", text]).actor(given.encode()) == actor


@pytest.mark.parametrize("padding", ["=", "==", "==="])
def test_the_padding_of_base64_is_no_key(padding: str) -> None:
    keys = ApiKeys([f"c2VjcmV0{padding}"])
    assert keys.actor(f"c2VjcmV0{padding}".encode()) == hashed(f"c2VjcmV0{padding}")
    assert [keys.actor(part.encode()) for part in ("", "=", "==", "c2VjcmV0")] == [None] * 4


def test_a_key_that_is_no_text_is_nobodys() -> None:
    assert ApiKeys(["sesame"]).actor(b"\xff\xfe") is None
