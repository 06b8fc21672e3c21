"""A model of the command's own as an answerer: ``modelhost.LLM``, started and stopped with the command."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from modelhost.cli.answerer import Message
from modelhost.llm import LLM


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnModel:
    """An ``LLM`` that serves one model, here called ``name``."""

    llm: LLM
    name: str

    def models(self) -> Sequence[str]:
        return [self.name]

    def complete(self, messages: Sequence[Message], params: Mapping[str, Any]) -> Mapping[str, Any]:
        raw: Mapping[str, Any] = self.llm.chat(messages, **params).raw
        return raw

    def stream(self, messages: Sequence[Message], params: Mapping[str, Any]) -> Generator[Mapping[str, Any]]:
        yield from self.llm.stream(messages, **params)


@contextmanager
def own_model(model: str | None) -> Iterator[OwnModel]:
    """Start ``model``, or the bundled one, for as long as the ``with`` lasts."""
    with LLM(model=model) as llm:
        yield OwnModel(llm=llm, name=model or "modelhost-nano")
