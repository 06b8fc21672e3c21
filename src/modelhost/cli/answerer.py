"""What ``ask`` and ``chat`` talk to, whether it is a running host or a model of their own."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Protocol

from modelhost.operations.operation import Operation, P, R

Message = dict[str, str]
"""An OpenAI chat message: ``role`` and ``content``."""


class Answerer(Protocol):
    """Answers conversations. Failures are raised as a ``ModelhostError`` whose message is for a person."""

    def models(self) -> Sequence[str]:
        """The names of the models that can be asked."""

    def complete(self, messages: Sequence[Message], params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The whole answer, as an OpenAI chat completion."""

    def stream(self, messages: Sequence[Message], params: Mapping[str, Any]) -> Generator[Mapping[str, Any]]:
        """The answer as OpenAI chunks; closing the generator stops the model."""

    def call(self, operation: Operation[Any, P, R], parameters: P) -> R:
        """The result of an administrative operation; it may be called while an answer is streamed."""
