"""Requests of Ollama's API as requests of this host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from modelhost import json_text
from modelhost.chat.parsing.parse import mcp_options
from modelhost.chat.parsing.validation import check_schema_size
from modelhost.chat.structured_output import STRUCTURED, output_of
from modelhost.engines.base import Engine
from modelhost.errors import InvalidRequest
from modelhost.exchange.chunks import REASONING
from modelhost.exchange.media_kinds import IMAGE
from modelhost.exchange.messages import MediaPart, Message, Part, TextPart, ToolCall
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import ChatRequest, CompletionRequest, Infill, OutputFormat, Tool
from modelhost.http.ollama import bodies
from modelhost.http.ollama.options import engine_options, sampling_of
from modelhost.http.translation import EFFORT, TEMPLATE, continuation, supported
from modelhost.http.validation import note_ignored

MEDIA_TYPES: Final = {"/9j/": "jpeg", "R0lGOD": "gif", "Qk": "bmp", "UklGR": "webp"}
"""The type of an image by the first characters of its base64; all others are taken for PNG."""
DATA_URL: Final = "data:"
LONGEST_SCHEME: Final = 64
"""Characters in which the scheme of a data URL is, after blanks."""


def messages_of(given: Sequence[bodies.Message]) -> tuple[Message, ...]:
    """Return the messages of a conversation.

    Calls and their results need not have ids: a result belongs to the first call of its tool that has none yet, or to
    the first call of all.
    """
    calls = _Calls()
    return tuple(_message(each, calls, f"messages[{place}].") for place, each in enumerate(given))


def user_message(text: str, images: Sequence[str] | None) -> Message:
    return Message(role="user", content=_content(text, images, ""))


class _Calls:
    """The calls of the conversation so far."""

    def __init__(self) -> None:
        self._count = 0
        self._open: dict[str, str] = {}
        """The names of the calls without a result, by their ids."""

    def add(self, call: bodies.ToolCall) -> ToolCall:
        self._count += 1
        call_id = call.id or f"call_{self._count}"
        self._open[call_id] = call.function.name
        arguments = json_text.encode(call.function.arguments or {}).decode()
        return ToolCall(id=call_id, name=call.function.name, arguments=arguments)

    def answered(self, call_id: str | None, name: str | None) -> tuple[str | None, str | None]:
        """Return the id and the name of the call that a result is of."""
        if not call_id:
            ids = [each for each, called in self._open.items() if called == name] or list(self._open)
            call_id = ids[0] if ids else None
        known = self._open.pop(call_id, None) if call_id is not None else None
        return call_id, name or known


def _message(given: bodies.Message, calls: _Calls, at: str) -> Message:
    content = _content(given.content or "", given.images, at)
    if given.role == "tool":
        call_id, name = calls.answered(given.tool_call_id, given.tool_name)
        return Message(role="tool", content=content, tool_call_id=call_id, name=name)
    made = tuple(map(calls.add, given.tool_calls or ())) or None
    return Message(
        role=given.role,
        content=content or (None if made else ""),
        tool_calls=made,
        extra={REASONING: given.thinking} if given.thinking and given.role == "assistant" else NOTHING,
    )


def _content(text: str, images: Sequence[str] | None, at: str) -> str | tuple[Part, ...]:
    """Return a content: images precede the text, as in Ollama. ``at`` is what precedes ``images`` in their paths."""
    if not images:
        return text
    shown = (_image(data, f"{at}images[{place}]") for place, data in enumerate(images))
    return (*shown, *((TextPart(text),) if text else ()))


def _image(data: str, place: str) -> MediaPart:
    if data[:LONGEST_SCHEME].lstrip().lower().startswith(DATA_URL):
        return MediaPart(IMAGE, {IMAGE: {"url": data}}, place)
    kind = next((kind for beginning, kind in MEDIA_TYPES.items() if data.startswith(beginning)), "png")
    return MediaPart(IMAGE, {IMAGE: {"url": f"data:image/{kind};base64,{data}"}}, place)


EFFORTS: Final = {"max": "high"}
"""Efforts that few models have, each with that of others."""


def chat_request(body: bodies.ChatRequest, model: str, engine: Engine) -> ChatRequest:
    """Return the request in ``body``, which has messages, for ``model``, a name on this host.

    Raises:
        InvalidRequest: something in it cannot be used; ``param`` is its path.
    """
    choice = body.tool_choice
    return _chat(
        body,
        model,
        engine,
        messages_of(body.messages or ()),
        # Clients without tools send an empty list, too.
        tools=_tools(body.tools) if body.tools else None,
        tool_choice=choice if isinstance(choice, str) else None,
        named_tool=choice.function.name if isinstance(choice, bodies.NamedTool) else None,
        mcp=None if body.mcp is None else mcp_options(body.mcp.model_dump(exclude_none=True)),
        session_id=body.session_id,
    )


def generate_request(body: bodies.GenerateRequest, model: str, engine: Engine) -> ChatRequest | CompletionRequest:
    """Return the request in ``body``, which has a prompt: a chat of one message, or a text to continue or to fill in.

    Raises:
        InvalidRequest: something in it cannot be used; ``param`` is its path.
    """
    for name in ("context", "template"):
        if getattr(body, name):
            note_ignored(name)
    if body.raw or body.suffix:
        return _completion(body, model, engine)
    system = (Message(role="system", content=body.system),) if body.system else ()
    return _chat(body, model, engine, (*system, user_message(body.prompt or "", body.images)), tools=())


def _chat(
    body: bodies.ChatRequest | bodies.GenerateRequest,
    model: str,
    engine: Engine,
    messages: tuple[Message, ...],
    **fields: Any,
) -> ChatRequest:
    _note_inert(body)
    extra = {
        **engine_options(body.options, engine, "chat"),
        **_thinking_fields(body.think, engine),
        **continuation(engine, messages),
    }
    return ChatRequest(
        model=model,
        messages=messages,
        sampling=sampling_of(body.options),
        extra=extra or NOTHING,
        output=_output(body.format),
        constraint_field="format" if body.format else "",
        is_streamed=body.stream is not False,
        include_progress=bool(body.include_progress),
        logprobs=bool(body.logprobs),
        top_logprobs=int(body.top_logprobs or 0) if body.logprobs else None,
        **fields,
    )


def _completion(body: bodies.GenerateRequest, model: str, engine: Engine) -> CompletionRequest:
    """Return a text to continue as it is, without a template, or to fill in before ``suffix``."""
    if body.raw and (body.system or body.template):
        name = "system" if body.system else "template"
        raise InvalidRequest(f"{name}: a raw prompt is complete; leave it out, or leave out raw.", param=name)
    for name in ("system", "images", "think", "logprobs"):
        if getattr(body, name):
            note_ignored(name)
    _note_inert(body)
    task = "infill" if body.suffix and engine.fields("infill") else "completions"
    extra = engine_options(body.options, engine, "infill" if task == "infill" else "completions")
    if body.format:
        extra[STRUCTURED] = {"json": _schema(body.format)} if isinstance(body.format, dict) else {"json_object": True}
    return CompletionRequest(
        model=model,
        prompts=(body.prompt or "",),
        sampling=sampling_of(body.options),
        extra=extra or NOTHING,
        constraint_field="format" if body.format else "",
        is_streamed=body.stream is not False,
        include_progress=bool(body.include_progress),
        infill=Infill(suffix=body.suffix) if body.suffix else None,
    )


def _note_inert(body: bodies.ChatRequest | bodies.GenerateRequest) -> None:
    """Note that too long conversations are refused, where a client wants them to be cut."""
    for name in ("truncate", "shift"):
        if getattr(body, name):
            note_ignored(name)


def _thinking_fields(think: bodies.Think | None, engine: Engine) -> dict[str, Any]:
    """Return the engine's fields for how the model thinks; if the client says nothing, it is as its template has it."""
    if think is None:
        return {}
    of_engine, fields = engine.fields("chat"), dict[str, Any]()
    if TEMPLATE in of_engine:
        fields[TEMPLATE] = {"enable_thinking": think is not False}
    if isinstance(think, str):
        fields |= supported(engine, {EFFORT: EFFORTS.get(think, think)})
    if not fields:
        note_ignored("think")
    return fields


def _output(given: bodies.Format | None) -> OutputFormat | None:
    if isinstance(given, dict):
        return output_of("json", _schema(given))
    return output_of("json_object", True) if given else None


def _schema(given: dict[str, Any]) -> dict[str, Any]:
    check_schema_size(given, "format")
    return given


def _tools(given: list[bodies.Tool]) -> tuple[Tool, ...]:
    for place, tool in enumerate(given):
        if tool.function.parameters:
            check_schema_size(tool.function.parameters, f"tools[{place}].function.parameters")
    return tuple(
        Tool(
            name=tool.function.name,
            description=tool.function.description,
            parameters=tool.function.parameters,
        )
        for tool in given
    )
