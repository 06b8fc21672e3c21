"""LoRA adapters: those that are loaded with a model, and the selection of one request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from modelhost.exchange.tasks import Task

DEFAULT_SCALE: Final = 1.0
"""The scale of an adapter where none is given."""
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""The name of an adapter: it may follow the name of a model and a colon, and cannot be a path."""
TASKS_WITHOUT_ADAPTERS: Final[frozenset[Task]] = frozenset({"embeddings", "rerank"})
"""Tasks for which no adapter can be selected."""
_NAMED: Final = re.compile(rf"({NAME})=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter that is loaded with its model."""

    path: Path
    scale: float = DEFAULT_SCALE
    name: str | None = None
    """The name by which requests select it; ``None``: it is applied to every request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSelection:
    """The adapters of a model as one request applies them.

    ``scales`` has the scale of each adapter in the order of ``adapters``; 0 for those that are not applied.
    """

    adapters: Sequence[Adapter]
    scales: tuple[float, ...]

    @property
    def chosen(self) -> list[tuple[Adapter, float]]:
        """The adapters that the request selects, with their scales."""
        pairs = zip(self.adapters, self.scales, strict=True)
        return [(adapter, scale) for adapter, scale in pairs if adapter.name is not None and scale != 0]


class AdapterSelector(Protocol):
    """Makes a worker apply a selection of its model's adapters to one request."""

    def applied(self, body: dict[str, Any], applied: AdapterSelection) -> dict[str, Any]:
        """Return ``body``, which may be changed in place, with the selection ``applied``.

        Raises:
            InvalidRequest: the engine cannot apply this selection.
        """
        ...


def split_name(text: str) -> tuple[str | None, str]:
    """Return the name and the rest of ``NAME=FILE`` or ``NAME=FILE:SCALE``; ``None`` and ``text`` without a name.

    A path that contains an equals sign has to begin with a slash, a dot or a tilde.
    """
    found = _NAMED.fullmatch(text)
    return (found[1], found[2]) if found else (None, text)


def names_of(entries: Sequence[str]) -> tuple[str, ...]:
    """Return the names in the values of the setting ``lora``."""
    return tuple(name for entry in entries if (name := split_name(entry)[0]) is not None)


def declared_adapters(entries: Sequence[str]) -> tuple[Adapter, ...]:
    """Return the adapters of the setting ``lora`` without reading files; their scales are not parsed."""
    split = [split_name(entry) for entry in entries]
    return tuple(Adapter(path=Path(place), name=name) for name, place in split)


def adapter_model_name(model: str, adapter: str) -> str:
    """Return the name of ``model`` with ``adapter`` in requests, lists and answers."""
    return f"{model}:{adapter}"


def with_adapter_label(body: dict[str, Any], applied: AdapterSelection) -> dict[str, Any]:
    """Return ``body`` with the adapter in the model's name, if exactly one is selected."""
    chosen = applied.chosen
    if len(chosen) == 1:
        body["model"] = adapter_model_name(body["model"], str(chosen[0][0].name))
    return body
