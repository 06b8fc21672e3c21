"""One turn of a model: the request in the engine's dialect, and the measurements of the answer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from modelhost.chat.adapters import check_no_adapter, with_adapters
from modelhost.chat.completions import Echo, infill_task
from modelhost.chat.defaults import with_defaults
from modelhost.chat.generation import Generation, NewRewrite
from modelhost.chat.images import as_shown, check_images, name_place
from modelhost.chat.media.sounds import SoundCheck
from modelhost.chat.notes import NEUTRALISED, Notes
from modelhost.chat.overflow import check_number_of_messages
from modelhost.chat.parsing import validation
from modelhost.chat.presets import with_preset
from modelhost.chat.schemas import with_plain_schemas
from modelhost.chat.structured_output import name_as_sent
from modelhost.chat.tools import custom_tools, tool_choice
from modelhost.chat.tools.custom_calls import CustomCallRewriter, RawInputRewriter, call_opening
from modelhost.chat.tools.host_tools import without_uncallable
from modelhost.chat.tools.tool_choice import ForcedCallRewriter, SingleCallRewriter
from modelhost.chat.turn_spans import turn_span
from modelhost.chat.usage import UsageReader
from modelhost.engines.base import INPUT_GRAMMAR
from modelhost.engines.special_tokens import without_server_marks
from modelhost.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    RequestError,
    UnsupportedOperation,
    UnsupportedParameter,
)
from modelhost.exchange.bodies import body_of
from modelhost.exchange.events import PieceStream
from modelhost.exchange.messages import has_parts
from modelhost.exchange.requests import AnyRequest, ChatRequest, CompletionRequest, TokenizeRequest
from modelhost.exchange.tasks import CONTINUOUS_USAGE, TASKS, Task
from modelhost.models.residency.hosted import HostedModel
from modelhost.monitor import measure
from modelhost.workers.worker import Worker

COMPLETION_TOKENS: Final = 16
TIME_LIMIT: Final = "t_max_predict_ms"
"""llama.cpp's time limit, which also limits an answer."""
ECHO: Final = "echo"
STREAMED: Final = {"stream": True, "stream_options": {"include_usage": True}}
COUNTED: Final = {"stream": True, "stream_options": {"include_usage": True, CONTINUOUS_USAGE: True}}
G = TypeVar("G", ChatRequest, CompletionRequest)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfLoop:
    """What the turns of one tool loop share."""

    sounds: SoundCheck
    """Has checked those of earlier turns."""
    default_tools: Collection[str] = ()
    """Names of tools to be left out, with a note, if the model cannot have any."""


def generation_of(model: HostedModel, request: ChatRequest | CompletionRequest, notes: Notes) -> Generation:
    """Return ``request`` ready to be sent; ``notes`` get the changes that the host made.

    Raises:
        UnsupportedParameter: the engine of ``model`` does not support a field.
        InvalidRequest: ``model`` does not have a token of ``logit_bias``.
        ContextLengthExceeded: there are more messages than the context can hold.
    """
    if isinstance(request, CompletionRequest):
        return _completion(model, request)
    request = with_preset(request, model.entry.preset)
    check_number_of_messages(model, request)
    shown = custom_tools.adapted_to(
        tool_choice.enforce_tool_choice(_with_defaults(model, request, "chat")), model.engine
    )
    chat, stops = shown.request, _named_stops(request)
    if stops:
        chat = replace(chat, sampling=replace(chat.sampling, stop=None))
    is_counted = request.continuous_usage or bool(stops)
    body = with_adapters(model, "chat", chat, _body(model, "chat", chat) | (COUNTED if is_counted else STREAMED))
    called = _other_name(model, body)
    body = _with_contents_as_text(model, body, notes)
    rewrites: list[NewRewrite] = []
    if shown.grammar is not None:
        (name,) = shown.inputs
        body[INPUT_GRAMMAR] = {"name": name, "opening": call_opening(name), "definition": shown.grammar}
        rewrites.append(lambda: RawInputRewriter(name).rewrite)
    dialect = model.engine.adapt("chat", body)
    if model.engine.has_own_tools and (request.tool_choice == "none" or request.tools == ()):
        dialect["tools"] = []
    # An engine that cannot force a call has its model generate the call's JSON, and removes the tools.
    if shown.grammar is None and tool_choice.requires_call(chat) and "tools" not in dialect:
        rewrites.append(lambda: ForcedCallRewriter().rewrite)
    if shown.grammar is None and shown.inputs:
        rewrites.append(lambda: CustomCallRewriter(shown.inputs).rewrite)
    if chat.tools and chat.parallel_tool_calls is False:
        rewrites.append(lambda: SingleCallRewriter().rewrite)
    top_logprobs = (chat.top_logprobs or 0) if chat.logprobs else None
    return Generation(
        "chat",
        dialect,
        name=called,
        top_logprobs=top_logprobs,
        rewrites=rewrites,
        usage_in=_usage_reader(model, request) if is_counted else None,
        stops=stops,
        keeps_usage=request.continuous_usage,
    )


def _named_stops(request: ChatRequest) -> tuple[str, ...]:
    """Return the stop sequences that the host has to find itself, to say which one ended the answer."""
    if not request.names_stop or request.n > 1:
        return ()
    stop = request.sampling.stop or ()
    return (stop,) if isinstance(stop, str) else stop


def _usage_reader(model: HostedModel, request: ChatRequest | CompletionRequest) -> UsageReader:
    return partial(model.engine.usage_in, requested=request.extra)


def _completion(model: HostedModel, request: CompletionRequest) -> Generation:
    task: Task = "completions" if request.infill is None else infill_task(model.engine, request, request.infill)
    request = _with_defaults(model, request, task)
    if request.infill is None or request.infill.prompt_field == TASKS["completions"].prompt_field:
        request = _limited(request)
    is_counted = request.continuous_usage
    body = with_adapters(model, task, request, _body(model, task, request) | (COUNTED if is_counted else STREAMED))
    called = _other_name(model, body)
    echo = _echo(model, request, body) if request.echo else None
    dialect, usage_in = model.engine.adapt(task, body), _usage_reader(model, request) if is_counted else None
    return Generation(task, dialect, name=called, top_logprobs=request.logprobs, usage_in=usage_in, echo=echo)


def _echo(model: HostedModel, request: CompletionRequest, body: dict[str, Any]) -> Echo | None:
    """Return what echoes the prompt, unless the engine does; ``body`` is changed accordingly."""
    if ECHO in model.engine.fields("completions"):
        body[ECHO] = True
        return None
    scores = model.engine.prompt_scores
    if request.logprobs is not None and scores is None:
        raise UnsupportedParameter(
            f"logprobs: with echo, {model.engine.name} cannot tell how likely the tokens of a prompt are. Leave one of "
            "them out, or serve the model with llamacpp, transformers, mlx or vllm.",
            param="logprobs",
        )
    is_alone = request.sampling.budget == 0
    if is_alone:
        body["max_tokens"] = 1  # dropped later: the engine has to process the prompt and count its tokens
    return Echo(scores=scores, top_logprobs=request.logprobs, check=partial(_check_length, model), is_alone=is_alone)


def _check_length(model: HostedModel, tokens: int) -> None:
    if model.context_length is not None and tokens >= model.context_length:
        raise ContextLengthExceeded.of(model.name, tokens=tokens, limit=model.context_length)


@asynccontextmanager
async def turn_of(
    model: HostedModel,
    request: ChatRequest | CompletionRequest,
    lease: AbstractAsyncContextManager[Worker],
    notes: Notes,
    of_loop: OfLoop | None = None,
) -> AsyncIterator[tuple[Generation, Worker]]:
    """Lease the worker of ``model`` for one answer, and yield it with ``request`` ready to be sent.

    ``of_loop`` is for a turn of a tool loop.

    An invalid request is refused before it waits. Before the files of a model are inspected, its engine is a guess and
    its control tokens are unknown; if that happens during the wait, the request is prepared again.

    Raises:
        ModelhostError: the request is invalid, or ``lease`` raises it.
    """
    resolved, shown = model.resolved, request
    try:
        generation = generation_of(model, request, notes)
        async with lease as worker:
            shown = _shown(worker, request, notes, of_loop)
            if model.resolved is not resolved or shown is not request:
                generation = generation_of(model, shown, notes)
            with turn_span(model, shown, generation), _measured(model, generation):
                if worker.ready.slots is not None:
                    generation.at_once = worker.ready.slots
                check_can(worker, "chat" if generation.task == "chat" else "completions")
                if isinstance(shown, ChatRequest) and has_parts(shown.messages):
                    check_images(worker, shown.messages)
                    await (of_loop.sounds if of_loop else SoundCheck()).check(worker, shown.messages)
                yield generation, worker
    except RequestError as error:
        if isinstance(error, ContextLengthExceeded):
            error.param = _prompt_field(request)
        elif isinstance(shown, ChatRequest):
            name_place(error, shown.messages)
        name_as_sent(error, request.constraint_field)
        raise


def _shown(
    worker: Worker, request: ChatRequest | CompletionRequest, notes: Notes, of_loop: OfLoop | None
) -> ChatRequest | CompletionRequest:
    """Return ``request`` without what its model cannot have and the client has not sent for it."""
    if not isinstance(request, ChatRequest):
        return request
    shown = as_shown(worker, request, notes)
    return shown if of_loop is None else without_uncallable(worker, shown, of_loop.default_tools, notes)


class PiecesOfTurn:
    """The pieces of one turn of a tool loop; a class, since the loop would make a context manager for each answer."""

    __slots__ = ("_explained", "_pieces", "_turn")

    def __init__(
        self,
        turn: AbstractAsyncContextManager[tuple[Generation, Worker]],
        explained: Callable[[ContextLengthExceeded], Awaitable[ContextLengthExceeded]],
    ) -> None:
        """``explained`` returns what a turn fails with whose prompt is too long."""
        self._turn = turn
        self._explained = explained

    async def __aenter__(self) -> PieceStream:
        try:
            generation, worker = await self._turn.__aenter__()
        except ContextLengthExceeded as error:
            raise await self._explained(error) from None
        self._pieces = generation.pieces(worker)
        return self._pieces

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._pieces.aclose()
        finally:
            await self._turn.__aexit__(kind, error, traceback)
        if isinstance(error, ContextLengthExceeded) and (other := await self._explained(error)) is not error:
            raise other from None


def adapted(model: HostedModel, task: Task, request: AnyRequest) -> dict[str, Any]:
    """Return ``request``, for a task that generates nothing, in the engine's dialect; raises as above."""
    validation.check_fields(task, request, model.engine)
    check_no_adapter(model, task, request)
    if isinstance(request, TokenizeRequest) and request.chat is not None:
        validation.check_fields("chat", request.chat, model.engine)
        whole = with_preset(request.chat, model.entry.preset)
        chat = custom_tools.adapted_to(with_plain_schemas(whole), model.engine).request
        request = replace(request, chat=chat)
        body = _with_contents_as_text(model, _body(model, task, request), Notes(model.name))
        return model.engine.adapt(task, body)
    return model.engine.adapt(task, _body(model, task, request))


def _limited(request: CompletionRequest) -> CompletionRequest:
    """Return ``request`` with a limit: without one, OpenAI's API generates 16 tokens."""
    if request.sampling.budget is not None or TIME_LIMIT in request.extra:
        return request
    return replace(request, sampling=replace(request.sampling, max_tokens=COMPLETION_TOKENS))


def _body(model: HostedModel, task: Task, request: AnyRequest) -> dict[str, Any]:
    """Return ``request`` as a body of OpenAI's API for ``model``, with the inert fields that its engine supports."""
    body = {**body_of(request), "model": model.name}
    if "dimensions" in body and "dimensions" not in model.engine.fields(task):
        del body["dimensions"]  # checked in the answer
    if request.inert:
        of_engine = model.engine.fields(task)
        body.update({name: value for name, value in request.inert.items() if name in of_engine})
    return body


def _other_name(model: HostedModel, body: Mapping[str, Any]) -> str | None:
    """Return the model's name in the answer, if an adapter gives it another one."""
    name: str = body["model"]
    return None if name == model.name else name


def _with_defaults(model: HostedModel, request: G, task: Task) -> G:
    validation.check_fields(task, request, model.engine)
    complete = with_defaults(request, model.defaults)
    if complete.extra is not request.extra:
        validation.check_fields(task, complete, model.engine)  # a default has to be supported, too
    if complete.sampling.logit_bias:
        _check_tokens(model, complete.sampling.logit_bias)
    return complete


def _check_tokens(model: HostedModel, bias: Mapping[str, float]) -> None:
    vocabulary = None if model.spec is None else model.spec.vocab_size
    largest = max(map(int, bias))
    if vocabulary is not None and largest >= vocabulary:
        message = f"logit_bias: {largest} is no token of {model.name}, which has {vocabulary}."
        raise InvalidRequest(message, param="logit_bias")


def _with_contents_as_text(model: HostedModel, body: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """Return ``body`` with the control tokens of the model neutralised in untrusted contents."""
    changed = model.control_tokens.neutralised(body) if model.control_tokens is not None else None
    if changed is not None:
        notes.add(NEUTRALISED)
    return without_server_marks(changed or body) if model.engine.parses_special_tokens else changed or body


def _prompt_field(request: ChatRequest | CompletionRequest) -> str | None:
    if isinstance(request, ChatRequest):
        return TASKS["chat"].prompt_field
    return TASKS["completions"].prompt_field if request.infill is None else request.infill.prompt_field


class _measured:  # noqa: N801 (used like a function made by contextlib)
    """Count and time the turn that is inside."""

    __slots__ = ("_began", "_generation", "_model", "_turn")

    def __init__(self, model: HostedModel, generation: Generation) -> None:
        self._model = model
        self._generation = generation

    def __enter__(self) -> None:
        self._began = began = time.perf_counter()
        self._model.throughput.begin(began)
        generation = self._generation
        self._turn = measure.turn_began(self._model.name, began, lambda: generation.written_tokens)

    def __exit__(self, *_: object) -> None:
        _measure(self._model, self._generation, self._began, self._turn)


def _measure(model: HostedModel, generation: Generation, began: float, turn: measure.RunningTurn | None) -> None:
    """Count and time the answer of a turn that has ended."""
    report = generation.report
    if report.usage is None:  # the client has left, the worker has ended, or the engine sends no usage
        report.written_tokens = generation.written_tokens
        if report.written_tokens:
            model.meters.tokens_out.inc(report.written_tokens)
    model.meters.count_usage(report.usage)
    tokens = None if report.usage is None else report.usage.get("completion_tokens") or 0
    latency = None if report.first_at is None else report.first_at - began
    now = time.perf_counter()
    first_token_seconds = measure.seconds_to(report.first_at)
    model.throughput.end(now, tokens=tokens, latency_seconds=latency)
    measure.turn_ended(turn, now, report)
    if first_token_seconds is not None:
        model.meters.time_to_first_token.observe(first_token_seconds)
    if report.first_at is not None and report.last_at is not None and tokens is not None and tokens > 1:
        model.meters.time_between_tokens.observe((report.last_at - report.first_at) / (tokens - 1))


def check_can(worker: Worker, task: Task) -> None:
    """Check that the model of ``worker`` supports ``task``; raises UnsupportedOperation."""
    if task not in worker.ready.tasks:
        can = ", ".join(sorted(worker.ready.tasks))
        advice = worker.engine.advice(task)
        raise UnsupportedOperation(
            f"{worker.model} cannot do {task}; it can do: {can}. {advice}".rstrip(), model=worker.model
        )
