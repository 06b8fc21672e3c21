"""What becomes of each field of a door's requests, for the reference: a door has a table of them beside its bodies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel

Who = Literal["engine", "host", "none", "refused"]
WHO: Final[Mapping[Who, str]] = {
    "engine": "The engine",
    "host": "The host",
    "none": "No effect",
    "refused": "Refused",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Who acts on a field, and how."""

    who: Who
    note: str = ""


Effects = Mapping[type[BaseModel], Mapping[str, Effect]]
"""By the model of the body and the name of the field, as clients write it."""


def engine(note: str = "") -> Effect:
    """Return the effect of a field that reaches the engine, under whatever name."""
    return Effect(who="engine", note=note)


def host(note: str = "") -> Effect:
    """Return the effect of a field that the host itself acts on."""
    return Effect(who="host", note=note)


def no_effect(note: str = "") -> Effect:
    """Return the effect of a field that is accepted without effect."""
    return Effect(who="none", note=note)


def refused(note: str) -> Effect:
    """Return the effect of a field or value with which requests are refused; ``note`` says what to send instead."""
    return Effect(who="refused", note=note)
