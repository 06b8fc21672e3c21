"""The kinds of servers of remote models, and what each supports beyond OpenAI's API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from modelhost.engines import ENGINES
from modelhost.engines.base import OPENAI_PATHS, CustomTools, Preparation
from modelhost.engines.token_limits import STOP_TOKEN_IDS
from modelhost.errors import ModelhostError
from modelhost.exchange.tasks import Task

ALL: Final[frozenset[Task]] = frozenset(OPENAI_PATHS) - {"infill"}
OPENAIS: Final[frozenset[Task]] = frozenset({"chat", "completions", "embeddings"})


class Dialect:
    """One kind of server; this one accepts requests unchanged, with a list of further fields."""

    custom_tools: CustomTools = "unchanged"
    """As for :class:`~modelhost.engines.base.Engine`."""

    def __init__(
        self,
        more: Callable[[Task], frozenset[str]],
        *,
        tasks: frozenset[Task] = OPENAIS,
        streams_usage: bool = False,
        has_own_tools: bool = False,
    ) -> None:
        """Take the fields beyond OpenAI's, by task.

        Args:
            tasks: the tasks that such servers can do.
            streams_usage: whether they support ``continuous_usage_stats``.
            has_own_tools: as for :class:`~modelhost.engines.base.Engine`.
        """
        self.tasks, self.streams_usage, self.has_own_tools = tasks, streams_usage, has_own_tools
        self._more = more

    @property
    def continues_final_message(self) -> bool:
        """As for :class:`~modelhost.engines.base.Engine`."""
        return False

    @property
    def preparation(self) -> Preparation | None:
        """As for :class:`~modelhost.engines.base.Engine`."""
        return None

    def fields(self, task: Task) -> frozenset[str]:
        """Return the request fields that it supports beyond OpenAI's."""
        return self._more(task)

    def adapt(self, task: Task, body: dict[str, Any]) -> dict[str, Any]:
        """Return ``body`` in its form; ``body`` may be changed in place."""
        return body

    def convert_answer(self, task: Task, data: bytes) -> bytes:
        """Return ``data`` of an answer in the host's form."""
        return data

    def usage_in(
        self, chunk: Mapping[str, Any], requested: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        """As for :class:`~modelhost.engines.base.Engine`."""
        return None

    def translate(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError | None:
        """Return an error in the server's own form as a :class:`ModelhostError`; ``None`` if it uses OpenAI's form."""
        return None


class EngineDialect(Dialect):
    """A server like the workers of an engine here."""

    custom_tools = "as_functions"  # whether it supports grammars is unknown

    def __init__(self, name: str) -> None:
        super().__init__(self._fields, tasks=ALL, streams_usage=True)
        self._name = name

    @property
    def continues_final_message(self) -> bool:
        return ENGINES[self._name].continues_final_message

    @property
    def preparation(self) -> Preparation | None:
        return ENGINES[self._name].preparation

    def _fields(self, task: Task) -> frozenset[str]:
        engine = ENGINES[self._name]
        # Features that the host adds to workers here are not known to work there.
        of_workers_here = frozenset() if engine.preparation is None else frozenset({STOP_TOKEN_IDS})
        return (engine.fields(task) | _checked_here(task)) - of_workers_here

    def adapt(self, task: Task, body: dict[str, Any]) -> dict[str, Any]:
        return ENGINES[self._name].adapt(task, body)

    def convert_answer(self, task: Task, data: bytes) -> bytes:
        return ENGINES[self._name].convert_answer(task, data)

    def usage_in(
        self, chunk: Mapping[str, Any], requested: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        return ENGINES[self._name].usage_in(chunk, requested=requested)

    def translate(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError | None:
        return ENGINES[self._name].translate_error(status, payload, model=model, worker=worker)


OF_OPENAI: Final[Mapping[str, frozenset[str]]] = {
    "chat": frozenset({"reasoning_effort", "verbosity", "prediction"}),
    "completions": frozenset({"echo", "suffix"}),
    "embeddings": frozenset({"dimensions"}),
}


def _of_openai(task: Task) -> frozenset[str]:
    return OF_OPENAI.get(task, frozenset())


def _of_all_engines(task: Task) -> frozenset[str]:
    """Another modelhost checks the fields itself, for the engine of the model there."""
    others = (engine.fields(task) for name, engine in ENGINES.items() if name != "remote")
    return _checked_here(task).union(_of_openai(task) & {"suffix"}, *others)


def _checked_here(task: Task) -> frozenset[str]:
    return frozenset({"top_k", "min_p"}) if task in {"chat", "completions"} else frozenset()


DIALECTS: Final[Mapping[str, Dialect]] = {
    "openai": Dialect(_of_openai),
    "vllm": EngineDialect("vllm"),
    "llamacpp": EngineDialect("llamacpp"),
    "modelhost": Dialect(_of_all_engines, tasks=ALL, streams_usage=True, has_own_tools=True),
}
