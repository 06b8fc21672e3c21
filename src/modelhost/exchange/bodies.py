"""Requests as bodies of OpenAI's API, for engines and other hosts. The reverse: :mod:`modelhost.chat.parsing.parse`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import asdict

from modelhost.exchange.messages import message_json
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import (
    AnyRequest,
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingsRequest,
    InputFormat,
    OutputFormat,
    Prompt,
    Request,
    RerankRequest,
    Sampling,
    SelectedAdapter,
    SpeechRequest,
    TokenizeRequest,
    Tool,
)
from modelhost.exchange.tasks import TOKEN_STRINGS

SAMPLING: Final = (
    *("max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p", "seed"),
    *("presence_penalty", "frequency_penalty", "logit_bias"),
)


_UNSET: Final = Sampling()


def body_of(request: AnyRequest) -> dict[str, Any]:
    """Return ``request`` as a body of OpenAI's API, without what no engine needs: the model, the stream, the host's own
    options, and inert fields."""
    body = _WRITERS[request.__class__](request)
    body.update(request.extra)
    return body


def lora_json(choices: Sequence[SelectedAdapter]) -> list[dict[str, Any]]:
    return [{name: value for name, value in asdict(each).items() if value is not None} for each in choices]


def sampling_fields(sampling: Sampling) -> dict[str, Any]:
    if sampling == _UNSET:
        return {}
    body = {name: value for name in SAMPLING if (value := getattr(sampling, name)) is not None}
    if sampling.stop is not None:
        body["stop"] = sampling.stop if isinstance(sampling.stop, str) else list(sampling.stop)
    return body


def _body_of_generating(request: ChatRequest | CompletionRequest) -> dict[str, Any]:
    body = sampling_fields(request.sampling)
    if request.n > 1:
        body["n"] = request.n
    return body


def _body_of_chat(request: ChatRequest) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": [message_json(message) for message in request.messages]}
    body.update(_body_of_generating(request))
    if request.logprobs:
        body["logprobs"] = True
    if request.top_logprobs is not None:
        body["top_logprobs"] = request.top_logprobs
    if request.tools is not None:
        body["tools"] = [tool_json(tool) for tool in request.tools]
    if request.named_tool is not None:
        body["tool_choice"] = _named_json(request, request.named_tool)
    elif request.tool_choice is not None:
        body["tool_choice"] = request.tool_choice
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.output is not None:
        body["response_format"] = output_json(request.output)
    return body


def _body_of_completion(request: CompletionRequest) -> dict[str, Any]:
    body = {"prompt": _prompts_json(request.prompts, is_single=len(request.prompts) == 1)}
    body.update(_body_of_generating(request))
    if request.logprobs is not None:
        body["logprobs"] = request.logprobs
    if request.infill is not None:
        body["suffix"] = request.infill.suffix
        if request.infill.begun:
            body["begun"] = request.infill.begun
        if request.infill.files:
            body["files"] = list(request.infill.files)
    return body


def _body_of_embeddings(request: EmbeddingsRequest) -> dict[str, Any]:
    body = {"input": _prompts_json(request.inputs, is_single=request.is_single)}
    if request.encoding is not None:
        body["encoding_format"] = request.encoding
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return body


def _prompts_json(prompts: tuple[Prompt, ...], *, is_single: bool) -> Any:
    written = [each if isinstance(each, str) else list(each) for each in prompts]
    return written[0] if is_single else written


def _body_of_rerank(request: RerankRequest) -> dict[str, Any]:
    body: dict[str, Any] = {"query": request.query, "documents": list(request.documents)}
    return body if request.top_n is None else {**body, "top_n": request.top_n}


def _body_of_tokenize(request: TokenizeRequest) -> dict[str, Any]:
    strings = {TOKEN_STRINGS: True} if request.token_strings else {}
    if request.chat is not None:
        return {**body_of(request.chat), **strings}
    special = {"add_special": request.add_special, "parse_special": request.parse_special}
    given = {name: value for name, value in special.items() if value is not None}
    return {"content": request.content, **given, **strings}


def _body_of_detokenize(request: DetokenizeRequest) -> dict[str, Any]:
    return {"tokens": list(request.tokens)}


def _body_of_speech(request: SpeechRequest) -> dict[str, Any]:
    body = {"input": request.input, "response_format": request.format, "speed": request.speed}
    given = {"voice": request.voice, "seed": request.seed}
    return body | {name: value for name, value in given.items() if value is not None}


_WRITERS: Final[Mapping[type[Request], Callable[[Any], dict[str, Any]]]] = {
    ChatRequest: _body_of_chat,
    CompletionRequest: _body_of_completion,
    EmbeddingsRequest: _body_of_embeddings,
    RerankRequest: _body_of_rerank,
    TokenizeRequest: _body_of_tokenize,
    DetokenizeRequest: _body_of_detokenize,
    SpeechRequest: _body_of_speech,
}


def _named_json(request: ChatRequest, name: str) -> dict[str, Any]:
    is_custom = any(tool.name == name and tool.input is not None for tool in request.tools or ())
    kind = "custom" if is_custom else "function"
    return {"type": kind, kind: {"name": name}}


def tool_of(given: Mapping[str, Any]) -> Tool:
    """Return the tool in ``given``, whose types are checked."""
    kind, accepts = ("custom", "format") if given["type"] == "custom" else ("function", "parameters")
    tool: Mapping[str, Any] = given[kind]
    extra = {name: value for name, value in given.items() if name not in ("type", kind)}
    within = {name: value for name, value in tool.items() if name not in ("name", "description", accepts)}
    if within:
        extra[kind] = within
    grammar = (tool.get("format") or NOTHING).get("grammar") or {"syntax": "text", "definition": ""}
    return Tool(
        name=tool["name"],
        description=tool.get("description"),
        parameters=tool.get("parameters") if kind == "function" else None,
        input=InputFormat(kind=grammar["syntax"], definition=grammar["definition"]) if kind == "custom" else None,
        extra=extra or NOTHING,
        written=None if None in tool.values() else given,
    )


def tool_json(tool: Tool) -> Mapping[str, Any]:
    """Return ``tool`` as JSON of OpenAI's API, not to be changed."""
    if tool.written is not None:
        return tool.written
    kind, extra = "function" if tool.input is None else "custom", dict(tool.extra)
    within: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        within["description"] = tool.description
    if tool.parameters is not None:
        within["parameters"] = tool.parameters
    if tool.input is not None and tool.input.kind != "text":
        grammar = {"syntax": tool.input.kind, "definition": tool.input.definition}
        within["format"] = {"type": "grammar", "grammar": grammar}
    within.update(extra.pop(kind, NOTHING))
    return {"type": kind, **extra, kind: within}


def output_json(output: OutputFormat) -> dict[str, Any]:
    """Return ``output`` as ``response_format`` of OpenAI's API."""
    if output.schema is None:
        return {"type": output.kind}
    return {"type": output.kind, "json_schema": {**output.extra, "schema": output.schema}}
