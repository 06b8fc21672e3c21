"""Parses a request's body, decoded JSON in OpenAI's format, into the typed value that everything behind the door uses.

:func:`parsed` is the only place where a body is checked. The reverse: :mod:`modelhost.exchange.bodies`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from modelhost.chat.parsing.bodies import INERT, MODELS, TOKENIZED
from modelhost.chat.parsing.validation import check_schema_size, check_tool_names, validate
from modelhost.chat.structured_output import STRUCTURED, check_only_one, constraint_in, output_of, wants_json
from modelhost.chat.tools import custom_tools
from modelhost.errors import InvalidRequest
from modelhost.exchange.bodies import SAMPLING, tool_of
from modelhost.exchange.messages import messages_of
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import (
    AnyRequest,
    AudioOutput,
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingsRequest,
    Infill,
    McpOptions,
    OutputFormat,
    Prompt,
    RerankRequest,
    Sampling,
    SelectedAdapter,
    SelectedPrompt,
    SelectedResource,
    SpeechRequest,
    TokenizeRequest,
    Tool,
)
from modelhost.exchange.tasks import CONTINUOUS_USAGE, Task

_CONVERSATION_FIELDS: Final = ("add_generation_prompt", "continue_final_message", "chat_template_kwargs")
"""Fields that a chat passes to its engine, and that ``/tokenize`` supports for every engine."""
_TEXT_FIELDS: Final = ("add_special", "add_special_tokens")
_KNOWN: Final[Mapping[Task, frozenset[str]]] = {task: frozenset(model.model_fields) for task, model in MODELS.items()}


def parsed(task: Task, body: Any) -> AnyRequest:
    """Return the request in ``body``, decoded JSON.

    Raises:
        InvalidRequest: ``param`` names the first field that is wrong.
    """
    validate(task, body)
    return _READERS[task](body)


def _shared(task: Task, body: Mapping[str, Any]) -> dict[str, Any]:
    known = _KNOWN[task]
    extra = {name: value for name, value in body.items() if name not in known and value is not None}
    constraint_field = ""
    if (constraint := constraint_in(extra)) is not None:
        kind, value, constraint_field = constraint
        extra[STRUCTURED] = {kind: value}
        if kind == "json":
            check_schema_size(value, constraint_field)
    if extra:
        check_only_one(body.get("response_format"), extra, constraint_field)
    inert = {name: body[name] for name in INERT.intersection(body) if body[name] is not None}
    if "audio" in inert.get("modalities", ()):  # which the host brings about, not the engine
        del inert["modalities"]
    return {
        "model": body.get("model"),
        "extra": extra or NOTHING,
        "constraint_field": constraint_field,
        "inert": inert or NOTHING,
    }


def _generating(task: Task, body: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: body[name] for name in SAMPLING if body.get(name) is not None}
    stop, options = body.get("stop"), body.get("stream_options") or NOTHING
    return {
        **_shared(task, body),
        "sampling": Sampling(**given, stop=tuple(stop) if isinstance(stop, list) else stop),
        "n": body.get("n") or 1,
        "is_streamed": body.get("stream") is True,
        "include_usage": bool(options.get("include_usage")),
        "include_progress": bool(options.get("include_progress")),
        "continuous_usage": bool(options.get(CONTINUOUS_USAGE)),
        "lora": () if body.get("lora") is None else _lora(body["lora"]),
    }


def _lora(given: Any) -> tuple[SelectedAdapter, ...]:
    """Return the adapters of a request: one or a list, each a name or an object."""
    choices = []
    for each in given if isinstance(given, list) else [given]:
        adapter = SelectedAdapter(name=each) if isinstance(each, str) else SelectedAdapter(**each)
        if (adapter.name is None) == (adapter.id is None):
            raise InvalidRequest('lora: name each adapter by either "name" or "id".', param="lora")
        choices.append(adapter)
    return tuple(choices)


def _chat(body: Mapping[str, Any]) -> ChatRequest:
    made = _tools(body)
    choice, named, allowed = _tool_choice(body.get("tool_choice"))
    if named is not None or allowed is not None or (made and any(tool.input is not None for tool in made)):
        custom_tools.check(made or (), body.get("tool_choice"))
    shared = _generating("chat", body)
    output, shared["extra"] = _output(body.get("response_format"), shared["extra"])
    return ChatRequest(
        **shared,
        messages=messages_of(body["messages"]),
        logprobs=bool(body.get("logprobs")),
        top_logprobs=body.get("top_logprobs"),
        tools=made,
        tool_choice=choice,
        named_tool=named,
        allowed_tools=allowed,
        parallel_tool_calls=body.get("parallel_tool_calls"),
        output=output,
        mcp=mcp_options(body.get("mcp")),
        session_id=body.get("session_id"),
        audio=_audio(body),
    )


def _audio(body: Mapping[str, Any]) -> AudioOutput | None:
    """Return how the answer is to be spoken; raises InvalidRequest."""
    modalities, given = body.get("modalities") or (), body.get("audio")
    if "audio" not in modalities:
        if given is not None:
            raise InvalidRequest('audio: it needs "modalities": ["text", "audio"].', param="audio")
        return None
    if "text" not in modalities:
        raise InvalidRequest('modalities: audio comes with its text: ["text", "audio"].', param="modalities")
    if given is None:
        raise InvalidRequest('audio: it is missing, such as {"voice": "...", "format": "mp3"}.', param="audio")
    if (body.get("n") or 1) > 1:
        raise InvalidRequest("n: an answer as audio has one choice.", param="n")
    if body.get("stream") and given["format"] != "pcm16":
        raise InvalidRequest("audio.format: a stream has pcm16.", param="audio.format")
    voice = given.get("voice")
    return AudioOutput(format=given["format"], voice=voice["id"] if isinstance(voice, Mapping) else voice)


def _tools(body: Mapping[str, Any]) -> tuple[Tool, ...] | None:
    """Return the tools of a request; ``None``: it says nothing of tools."""
    given = body.get("tools")
    if given is None:
        return None
    tools = tuple(map(tool_of, given))
    check_tool_names([(f"tools[{place}].{given[place]['type']}.name", tool.name) for place, tool in enumerate(tools)])
    return tools


def _tool_choice(given: Any) -> tuple[Any, str | None, frozenset[str] | None]:
    """Return the mode, the tool that has to be called, and the tools that may be called."""
    if given is None or not isinstance(given, Mapping):
        return given, None, None
    if given["type"] != "allowed_tools":
        return None, given[given["type"]]["name"], None
    allowed = given["allowed_tools"]
    return allowed["mode"], None, frozenset(tool[tool["type"]]["name"] for tool in allowed["tools"])


def _output(given: Mapping[str, Any] | None, more: Mapping[str, Any]) -> tuple[OutputFormat | None, Mapping[str, Any]]:
    """Return the format of the answer, and ``more`` without the vLLM field that it came from, if it did."""
    if STRUCTURED in more:
        ((kind, value),) = more[STRUCTURED].items()
        if (output := output_of(kind, value)) is not None:
            return output, {name: value for name, value in more.items() if name != STRUCTURED} or NOTHING
    if given is None:
        return None, more
    if (schema := given.get("schema")) is not None:
        return output_of("json", schema), more
    wrapper = given.get("json_schema") or {}
    extra = {name: value for name, value in wrapper.items() if name != "schema"}
    return OutputFormat(kind=given["type"], schema=wrapper.get("schema"), extra=extra or NOTHING), more


def mcp_options(given: Mapping[str, Any] | None) -> McpOptions | None:
    """Return the options in ``given``, the field ``mcp`` of a request, whose types are checked."""
    if given is None:
        return None
    servers, tools = given.get("servers"), given.get("tools")
    return McpOptions(
        resources=tuple(SelectedResource(**each) for each in given.get("resources") or ()),
        prompts=tuple(map(_selected_prompt, given.get("prompts") or ())),
        servers=None if servers is None else frozenset(servers),
        tools=None if tools is None else frozenset(tools),
        max_turns=given.get("max_turns"),
        approval=given.get("approval"),
    )


def _selected_prompt(given: Mapping[str, Any]) -> SelectedPrompt:
    return SelectedPrompt(server=given["server"], name=given["name"], arguments=given.get("arguments") or NOTHING)


def _completion(body: Mapping[str, Any]) -> CompletionRequest:
    shared = _generating("completions", body)
    if body.get("echo") is True and wants_json(shared["extra"]):
        raise InvalidRequest("echo: behind its prompt an answer cannot be JSON; leave one of them out.", param="echo")
    return CompletionRequest(
        **shared,
        prompts=_prompts(body["prompt"]),
        logprobs=body.get("logprobs"),
        echo=body.get("echo") is True,
        infill=Infill(suffix=suffix) if (suffix := body.get("suffix")) else None,
    )


def _infill(body: Mapping[str, Any]) -> CompletionRequest:
    most, wanted = body.get("n_predict"), body.get("response_fields")
    if most is not None and body.get("max_tokens") is not None:
        raise InvalidRequest("n_predict: it is another name of max_tokens; give one of them.", param="n_predict")
    known = {**body, "stop": body.get("stop") or None}
    if most is not None:
        known["max_tokens"] = most if most >= 0 else None
    return CompletionRequest(
        **_generating("infill", known),
        prompts=(body["input_prefix"],),
        infill=Infill(
            suffix=body["input_suffix"],
            begun=body.get("prompt") or "",
            files=tuple(body.get("input_extra") or ()),
            prompt_field="input_prefix",
            answer_fields=None if wanted is None else tuple(wanted),
        ),
    )


def _embeddings(body: Mapping[str, Any]) -> EmbeddingsRequest:
    given = body["input"]
    return EmbeddingsRequest(
        **_shared("embeddings", body),
        inputs=_prompts(given),
        is_single=not isinstance(given, list) or isinstance(given[0], int),
        encoding=body.get("encoding_format"),
        dimensions=body.get("dimensions"),
    )


def _prompts(given: Any) -> tuple[Prompt, ...]:
    if isinstance(given, str):
        return (given,)
    if isinstance(given[0], int):
        return (tuple(given),)
    return tuple(each if isinstance(each, str) else tuple(each) for each in given)


def _rerank(body: Mapping[str, Any]) -> RerankRequest:
    return RerankRequest(
        **_shared("rerank", body), query=body["query"], documents=tuple(body["documents"]), top_n=body.get("top_n")
    )


def _tokenize(body: Mapping[str, Any]) -> TokenizeRequest:
    given = [name for name in TOKENIZED if body.get(name) is not None]
    if len(given) != 1:
        message = 'Give either a text, as "content" or "prompt", or a conversation, as "messages".'
        raise InvalidRequest(message, param=given[1] if given else "content")
    special = body.get("add_special")
    return TokenizeRequest(
        **_shared("tokenize", body),
        content="" if given == ["messages"] else body[given[0]],
        chat=_conversation(body) if given == ["messages"] else None,
        add_special=body.get("add_special_tokens") if special is None else special,
        parse_special=body.get("parse_special"),
        token_strings=bool(body.get("return_token_strs")),
    )


def _conversation(body: Mapping[str, Any]) -> ChatRequest:
    """Return the conversation to be tokenized as a chat request."""
    extra = {name: body[name] for name in _CONVERSATION_FIELDS if body.get(name) is not None}
    if extra.get("continue_final_message") and extra.get("add_generation_prompt"):
        message = "continue_final_message: the last message is gone on with, or a new one begun; not both."
        raise InvalidRequest(message, param="continue_final_message")
    if special := next((name for name in _TEXT_FIELDS if body.get(name)), None) or _is_literal(body):
        raise InvalidRequest(f"{special}: of messages, the chat template says where special tokens are.", param=special)
    messages = messages_of(body["messages"])
    return ChatRequest(messages=messages, tools=_tools(body), extra=extra or NOTHING)


def _is_literal(body: Mapping[str, Any]) -> str:
    return "parse_special" if body.get("parse_special") is False else ""


def _detokenize(body: Mapping[str, Any]) -> DetokenizeRequest:
    return DetokenizeRequest(**_shared("detokenize", body), tokens=tuple(body["tokens"]))


def _speech(body: Mapping[str, Any]) -> SpeechRequest:
    voice = body.get("voice")
    speed = body.get("speed")
    return SpeechRequest(
        **_shared("speech", body),
        input=body["input"],
        voice=voice["id"] if isinstance(voice, dict) else voice,
        format=body.get("response_format") or "mp3",
        speed=1.0 if speed is None else speed,
        seed=body.get("seed"),
        is_event_stream=body.get("stream_format") == "sse",
    )


_READERS: Final[Mapping[Task, Callable[[Mapping[str, Any]], AnyRequest]]] = {
    "chat": _chat,
    "completions": _completion,
    "infill": _infill,
    "embeddings": _embeddings,
    "rerank": _rerank,
    "tokenize": _tokenize,
    "detokenize": _detokenize,
    "speech": _speech,
}
