"""Sealed texts: opened by every host of the database, and by no other; not when they were changed."""

from __future__ import annotations

import asyncio

import pytest

from modelhost.errors import InvalidEncryptedContent
from modelhost.state.sealing import VERSION, Seal
from modelhost.state.store import StateStore
from tests.unit.state.conftest import MakeStore

TEXTS = ["", "thinking", "\u6f22\u5b57 \U0001f600", "x" * 100_000, "lone \ud800 surrogate"]


@pytest.mark.parametrize("text", TEXTS, ids=["empty", "plain", "unicode", "long", "surrogate"])
def test_a_sealed_text_is_opened_again_and_does_not_show_itself(text: str) -> None:
    seal = Seal(bytes(32))
    sealed = seal.seal(text)
    assert seal.open(sealed) == text
    assert sealed.isascii()
    assert not text or text not in sealed
    assert seal.seal(text) != sealed


@pytest.mark.parametrize(
    "sealed", ["", "x", VERSION, f"{VERSION}AAAA", "mhs1.!!!!", "\u00e9.AAAA", "gAAAAABotherhost"], ids=ascii
)
def test_what_is_no_sealed_text_is_refused(sealed: str) -> None:
    with pytest.raises(InvalidEncryptedContent):
        Seal(bytes(32)).open(sealed)


def test_a_text_that_was_changed_anywhere_is_refused() -> None:
    seal = Seal(bytes(32))
    sealed = seal.seal("the model thought this")
    for at in range(len(sealed)):
        for other in ("A", "B"):
            changed = sealed[:at] + other + sealed[at + 1 :]
            if changed != sealed and _decodes_differently(changed, sealed):
                with pytest.raises(InvalidEncryptedContent):
                    seal.open(changed)
    for cut in (sealed[:-4], sealed + "AAAA"):
        with pytest.raises(InvalidEncryptedContent):
            seal.open(cut)


def _decodes_differently(changed: str, sealed: str) -> bool:
    """The last digit of a base64 text has bits that no decoder reads."""
    return changed.rstrip("=")[:-1] != sealed.rstrip("=")[:-1]


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(InvalidEncryptedContent):
        Seal(bytes(32)).open(Seal(b"x" * 32).seal("text"))


async def test_hosts_of_one_database_open_what_the_others_sealed(make_store: MakeStore) -> None:
    stores: list[StateStore] = [make_store() for _ in range(5)]
    seals = await asyncio.gather(*(store.seals.get() for store in stores for _ in range(2)))
    for one in seals:
        assert [other.open(one.seal("text")) for other in seals] == ["text"] * len(seals)
    await stores[0].close()
    assert (await make_store().seals.get()).open(seals[0].seal("later")) == "later"
