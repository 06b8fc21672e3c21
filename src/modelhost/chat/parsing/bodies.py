"""What a request may hold, as OpenAI defines it, checked before any engine sees it.

What ordinary clients send (openai, LangChain, the Vercel AI SDK, Open WebUI, Continue, Crush), and what becomes of it:

* honoured: the fields of the models below, and those that the engine lists for itself (``top_k``, ``min_p``,
  ``repetition_penalty``, ``chat_template_kwargs``, ``reasoning_effort``, ``grammar`` ...).
* the host's own, which never reach an engine: ``mcp`` chooses among its tools (:class:`ToolWishes`); ``session_id``
  names a conversation that the host keeps (:mod:`modelhost.chat.sessions`).
* inert (``INERT``): accepted and go no further, since they do not ask for another answer: ``user``, ``metadata``,
  ``store``, ``service_tier``, ``safety_identifier``, ``prompt_cache_key``, ``prompt_cache_retention``,
  ``prediction``, ``verbosity``; ``modalities`` if it asks for text, ``best_of`` if it is ``n``.
* refused with 400: whatever stands in neither list. ``REPLACEMENTS`` names what to send in place of what is common
  elsewhere: the deprecated ``functions`` and ``function_call``, other servers' ``max_new_tokens``,
  ``think`` ...

Nothing is ignored in silence.
Source: https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Set
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict
from pydantic_core import ErrorDetails

from modelhost.chat.parsing.fields import Piece, ToolWishes, WantedAdapter
from modelhost.chat.parsing.tools import TAGS, OneCall, OneTool, ToolChoice
from modelhost.chat.structured_output import STRUCTURED
from modelhost.config.literals import No, One
from modelhost.config.request_defaults import HIGHEST_TEMPERATURE, LARGEST_COUNT, Seed
from modelhost.config.session_ids import NewSessionId
from modelhost.engines import ENGINES, TRAITS
from modelhost.engines.base import Engine
from modelhost.engines.installed import serves
from modelhost.engines.schemas.limits import check_size
from modelhost.engines.schemas.references import UnusableSchema
from modelhost.errors import InvalidRequest, UnsupportedParameter
from modelhost.exchange.requests import AnyRequest
from modelhost.exchange.tasks import Task

MAX_BATCH: Final = 2048  # as many texts as OpenAI's API takes at once
FIELDS: Final[Mapping[Task, str]] = {"completions": "prompt", "embeddings": "input", "rerank": "documents"}
"""Where the list of them stands."""


def check_batch_size(task: Task, body: Mapping[str, Any]) -> None:
    """Check that ``body``, whose types are checked, asks for no more; raises InvalidRequest."""
    name = FIELDS.get(task)
    given = None if name is None else body[name]
    if not isinstance(given, list) or isinstance(given[0], int):  # one text, or the tokens of one
        return
    times = (body.get("n") or 1) if task == "completions" else 1
    if len(given) * times > MAX_BATCH:
        product = f", each with an n of {times}, make {len(given) * times}" if times > 1 else ""
        raise InvalidRequest(
            f"{name}: {len(given)} entries{product}; a request may ask for {MAX_BATCH} at most. Split it into several "
            "requests.",
            param=name,
        )


MAX_CHOICES = 64

Stop = Piece | Annotated[list[Piece], Field(max_length=16)] | None
Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
Token = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Tokens = Annotated[list[Token], Field(min_length=1)]
Number = float  # whole ones are taken too
TokenId = Annotated[str, Field(pattern=r"^\d{1,9}$")]


class _Request(BaseModel):
    # Strict: "0.5" is not a number. Extra fields are the engine's business and are checked against its list.
    model_config = ConfigDict(extra="allow", strict=True, frozen=True, defer_build=True)

    model: str | None = None
    user: str | None = None


_LISTED: JsonDict = {"maxItems": MAX_BATCH}
Texts = Annotated[list[str], Field(min_length=1, json_schema_extra=_LISTED)]
Prompts = str | Texts | Tokens | Annotated[list[Tokens], Field(min_length=1, json_schema_extra=_LISTED)]


class TextPart(BaseModel):
    """A piece of text in a message whose content is a list of parts."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)
    type: Literal["text"]
    text: str


class RefusalPart(BaseModel):
    """A piece of an earlier answer in which the model refused."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)
    type: Literal["refusal"]
    refusal: str


class MediaPart(BaseModel):
    """A piece that is no text; only models that can see or hear take it."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)
    type: Literal["image_url", "input_audio", "file"]


class Message(BaseModel):
    """One message of the conversation."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Annotated[TextPart | RefusalPart | MediaPart, Field(discriminator="type")]] | None = None
    name: str | None = None
    tool_calls: list[OneCall] | None = None
    tool_call_id: str | None = None


class StreamOptions(BaseModel):
    """What a stream carries besides the answer."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)
    include_usage: bool | None = None
    include_progress: bool | None = None
    """Of the wait for a model: extension of this host."""
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None


class JsonSchema(BaseModel):
    """A named JSON schema that the answer has to follow."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)
    name: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


_WITH_ITS_SCHEMA: JsonDict = {
    "anyOf": [
        {"properties": {"type": {"enum": ["text", "json_object"]}}},
        {"properties": {"json_schema": {"type": "object"}}, "required": ["json_schema"]},
    ]
}


class ResponseFormat(BaseModel):
    """Text, any JSON object, or JSON of a given schema."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True, json_schema_extra=_WITH_ITS_SCHEMA)
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema_: dict[str, Any] | None = Field(
        default=None,
        alias="schema",
        description="Of a `json_object`: the schema it has to follow, as llama.cpp has it.",
    )


class _Generation(_Request):
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    temperature: Annotated[Number, Field(ge=0, le=HIGHEST_TEMPERATURE)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=LARGEST_COUNT)] | None = None
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stop: Stop = None
    seed: Seed | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[TokenId, Annotated[Number, Field(ge=-100, le=100)]] | None = None
    lora: Piece | WantedAdapter | list[Piece | WantedAdapter] | None = Field(
        default=None, description="The LoRA adapters of the model that the answer is to have, by their names."
    )


_TOP_OF_LOGPROBS: JsonDict = {
    "anyOf": [
        {"properties": {"top_logprobs": {"type": "null"}}},
        {"properties": {"logprobs": {"const": True}}, "required": ["logprobs"]},
    ]
}


class ChatRequest(_Generation):
    """``POST /v1/chat/completions``."""

    model_config = ConfigDict(json_schema_extra=_TOP_OF_LOGPROBS)

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: list[OneTool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    modalities: list[Literal["text"]] | None = None
    prediction: dict[str, Any] | None = None
    verbosity: str | None = None
    mcp: ToolWishes | None = None
    session_id: NewSessionId | None = Field(
        default=None, description="The conversation, kept by the host, that the messages go on with."
    )


_OF_ECHO: JsonDict = {
    "anyOf": [
        {"properties": {"max_tokens": {"exclusiveMinimum": 0}, "echo": {"enum": [False, None]}}},
        {"properties": {"echo": {"const": True}, "suffix": {"enum": ["", None]}}, "required": ["echo"]},
    ]
}


class CompletionRequest(_Generation):
    """``POST /v1/completions``."""

    model_config = ConfigDict(json_schema_extra=_OF_ECHO)

    prompt: Prompts
    max_tokens: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = Field(default=None, description="What is to come after the text that is written.")
    best_of: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None


class InfillFile(BaseModel):
    """A file that the text to be filled in may refer to."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)
    filename: str | None = None
    text: str


_ONE_LIMIT: JsonDict = {
    "anyOf": [{"properties": {name: {"type": "null"}}} for name in ("n_predict", "max_tokens")],
}


class InfillRequest(_Generation):
    """``POST /infill``, which is llama.cpp's."""

    model_config = ConfigDict(json_schema_extra=_ONE_LIMIT)

    input_prefix: str
    input_suffix: str
    input_extra: list[InfillFile] | None = None
    prompt: str | None = Field(default=None, description="What the text to be filled in begins with.")
    n_predict: Annotated[int, Field(ge=-1, le=LARGEST_COUNT)] | None = None
    stop: Stop | list[Piece] = None
    n: One | None = None
    stream: No | None = False
    response_fields: list[Piece] | None = Field(
        default=None, description="What is wanted of the answer; `a/b` is the b of a."
    )


class EmbeddingsRequest(_Request):
    """``POST /v1/embeddings``."""

    input: Prompts
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None


class RerankRequest(_Request):
    """``POST /v1/rerank``."""

    query: str
    documents: Texts
    top_n: Count | None = None


TOKENIZED: Final = {"content": "string", "prompt": "string", "messages": "array"}
"""What ``/tokenize`` takes one of, and its type."""


def _only(name: str) -> JsonDict:
    """Return the schema of an object in which ``name`` stands, and none of the others does."""
    kinds = {each: {"type": TOKENIZED[each] if each == name else "null"} for each in TOKENIZED}
    return {"required": [name], "properties": dict[str, Any](kinds)}


class TokenizeRequest(_Request):
    """``POST /tokenize``: llama.cpp's ``content``, or vLLM's ``prompt`` or ``messages``."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [*map(_only, TOKENIZED)]})

    content: str | None = None
    prompt: str | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    tools: list[OneTool] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_special: bool | None = None
    add_special_tokens: bool | None = None
    parse_special: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(_Request):
    """``POST /detokenize``."""

    tokens: list[Token]


MODELS: Mapping[Task, type[_Request]] = {
    "chat": ChatRequest,
    "completions": CompletionRequest,
    "infill": InfillRequest,
    "embeddings": EmbeddingsRequest,
    "rerank": RerankRequest,
    "tokenize": TokenizeRequest,
    "detokenize": DetokenizeRequest,
}
# Accepted because clients send them as a matter of course; they change nothing about the answer.
INERT = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "modalities",
        "prediction",
        "verbosity",
        "best_of",
    }
)
# Refused, with what to send instead.
REPLACEMENTS: Mapping[str, str] = {
    "functions": "tools",
    "function_call": "tool_choice",
    "max_new_tokens": "max_tokens",
    "n_predict": "max_tokens",
    "num_predict": "max_tokens",
    "think": "chat_template_kwargs",
    "thinking": "chat_template_kwargs",
    "enable_thinking": "chat_template_kwargs",
    "system": "messages",
}


def validate(task: Task, body: Any) -> None:
    """Check types and ranges of ``body``.

    Raises:
        InvalidRequest: with ``param`` naming the first field that is wrong.
    """
    if not isinstance(body, dict):
        raise InvalidRequest("The body has to be a JSON object.")
    try:
        MODELS[task].model_validate(body)
    except ValidationError as error:
        raise _explain(error) from None
    check_batch_size(task, body)
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise InvalidRequest('top_logprobs: it needs "logprobs": true.', param="top_logprobs")
    if task == "completions" and body.get("best_of") not in (None, body.get("n") or 1):
        raise InvalidRequest("best_of: all choices are returned, so that it has to be the same as n.", param="best_of")
    if task == "completions" and body.get("max_tokens") == 0 and not body.get("echo"):
        raise InvalidRequest('max_tokens: at 0 nothing is written; that needs "echo": true.', param="max_tokens")
    if task == "completions" and body.get("echo") and body.get("suffix"):
        raise InvalidRequest("echo: it cannot be given together with suffix.", param="echo")
    shape = body.get("response_format") if task == "chat" else None
    if shape and shape["type"] == "json_schema" and not shape.get("json_schema"):
        raise InvalidRequest("response_format.json_schema: the schema is missing.", param="response_format.json_schema")
    if shape and shape["type"] != "json_object" and shape.get("schema"):
        raise InvalidRequest(
            'response_format.schema: it belongs to "json_object"; that of "json_schema" stands in json_schema.schema.',
            param="response_format.schema",
        )
    for param, schema in _schemas(task, body):
        check_schema_size(schema, param)


def check_schema_size(schema: Mapping[str, Any], param: str) -> None:
    """Check that a schema does not expand to more than engines can hold; raises InvalidRequest."""
    try:
        check_size(schema)
    except UnusableSchema as error:
        raise InvalidRequest(
            f"{param}: the schema cannot be used: {error.reason}. Make it simpler, or split it into several requests.",
            param=param,
        ) from None


def _schemas(task: Task, body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the JSON schemas of a checked request, with where they stand."""
    known = MODELS[task].model_fields
    if "response_format" in known and (shape := body.get("response_format")):
        if shape.get("json_schema"):
            yield "response_format.json_schema.schema", shape["json_schema"]["schema"]
        if shape.get("schema"):
            yield "response_format.schema", shape["schema"]
    if isinstance(body.get("json_schema"), dict):
        yield "json_schema", body["json_schema"]
    for place, tool in enumerate((body.get("tools") or ()) if "tools" in known else ()):
        if tool["type"] == "function" and tool["function"].get("parameters"):
            yield f"tools[{place}].function.parameters", tool["function"]["parameters"]


def check_fields(task: Task, request: AnyRequest, engine: Engine) -> None:
    """Check that each field of ``request`` that OpenAI's API does not have means something to ``engine``.

    Raises:
        UnsupportedParameter: naming the field, with the closest known one.
    """
    if not request.extra:
        return
    of_engine = engine.fields(task)
    for name in request.extra:
        if name not in of_engine:
            sent = _as_sent(name, request)
            hint = _way_out(task, name, sent, MODELS[task].model_fields.keys() | of_engine)
            raise UnsupportedParameter(
                f'The field "{sent}" is not supported by {engine.name} for {task}.{hint}', param=sent
            )


def _way_out(task: Task, name: str, sent: str, known: Set[str]) -> str:
    """Return what to do in the place of the field ``name``, which the client has written as ``sent``."""
    if sent in REPLACEMENTS:
        return f' Use "{REPLACEMENTS[sent]}".'
    having = [each for each in TRAITS if serves(each, "files") and name in ENGINES[each].fields(task)]
    if having:
        return f" Engines that have it: {', '.join(having)}."
    close = difflib.get_close_matches(sent, known, n=1)
    return f' Did you mean "{close[0]}"?' if close else ""


def _as_sent(name: str, request: AnyRequest) -> str:
    """Return how the client has written the field ``name``."""
    return request.constraint_field.partition(".")[0] if name == STRUCTURED else name


def _explain(error: ValidationError) -> InvalidRequest:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    # Of a union, each branch says what it would have taken; the one that got furthest knows best where it went wrong.
    told = [_told(each) for each in found if each["loc"][:1] == found[0]["loc"][:1]]
    param = max((place for place, _ in told), key=len)
    reasons = dict.fromkeys(reason for place, reason in told if place == param)
    return InvalidRequest(f"{param or 'body'}: {'; or: '.join(reasons)}.", param=param or None)


def _told(found: ErrorDetails) -> tuple[str, str]:
    """Return where something is wrong, and what."""
    place = _param(found["loc"])
    if found["type"] == "union_tag_not_found":  # in words about tags
        return f"{place}.type", "Field required"
    return place, found["msg"]


def _param(location: tuple[int | str, ...]) -> str:
    """Return the path of keys and positions that the caller wrote: of a union pydantic names the branches too."""
    path = [
        part
        for place, part in enumerate(location)
        if isinstance(part, int) or (part.isidentifier() and part not in _BRANCHES and location[:place][:-1] != _TOOLS)
    ]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


_TOOLS = ("tools",)  # with the place of one behind it, what comes next names the branch: fields are called like those
_BRANCHES = frozenset(
    {
        *("str", "int", "float", "text", "refusal", "image_url", "input_audio", "file", "ToolMode", "WantedAdapter"),
        *TAGS.values(),
    }
)
