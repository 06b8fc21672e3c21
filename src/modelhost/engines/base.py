"""What an engine is to the host: how its workers are started, and the differences of its dialect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

from modelhost.engines.adapters import AdapterSelector
from modelhost.engines.launch import Launch, ModelSpec, Ready
from modelhost.engines.load_config import ConfiguredLoad, LoadBaseline, LoadConfig
from modelhost.errors import ModelhostError
from modelhost.exchange.tasks import TASKS, Task
from modelhost.monitor.engine_reports import EngineMetrics

OPENAI_PATHS: Final[Mapping[Task, str]] = {task: traits.path for task, traits in TASKS.items()}
"""The path of each task at workers with OpenAI's API and llama.cpp's additions to it."""


STEP_TOKENS: Final = 512
"""Tokens of a prompt that most engines evaluate in one step."""

CustomTools = Literal["unchanged", "with_grammars", "as_functions"]
"""How an engine accepts OpenAI's custom tools: unchanged, or as functions, with or without ``INPUT_GRAMMAR``."""
INPUT_GRAMMAR: Final = "input_grammar"
"""A field of a chat body that requires a call of its only tool. Instead of a call of the tool ``name``, the model must
write ``opening`` and then a text of the Lark grammar ``definition``."""
LARK_SYNTAX: Final = "https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md"


class EngineClient(Protocol):
    """Requests to a worker, apart from generations."""

    async def fetch(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that the worker answers to ``body``; without a body, it is a GET request.

        Raises:
            ModelhostError: it refused, failed or has ended.
        """
        ...

    def fetch_events(
        self, path: str, body: Mapping[str, Any]
    ) -> AbstractAsyncContextManager[AsyncGenerator[Mapping[str, Any], None]]:
        """Send ``body`` and yield the events of the answer; closing cancels the work. Raises as :meth:`fetch` does."""
        ...


class TranslatingClient(EngineClient, Protocol):
    """One that can also convert an error in the middle of an answer."""

    def refusal(self, status: int, payload: Any) -> ModelhostError:
        """Return the worker's error as a :class:`ModelhostError`."""
        ...


class PromptProgress(Protocol):
    """Makes a worker report its progress on a prompt, so that a long prompt is not mistaken for a hanging request."""

    def wanted(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return ``body`` with progress reports switched on."""
        ...

    def is_wanted(self, body: Mapping[str, Any]) -> bool:
        """Whether the client itself has requested progress reports."""
        ...

    def without(self, block: bytes) -> bytes:
        """Return the events of ``block`` without those that only report progress; possibly none."""
        ...


class PromptCaches(Protocol):
    """Saves what a worker has evaluated of a conversation to a file in its cache folder, and restores it."""

    async def save(self, client: EngineClient, messages: Sequence[Mapping[str, Any]], file: str) -> int | None:
        """Write the conversation of ``messages`` to ``file`` and return the number of its tokens.

        ``None``: the worker no longer has it in its cache, or a running request is using it.

        Raises:
            ModelhostError: as :meth:`EngineClient.fetch`.
        """
        ...

    async def restore(self, client: EngineClient, file: str) -> bool:
        """Load ``file`` into the worker's cache and return whether there was room; running requests are not disturbed.

        ``file`` must be intact: a damaged one may end the worker.

        Raises:
            ModelhostError: as :meth:`EngineClient.fetch`.
        """
        ...


class Preparation(Protocol):
    """Expresses features that the engine lacks in fields that it has, with the help of requests to the worker."""

    fields: frozenset[str]
    """The fields of generation requests that have to be prepared."""

    async def prepared(self, client: EngineClient, body: Mapping[str, Any], ready: Ready) -> dict[str, Any]:
        """Return ``body``, of a generation with some of ``fields``, expressed in fields of the engine.

        Raises:
            InvalidRequest, UnsupportedParameter: the worker cannot do it, or would ignore it.
            ModelhostError: as :meth:`EngineClient.fetch`.
        """
        ...

    async def tokens_with_media(self, client: EngineClient, body: Mapping[str, Any]) -> int | None:
        """Return the tokens of the prompt of ``body``, of ``/tokenize``, with those of its images and sound.

        ``None``: it has neither, or the worker does not count them.

        Raises:
            ModelhostError: as :meth:`EngineClient.fetch`; the media cannot be read.
        """
        ...

    async def with_prompt(self, client: EngineClient, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``body``, of ``/tokenize``, with the text of the prompt in place of ``messages``, if it has any.

        Raises:
            ModelhostError: as :meth:`EngineClient.fetch`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPrompt:
    """A prompt, with the log probability of each of its tokens."""

    text: str
    tokens: Sequence[Mapping[str, Any]]
    """``token, logprob, top_logprobs`` of each, in the form of a chat's answer; ``None`` for the first token."""


class PromptScores(Protocol):
    """Determines the log probabilities of a prompt for an engine that does not report them."""

    async def of(
        self, client: TranslatingClient, body: Mapping[str, Any], *, top: int, check: Callable[[int], None]
    ) -> ScoredPrompt:
        """Return the prompt of ``body``, with the ``top`` most likely alternatives to each of its tokens.

        ``check`` is called with the number of tokens before the work begins.

        Raises:
            ModelhostError: as :meth:`EngineClient.fetch`, and what ``check`` raises.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedParams:
    """The launch parameters of a registry entry, as an engine accepts them.

    ``settings`` are values of :class:`~modelhost.config.settings.Settings`. ``problems`` make the entry invalid;
    ``warnings`` name parameters that have no effect with this engine, and their replacements.
    """

    settings: Mapping[str, Any]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Engine(ABC):
    """One engine. Everything here is pure: processes are the business of ``workers/``."""

    name: str
    request_fields: Mapping[Task, frozenset[str]] = MappingProxyType({})
    """What :meth:`fields` returns."""
    prompt_caches: PromptCaches | None = None
    """``None`` if its caches cannot be saved."""
    parses_special_tokens: bool = True
    """Whether it parses names of special tokens in the contents of messages; the host then neutralises them."""
    custom_tools: CustomTools = "as_functions"
    continues_final_message: bool = False
    """Whether it continues an assistant message at the end of a conversation, unless the request says otherwise."""
    has_own_tools: bool = False
    """Whether its server may add tools to a request and run them, unless the request excludes tools."""
    prompt_progress: PromptProgress | None = None
    """``None`` if it does not report progress on a prompt."""
    counts_media: bool = False
    """Whether its workers count the tokens of images and sound, with :attr:`preparation`."""
    preparation: Preparation | None = None
    """``None`` if it has these features itself, or not at all."""
    adapters: AdapterSelector | None = None
    """``None`` if requests cannot select LoRA adapters."""
    prompt_scores: PromptScores | None = None
    """``None`` if it cannot score prompts, or does so itself (``echo``)."""

    metrics: EngineMetrics | None = None
    """``None`` if its workers report no metrics."""

    @abstractmethod
    def accept(self, params: Mapping[str, Any]) -> AcceptedParams:
        """Return the settings for ``params``, launch parameters of the registry that have been checked for type.

        Nothing is ignored silently: what the engine cannot honour is a problem, or a warning where the answers are
        the same without it.
        """

    @abstractmethod
    def configure_load(self, config: LoadConfig, baseline: LoadBaseline) -> ConfiguredLoad:
        """Return the overrides for ``config``, applied to the model of ``baseline``.

        As with :meth:`accept`, nothing is ignored silently: values that already hold are left out of the overrides, and
        what the engine cannot honour is a problem.
        """

    @abstractmethod
    def launch(self, spec: ModelSpec, api_key: str) -> Launch:
        """Return how to start a worker for ``spec``.

        Raises:
            ConfigError: a setting or engine option that this engine cannot honour.
        """

    def for_model(self, options: Mapping[str, Any]) -> Engine:
        """Return the engine for a model with the engine options ``options``.

        Raises:
            ConfigError: an option is not valid, if the engine depends on options at all.
        """
        return self

    def complete_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the engine options ``options``, with those that the host's environment adds.

        Raises:
            ConfigError: they name a program that does not exist.
        """
        return options

    def with_packaged_program(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return completed ``options`` with the program of an installed package, for an engine that has such packages.

        Called where neither the options name a program nor an environment has a build of the engine.
        """
        return options

    def program(self, options: Mapping[str, Any]) -> str | None:
        """Return the program that runs models with completed ``options`` in place of the engine's library, if any."""
        return None

    def finds_gpus(self, python: str, options: Mapping[str, Any], env: Mapping[str, str]) -> bool:
        """Return whether workers in ``python`` with ``options``, which are completed, and ``env`` find a GPU.

        Called only for engines that have :attr:`~modelhost.engines.traits.EngineTraits.gpu`. Blocks at the first call.
        """
        return False

    def used_gpus(self, options: Mapping[str, Any], gpus: tuple[int, ...]) -> tuple[int, ...]:
        """Return those of ``gpus`` that a model with ``options`` is laid out over.

        Raises:
            ConfigError: ``options`` are not valid, or require more GPUs than there are.
        """
        return gpus

    def step_tokens(self, spec: ModelSpec) -> int:
        """Return how many tokens of a prompt are evaluated in one step.

        Raises:
            ConfigError: an engine option that is not valid.
        """
        return min(spec.context_length or STEP_TOKENS, STEP_TOKENS)

    def tasks(self, spec: ModelSpec) -> tuple[Task, ...]:
        """Return the tasks that a worker of ``spec`` will announce; empty if that is not known before it is started.

        Raises:
            ConfigError: an engine option that is not valid.
        """
        return () if spec.task is None else (spec.task,)

    def advice(self, task: Task) -> str:
        """Return advice for a model of this engine that cannot do ``task``; empty if there is none."""
        return ""

    def fields(self, task: Task) -> frozenset[str]:
        """Return the request fields that this engine honours, beyond those that every engine must honour."""
        return self.request_fields.get(task, frozenset())

    @abstractmethod
    def adapt(self, task: Task, body: dict[str, Any]) -> dict[str, Any]:
        """Return ``body`` in this engine's dialect; ``body`` may be changed in place."""

    def finalize(self, task: Task, body: dict[str, Any], ready: Ready) -> dict[str, Any]:
        """Return ``body``, made by :meth:`adapt`, for the worker that announced ``ready``; ``body`` is not changed."""
        return body

    def path(self, task: Task) -> str:
        return OPENAI_PATHS[task]

    def convert_answer(self, task: Task, data: bytes) -> bytes:
        """Return ``data``, whole events or the whole of an answer to ``task``, in the host's form."""
        return data

    def event_converter(self, task: Task) -> Callable[[bytes], bytes] | None:
        """Return what does :meth:`convert_answer` for the events of a stream; ``None``: they are in the host's form."""
        is_unchanged = type(self).convert_answer is Engine.convert_answer
        return None if is_unchanged else partial(self.convert_answer, task)

    def usage_in(
        self, chunk: Mapping[str, Any], *, requested: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        """Return the usage so far that a chunk reports in fields of the engine, and its remaining fields.

        ``None``: it reports none. For a request with ``continuous_usage_stats``, :meth:`adapt` switches it on if
        possible.

        Args:
            chunk: the fields of the chunk that are not OpenAI's.
            requested: the fields of the request that are specific to the engine.
        """
        return None

    @abstractmethod
    def translate_error(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError:
        """Return the engine's error answer as a :class:`ModelhostError`."""
