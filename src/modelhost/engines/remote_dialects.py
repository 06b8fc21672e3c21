"""What kinds of server a remote model may be behind, and what each takes beyond OpenAI's API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from modelhost.engines import ENGINES
from modelhost.engines.base import OPENAI_PATHS, Operation
from modelhost.errors import ModelhostError

ALL: Final[frozenset[Operation]] = frozenset(OPENAI_PATHS)
OPENAIS: Final[frozenset[Operation]] = frozenset({"chat", "completions", "embeddings"})


class Dialect(Protocol):
    """What is known of one kind of server."""

    @property
    def operations(self) -> frozenset[Operation]:
        """What such servers can do."""
        ...

    def fields(self, operation: Operation) -> frozenset[str]:
        """Return the request fields that it knows beyond OpenAI's."""
        ...

    def adapt(self, operation: Operation, body: dict[str, Any]) -> dict[str, Any]:
        """Return ``body`` as it takes it; it may be changed in place."""
        ...

    def received(self, operation: Operation, data: bytes) -> bytes:
        """Return ``data`` of an answer in the host's form."""
        ...

    def translate(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError | None:
        """Return an error in the server's own shape as one of ours; ``None`` if it has no shape of its own."""
        ...


class OpenAI:
    """A server that takes requests as they are, with a list of further fields."""

    def __init__(
        self,
        more: Callable[[Operation], frozenset[str]],
        *,
        operations: frozenset[Operation] = OPENAIS,
    ) -> None:
        self.operations = operations
        self._more = more

    def fields(self, operation: Operation) -> frozenset[str]:
        return self._more(operation)

    def adapt(self, _: Operation, body: dict[str, Any]) -> dict[str, Any]:
        return body

    def received(self, _: Operation, data: bytes) -> bytes:
        return data

    def translate(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError | None:
        return None


class OfEngine:
    """The server that the workers of an engine here are, too."""

    def __init__(self, name: str, *, operations: frozenset[Operation]) -> None:
        self.operations = operations
        self._name = name

    def fields(self, operation: Operation) -> frozenset[str]:
        return ENGINES[self._name].fields(operation) | _checked_here(operation)

    def adapt(self, operation: Operation, body: dict[str, Any]) -> dict[str, Any]:
        return ENGINES[self._name].adapt(operation, body)

    def received(self, operation: Operation, data: bytes) -> bytes:
        return ENGINES[self._name].received(operation, data)

    def translate(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError | None:
        return ENGINES[self._name].translate_error(status, payload, model=model, worker=worker)


def _of_openai(operation: Operation) -> frozenset[str]:
    return frozenset({"reasoning_effort", "verbosity"}) if operation == "chat" else frozenset()


def _of_all_engines(operation: Operation) -> frozenset[str]:
    """Another host checks the fields itself, for the engine that the model has there."""
    others = (engine.fields(operation) for name, engine in ENGINES.items() if name != "remote")
    return _checked_here(operation).union(*others)


def _checked_here(operation: Operation) -> frozenset[str]:
    return frozenset({"top_k", "min_p"}) if operation in {"chat", "completions"} else frozenset()


DIALECTS: Final[Mapping[str, Dialect]] = {
    "openai": OpenAI(_of_openai),
    "vllm": OfEngine("vllm", operations=ALL),
    "llamacpp": OfEngine("llamacpp", operations=ALL),
    "modelhost": OpenAI(_of_all_engines, operations=ALL),
}
