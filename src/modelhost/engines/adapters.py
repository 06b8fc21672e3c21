"""LoRA adapters: what a model has beside its weights, and which of them one request gets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from modelhost.exchange.tasks import Task

DEFAULT_SCALE: Final = 1.0
"""Of an adapter of which nobody says how strong it is to be."""
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""Of an adapter: what can stand behind the name of a model and a colon, and is no path."""
TASKS_WITHOUT_ADAPTERS: Final[frozenset[Task]] = frozenset({"embeddings", "rerank"})
"""Tasks that engines do without adapters to choose from; tokens are the same with all of them."""
_NAMED: Final = re.compile(rf"({NAME})=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter that is loaded with its model."""

    path: Path
    scale: float = DEFAULT_SCALE
    name: str | None = None
    """By which requests choose it; ``None``: it is part of every answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSelection:
    """What one request gets of the adapters of its model.

    ``scales`` has the strength of each in the order in which they were given, 0 for those that have no part in it.
    """

    adapters: Sequence[Adapter]
    scales: tuple[float, ...]

    @property
    def chosen(self) -> list[tuple[Adapter, float]]:
        """Those that the request chose, with their strength."""
        pairs = zip(self.adapters, self.scales, strict=True)
        return [(adapter, scale) for adapter, scale in pairs if adapter.name is not None and scale != 0]


class AdapterSelector(Protocol):
    """Has a worker answer one request with some of the adapters that its model has."""

    def applied(self, body: dict[str, Any], applied: AdapterSelection) -> dict[str, Any]:
        """Return ``body``, which may be changed in place, for an answer with what is ``applied``.

        Raises:
            InvalidRequest: the engine cannot apply these, or not so.
        """
        ...


def split_name(text: str) -> tuple[str | None, str]:
    """Return the name and the rest of ``NAME=FILE`` or ``NAME=FILE:SCALE``; ``None`` and ``text`` if it has none.

    A path that has an equals sign in it begins with a slash, a dot or a tilde.
    """
    found = _NAMED.fullmatch(text)
    return (found[1], found[2]) if found else (None, text)


def names_of(entries: Sequence[str]) -> tuple[str, ...]:
    """Return the names among the values of the setting ``lora``."""
    return tuple(name for entry in entries if (name := split_name(entry)[0]) is not None)


def declared_adapters(entries: Sequence[str]) -> tuple[Adapter, ...]:
    """Return the adapters of the setting ``lora`` as far as its text tells, which is all but their scales."""
    split = [split_name(entry) for entry in entries]
    return tuple(Adapter(path=Path(place), name=name) for name, place in split)


def adapter_model_name(model: str, adapter: str) -> str:
    """Return what ``model`` is called with ``adapter``, in requests, lists and answers."""
    return f"{model}:{adapter}"


def with_adapter_label(body: dict[str, Any], applied: AdapterSelection) -> dict[str, Any]:
    """Return ``body`` so that the answer names the adapter beside the model, if it is one."""
    chosen = applied.chosen
    if len(chosen) == 1:
        body["model"] = adapter_model_name(body["model"], str(chosen[0][0].name))
    return body
