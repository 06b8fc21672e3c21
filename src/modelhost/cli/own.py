"""A model of the command's own as an answerer: ``modelhost.LLM``, started and stopped with the command."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelhost import logs
from modelhost.cli import console
from modelhost.cli.answerer import Message
from modelhost.config import environment
from modelhost.config.sources import load
from modelhost.llm import LLM


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnModel:
    """An entered ``LLM``."""

    llm: LLM

    def models(self) -> Sequence[str]:
        return [model.name for model in self.llm.host.models]

    def complete(self, messages: Sequence[Message], params: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.llm.chat(_copied(messages), **params).raw

    def stream(self, messages: Sequence[Message], params: Mapping[str, Any]) -> Generator[Mapping[str, Any]]:
        yield from self.llm.stream(_copied(messages), **params)


@contextmanager
def own_model(model: str | None) -> Iterator[OwnModel]:
    """Start ``model``, with the settings of ``modelhost serve``, for as long as the ``with`` lasts.

    Raises:
        ModelhostError: the configuration is wrong, or the model cannot be started.
    """
    effective = load({"model": model}, config_path=None, environ=environment.current(), cwd=Path.cwd())
    for warning in effective.warnings:
        console.warning(warning)
    # The terminal belongs to the answer: only a level that somebody asked for lets more than warnings in.
    is_asked_for = effective.origins["log_level"].kind != "default"
    logs.setup(effective.settings.log_level if is_asked_for else "warning", effective.settings.log_format)
    given = {
        key: getattr(effective.settings, key) for key, origin in effective.origins.items() if origin.kind != "default"
    }
    with LLM(**given) as llm:
        yield OwnModel(llm=llm)


def _copied(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [dict(message) for message in messages]
