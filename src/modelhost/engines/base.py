"""What an engine is to the host: how its workers are started, and the differences of its dialect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from modelhost.engines.adapters import AdapterSelector
from modelhost.engines.launch import Launch, ModelSpec, Ready
from modelhost.engines.load_config import ConfiguredLoad, LoadBaseline, LoadConfig
from modelhost.errors import ModelhostError
from modelhost.exchange.tasks import TASKS, Task

OPENAI_PATHS: Final[Mapping[Task, str]] = {task: traits.path for task, traits in TASKS.items()}
"""Where workers that follow OpenAI, and llama.cpp beyond that, take each task."""


STEP_TOKENS: Final = 512
"""Tokens of a prompt that most engines evaluate in one step."""

CustomTools = Literal["unchanged", "with_grammars", "as_functions"]
"""How an engine takes OpenAI's custom tools: as they are, or as functions, with or without ``INPUT_GRAMMAR``."""
INPUT_GRAMMAR: Final = "input_grammar"
"""A field of a chat body in which the only tool has to be called: the model has to write ``opening``, and behind it a
text of the Lark grammar ``definition``, instead of a call of the tool ``name``."""
LARK_SYNTAX: Final = "https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md"


class EngineClient(Protocol):
    """The way to a worker, for what is no generation."""

    async def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that the worker answers to ``body``, or tells of itself without one.

        Raises:
            ModelhostError: it refused, failed or is gone.
        """
        ...

    def listen(
        self, path: str, body: Mapping[str, Any]
    ) -> AbstractAsyncContextManager[AsyncGenerator[Mapping[str, Any], None]]:
        """Send ``body`` and yield the events of the answer; leaving cancels the work. Raises as :meth:`ask` does."""
        ...


class TranslatingClient(EngineClient, Protocol):
    """One on which an error in the middle of an answer can be told, too."""

    def refusal(self, status: int, payload: Any) -> ModelhostError:
        """Return the worker's error as one of ours."""
        ...


class PromptProgress(Protocol):
    """Has a worker tell how far it is with a prompt, so that a long one is not taken for a request that hangs."""

    def wanted(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return ``body`` so that the worker tells."""
        ...

    def is_wanted(self, body: Mapping[str, Any]) -> bool:
        """Whether the client itself wants to be told."""
        ...

    def without(self, block: bytes) -> bytes:
        """Return the events of ``block`` but for those that tell nothing else; perhaps none."""
        ...


class PromptCaches(Protocol):
    """Writes what a worker has evaluated of a conversation to a file in its cache folder, and reads it back."""

    async def save(self, client: EngineClient, messages: Sequence[Mapping[str, Any]], file: str) -> int | None:
        """Write the conversation of ``messages`` to ``file``; return how many tokens it has.

        ``None``: the worker does not hold it any more, or holds it for a request at work.

        Raises:
            ModelhostError: as :meth:`EngineClient.ask`.
        """
        ...

    async def restore(self, client: EngineClient, file: str) -> bool:
        """Have the worker hold what ``file`` holds; return whether it had a place for it. Nothing at work is disturbed.

        ``file`` has to be as it was written: a damaged one may end the worker.

        Raises:
            ModelhostError: as :meth:`EngineClient.ask`.
        """
        ...


class Preparation(Protocol):
    """Says in a worker's words what its engine has none for: something has to be asked of the worker first."""

    async def check_grammar(self, client: EngineClient, body: Mapping[str, Any], ready: Ready) -> None:
        """Check that the worker holds its answer to the ``grammar`` or the ``INPUT_GRAMMAR`` of ``body``.

        Raises:
            InvalidRequest: it would pass over that.
            ModelhostError: as :meth:`EngineClient.ask`.
        """
        ...

    async def with_stops(self, client: EngineClient, body: Mapping[str, Any], ready: Ready) -> dict[str, Any]:
        """Return ``body``, which has ``stop_token_ids``, so that an answer ends at those tokens.

        Raises:
            InvalidRequest, UnsupportedParameter: a token is none of the model, or the worker cannot.
            ModelhostError: as :meth:`EngineClient.ask`.
        """
        ...

    async def with_prompt(self, client: EngineClient, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``body``, of ``/tokenize`` with ``messages``, with the text of the prompt that those make.

        Raises:
            ModelhostError: as :meth:`EngineClient.ask`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPrompt:
    """A prompt, and how likely each of its tokens was after those before it."""

    text: str
    tokens: Sequence[Mapping[str, Any]]
    """``token, logprob, top_logprobs`` of each, as a chat's answer tells of its tokens; ``None`` of the first."""


class PromptScores(Protocol):
    """Finds out how likely a prompt is, in the place of an engine that does not tell by itself."""

    async def of(
        self, client: TranslatingClient, body: Mapping[str, Any], *, top: int, check: Callable[[int], None]
    ) -> ScoredPrompt:
        """Return the prompt of ``body``, with ``top`` tokens that are likely in the place of each of its own.

        ``check`` is told the number of tokens before the work begins.

        Raises:
            ModelhostError: as :meth:`EngineClient.ask`, and what ``check`` raises.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedParams:
    """What an engine makes of the launch parameters of a registry entry.

    ``settings`` are values of :class:`~modelhost.config.settings.Settings`. ``problems`` make the entry invalid;
    ``warnings`` name what has no effect with this engine, and what does its job instead.
    """

    settings: Mapping[str, Any]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Engine(ABC):
    """One engine. Everything here is pure: processes are the business of ``workers/``."""

    name: str
    prompt_caches: PromptCaches | None = None
    """``None`` if it has none that could be kept."""
    parses_special_tokens: bool = True
    """Whether names of special tokens in the contents of messages are such tokens to it: the host neutralises them."""
    custom_tools: CustomTools = "as_functions"
    has_own_tools: bool = False
    """Whether its server may give a model tools of its own, and run them, unless a request says that it has none."""
    prompt_progress: PromptProgress | None = None
    """``None`` if it is silent while it works on a prompt."""
    preparation: Preparation | None = None
    """``None`` if it takes all of that itself, or not at all."""
    adapters: AdapterSelector | None = None
    """``None`` if requests cannot choose LoRA adapters of its models."""
    prompt_scores: PromptScores | None = None
    """``None`` if it cannot be brought to tell how likely a prompt is, or does so itself (``echo``)."""

    @abstractmethod
    def accept(self, params: Mapping[str, Any]) -> AcceptedParams:
        """Return what this engine makes of ``params``: those of the registry that are given, checked for type.

        Nothing is ignored in silence: what the engine cannot honour is a problem, or a warning where the answers are
        the same without it.
        """

    @abstractmethod
    def configure_load(self, config: LoadConfig, baseline: LoadBaseline) -> ConfiguredLoad:
        """Return what this engine makes of ``config`` for the model of ``baseline``.

        As with :meth:`accept` nothing is ignored in silence: what is so anyway is left out of the overlay, and what the
        engine cannot honour is a problem.
        """

    @abstractmethod
    def launch(self, spec: ModelSpec, api_key: str) -> Launch:
        """Return how to start a worker for ``spec``.

        Raises:
            ConfigError: a setting or an engine option that this engine cannot honour.
        """

    def for_model(self, options: Mapping[str, Any]) -> Engine:
        """Return the engine as it is for a model with the engine options ``options``.

        Raises:
            ConfigError: an option that this engine cannot honour, if that is checked here.
        """
        return self

    def complete_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the engine options ``options`` with those that the host's environment adds.

        Raises:
            ConfigError: they name a program that is none.
        """
        return options

    def program(self, options: Mapping[str, Any]) -> str | None:
        """Return the program that runs models with completed ``options`` in place of the engine's library, if any."""
        return None

    def finds_gpus(self, python: str, options: Mapping[str, Any], env: Mapping[str, str]) -> bool:
        """Return whether workers in ``python`` with ``options``, which are completed, and ``env`` find a GPU.

        Only of engines that :attr:`~modelhost.engines.traits.EngineTraits.gpu` says use any. Blocks at the first call.
        """
        return False

    def used_gpus(self, options: Mapping[str, Any], gpus: tuple[int, ...]) -> tuple[int, ...]:
        """Return those of ``gpus`` that a model with ``options`` is laid out over.

        Raises:
            ConfigError: ``options`` are not valid, or ask for more GPUs than there are.
        """
        return gpus

    def step_tokens(self, spec: ModelSpec) -> int:
        """Return how many tokens of a prompt are evaluated in one step.

        Raises:
            ConfigError: an engine option that is not valid.
        """
        return min(spec.context_length or STEP_TOKENS, STEP_TOKENS)

    def advice(self, task: Task) -> str:
        """Return what helps where a model of this engine cannot do ``task``; empty if nothing does."""
        return ""

    @abstractmethod
    def fields(self, task: Task) -> frozenset[str]:
        """Return the request fields that this engine honours beyond those that every engine must."""

    @abstractmethod
    def adapt(self, task: Task, body: dict[str, Any]) -> dict[str, Any]:
        """Return ``body`` in this engine's dialect; it may be changed in place."""

    def finalize(self, task: Task, body: dict[str, Any], ready: Ready) -> dict[str, Any]:
        """Return ``body``, which :meth:`adapt` made, as this very worker takes it; what is given stays as it is."""
        return body

    def path(self, task: Task) -> str:
        """Return the path of ``task`` at the worker."""
        return OPENAI_PATHS[task]

    def convert_answer(self, task: Task, data: bytes) -> bytes:
        """Return ``data`` of an answer to ``task``, whole events or the whole of it, in the host's form."""
        return data

    def usage_in(
        self, chunk: Mapping[str, Any], *, asked: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        """Return the tokens so far that a chunk tells in the engine's own fields, and what is left of those.

        ``None``: it does not tell them so. A request with ``continuous_usage_stats`` has had :meth:`adapt` see to it
        that it does, if it can.

        Args:
            chunk: what the chunk has beside OpenAI's fields.
            asked: the fields of the request that mean something to this engine alone.
        """
        return None

    @abstractmethod
    def translate_error(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError:
        """Return the engine's own error answer as one of ours."""
