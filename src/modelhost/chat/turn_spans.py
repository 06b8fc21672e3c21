"""The span of one turn of a model, in OpenTelemetry's terms for generative models.

https://github.com/open-telemetry/semantic-conventions-genai
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from modelhost.chat.generation import Generation
from modelhost.chat.relay import payloads_of
from modelhost.exchange.chunk_reading import ChunkReader, MalformedChunkError
from modelhost.exchange.messages import Message, TextPart, ToolCall
from modelhost.exchange.requests import ChatRequest, CompletionRequest
from modelhost.exchange.tasks import Task
from modelhost.exchange.whole_answer import Choice, WholeAnswer
from modelhost.models.residency.hosted import HostedModel
from modelhost.tracing import spans
from modelhost.tracing.spans import MaybeSpan, Span, Value

OPERATIONS: Final[Mapping[Task, str]] = {"completions": "text_completion", "infill": "text_completion"}
"""Names of tasks in the conventions, where they differ."""
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"


class turn_span:  # noqa: N801 (used like a function made by contextlib)
    """Record what is inside as the turn of ``model`` that ``generation`` is."""

    __slots__ = ("_generation", "_model", "_open", "_request", "_span")

    def __init__(self, model: HostedModel, request: ChatRequest | CompletionRequest, generation: Generation) -> None:
        self._model = model
        self._request = request
        self._generation = generation
        self._open: Any = None

    def __enter__(self) -> None:
        if (tracer := spans.tracer()) is None:
            return
        attributes = _attributes(self._model, self._generation.task) | _request_attributes(self._request)
        if tracer.records_content:
            attributes["gen_ai.input.messages"] = _json(_input(self._request))
            self._generation.keep_written()
        self._open = tracer.span(_name(attributes), attributes, kind="client")
        self._span: Span = self._open.__enter__()

    def __exit__(self, *details: Any) -> None:
        if self._open is not None:
            self._span.set(_answer_attributes(self._generation))
            self._open.__exit__(*details)


def task_span(model: HostedModel, task: Task) -> MaybeSpan:
    """Return the span of a task that generates nothing, to be entered."""
    if (tracer := spans.tracer()) is None:
        return spans.OFF
    attributes = _attributes(model, task)
    return tracer.span(_name(attributes), attributes, kind="client")


def note_usage(span: Span | None, usage: Mapping[str, Any] | None) -> None:
    """Note the usage of such a task."""
    if span is not None and usage:
        span.set({INPUT_TOKENS: usage.get("prompt_tokens") or 0})


def _attributes(model: HostedModel, task: Task) -> dict[str, Value]:
    return {
        "gen_ai.operation.name": OPERATIONS.get(task, task),
        "gen_ai.provider.name": model.engine.name,
        "gen_ai.request.model": model.name,
    }


def _name(attributes: Mapping[str, Value]) -> str:
    return f"{attributes['gen_ai.operation.name']} {attributes['gen_ai.request.model']}"


def _request_attributes(request: ChatRequest | CompletionRequest) -> dict[str, Value]:
    sampling = request.sampling
    given: dict[str, Value | None] = {
        "gen_ai.request.max_tokens": sampling.budget,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.request.top_k": sampling.top_k,
        "gen_ai.request.seed": sampling.seed,
        "gen_ai.request.choice.count": request.n if request.n != 1 else None,
        "gen_ai.request.stream": request.is_streamed,
        "gen_ai.conversation.id": request.session_id if isinstance(request, ChatRequest) else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _answer_attributes(generation: Generation) -> dict[str, Value]:
    report = generation.report
    usage = report.usage or {}
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    found: dict[str, Value | None] = {
        INPUT_TOKENS: usage.get("prompt_tokens"),
        "gen_ai.usage.output_tokens": usage.get("completion_tokens"),
        "gen_ai.usage.cache_read.input_tokens": cached,
        **_end_attributes(generation.ends),
    }
    if report.first_at is not None:
        found["gen_ai.response.time_to_first_chunk"] = report.first_at - report.began
    if generation.written is not None:
        found["gen_ai.output.messages"] = _json(_output(generation.written))
    return {name: value for name, value in found.items() if value is not None}


def _end_attributes(ends: Sequence[bytes]) -> dict[str, Value | None]:
    """Return what the last events of an answer say, before its usage."""
    last = [payload for end in ends for payload in payloads_of(end)]
    choices = [choice for payload in last for choice in payload.get("choices") or ()]
    reasons = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    return {
        "gen_ai.response.finish_reasons": reasons or None,
        "gen_ai.response.id": next((payload["id"] for payload in last if payload.get("id")), None),
        "gen_ai.response.model": next((payload["model"] for payload in last if payload.get("model")), None),
    }


# Content, where that is wanted.


def _json(messages: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(messages, default=str).decode()


def _input(request: ChatRequest | CompletionRequest) -> list[Mapping[str, Any]]:
    if isinstance(request, CompletionRequest):
        texts = [prompt for prompt in request.prompts if isinstance(prompt, str)]
        return [{"role": "user", "parts": [_text(text)]} for text in texts]
    return [{"role": message.role, "parts": _parts(message)} for message in request.messages]


def _parts(message: Message) -> list[Mapping[str, Any]]:
    if message.tool_call_id is not None:
        return [{"type": "tool_call_response", "id": message.tool_call_id, "response": message.text}]
    parts: list[Mapping[str, Any]] = [_text(message.text)] if message.text else []
    if not isinstance(message.content, str):
        others = [part for part in message.content or () if not isinstance(part, TextPart)]
        parts += [{"type": type(part).__name__} for part in others]  # the kind alone: media is too long
    return [*parts, *map(_call, message.tool_calls or ())]


def _text(text: str) -> Mapping[str, Any]:
    return {"type": "text", "content": text}


def _call(call: ToolCall) -> Mapping[str, Any]:
    arguments = call.arguments if call.input is None else call.input
    return {"type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments}


def _output(written: Sequence[Sequence[bytes]]) -> list[Mapping[str, Any]]:
    """Return what the model wrote, one message a choice; ``written`` has the events of each stream."""
    messages: list[Mapping[str, Any]] = []
    for blocks in written:
        answer, reader = WholeAnswer(), ChunkReader()
        try:
            for payload in (payload for block in blocks for payload in payloads_of(block)):
                answer.add(reader.read(payload))
        except (orjson.JSONDecodeError, MalformedChunkError):
            pass  # what precedes it counts
        messages += [_answered(choice) for _, choice in sorted(answer.choices.items())]
    return messages


def _answered(choice: Choice) -> Mapping[str, Any]:
    reasoning = [{"type": "reasoning", "content": choice.reasoning}] if choice.reasoning else []
    parts = [*reasoning, *_parts(choice.message)]
    return {"role": choice.role, "parts": parts, "finish_reason": choice.finish_reason}
