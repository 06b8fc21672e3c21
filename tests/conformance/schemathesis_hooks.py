"""What schemathesis has to know of the host; loaded by it, in an environment of its own.

``docs/conformance.md`` says why each refusal of :data:`RIGHT_REFUSALS` is right.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure, ServerError
from schemathesis.openapi.checks import AllowHeaderMismatch, EnsureResourceAvailability, RejectedPositiveData

RESPONSES: Final = ("/v1/responses", "/v1/responses/input_tokens", "/v1/responses/compact")
CONTENTS: Final = (
    ("invalid_request", "this host stores no files"),
    ("invalid_request", "the file is missing"),
    ("invalid_request", "the image is missing"),
    ("invalid_request", "it is not text in UTF-8"),
    ("invalid_request", "a message of the model has text only"),
    ("invalid_request", "engines fetch nothing"),
    ("fetch_refused", "the host fetches no images and no documents"),
)
"""Code and words of errors about images and files in messages."""
TOOLS: Final = (
    "cannot be used. #",
    "has a Lark grammar",
    "is no regular expression",
    "another tool is called",
)
"""Words of errors about tools."""
HEARING: Final = ("/v1/chat/completions", "/tokenize")
"""Paths of requests that may contain sound."""
MEDIA: Final = ("takes no images, as it is served", "takes no sound, as it is served")
WITH_MCP: Final = ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat")
RIGHT_REFUSALS: Final = (
    *((path, "invalid_request", '"mcp" cannot be combined with any of') for path in WITH_MCP),
    *((path, code, words) for path in RESPONSES for code, words in CONTENTS),
    *(("/tokenize", "invalid_request", words) for words in (*TOOLS, "only text can be tokenized")),
    *((path, "unsupported_operation", words) for path in HEARING for words in MEDIA),
    *(("/tokenize", code, words) for code, words in CONTENTS[-2:]),
    ("/detokenize", "invalid_request", "numbers that /tokenize has given"),
    ("/tokenize", "invalid_request", "another tool is called"),
    ("/infill", "unsupported_parameter", "cannot fill in text before other text"),
    ("/v1/audio/speech", "nothing_to_speak", "neither letters nor digits"),
    ("/v1/audio/speech", "invalid_request", "there is no"),
    *(
        (path, code, words)
        for path in ("/v1/audio/transcriptions", "/v1/audio/translations")
        for code, words in (
            ("invalid_audio", "its format is unknown"),
            ("invalid_audio", "it is empty"),
            ("invalid_request", "a stream has text only"),
            ("invalid_request", "words have times in verbose_json only"),
        )
    ),
    *(
        (path, code, words)
        for path in ("/v1/images/generations", "/v1/images/edits")
        for code, words in (
            ("invalid_image", "it is no PNG, JPEG or WebP"),
            ("invalid_image", "it is not valid base64"),
            ("invalid_image", "the data URL is not in base64"),
            ("invalid_request", "it is missing"),
            ("invalid_request", "edit one image at a time"),
            ("invalid_request", "a stream has b64_json only"),
            ("invalid_request", "sent in a stream only"),
            ("invalid_request", "png loses nothing"),
            ("invalid_request", "images whose sides are multiples of"),
        )
    ),
    ("/v1/images/variations", "unsupported_operation", "Variations are not supported"),
    ("/v1/images/files/{name}", "not_found", "There is no such image"),
    ("/v1/chat/completions", "invalid_request", "name different sessions"),
    ("/v1/chat/completions", "invalid_request", "nothing here is new to the session"),
    ("/v1/chat/completions", "invalid_request", "tool_choice requires a call, but the request has no tools"),
    ("/v1/chat/completions", "invalid_request", "which is none of the tools"),
    ("/v1/chat/completions", "invalid_request", "which is none of the custom tools"),
    ("/v1/chat/completions", "invalid_request", "which is a custom tool"),
    ("/v1/chat/completions", "invalid_request", "another tool is called"),
    ("/v1/chat/completions", "invalid_request", "is no regular expression"),
    ("/v1/chat/completions", "invalid_request", "has a Lark grammar"),
    ("/v1/chat/completions", "invalid_request", "cannot be used. #"),
    ("/v1/chat/completions", "unsupported_operation", "this host speaks no answers"),
    ("/v1/chat/completions", "invalid_request", 'it needs "modalities"'),
    ("/v1/chat/completions", "invalid_request", "audio comes with its text"),
    ("/v1/chat/completions", "invalid_request", "audio: it is missing"),
    ("/v1/chat/completions", "invalid_request", "an answer as audio has one choice"),
    ("/v1/chat/completions", "invalid_request", "a stream has pcm16"),
    ("/v1/chat/completions", "invalid_request", "there is no such audio"),
    ("/v1/completions", "invalid_request", "the scripted engine answers one prompt per request"),
    ("/v1/completions", "invalid_request", "it has to be the same as n"),
    ("/v1/completions", "invalid_request", "numbers that /tokenize has given"),
    ("/v1/completions", "unsupported_parameter", "cannot tell how likely the tokens of a prompt are"),
    ("/v1/embeddings", "unsupported_parameter", "numbers, no more and no fewer"),
    ("/v1/embeddings", "invalid_request", "there is no vector of nothing"),
    ("/v1/embeddings", "invalid_request", "'input' has to be text, or a list of texts"),
    ("/v1/messages", "invalid_request", "name different sessions"),
    ("/v1/messages", "invalid_request", "nothing here is new to the session"),
    ("/v1/messages", "invalid_request", "this host did not write it"),
    ("/v1/messages", "invalid_request", "cannot have a block of type"),
    ("/v1/messages", "invalid_request", "there is no answer that could be stored"),
    ("/v1/messages", "invalid_request", "this host stores no files"),
    ("/v1/messages", "fetch_refused", "the host fetches no images and no documents"),
    ("/v1/messages", "invalid_request", "engines fetch nothing"),
    ("/v1/messages", "invalid_request", "models get the text of a document only"),
    ("/v1/messages", "invalid_request", "it is not text in UTF-8"),
    ("/v1/messages", "invalid_request", "give either mcp or mcp_servers"),
    ("/v1/messages", "invalid_request", "is none of the MCP servers"),
    ("/v1/messages", "invalid_request", "mcp_servers has no server of this name"),
    ("/v1/messages", "fetch_refused", "the host connects to no MCP servers but those of its own"),
    ("/v1/messages", "invalid_request", "another tool is called"),
    ("/v1/messages", "invalid_request", "tool_choice requires a call, but the request has no tools"),
    ("/v1/messages", "invalid_request", "which is none of the tools"),
    ("/v1/messages", "invalid_request", "cannot be used. #"),
    ("/v1/messages", "unsupported_operation", "takes no images, as it is served"),
    ("/v1/messages/count_tokens", "unsupported_operation", "takes no images, as it is served"),
    ("/v1/messages/count_tokens", "invalid_request", "this host did not write it"),
    ("/v1/messages/count_tokens", "invalid_request", "cannot have a block of type"),
    ("/v1/messages/count_tokens", "invalid_request", "this host stores no files"),
    ("/v1/messages/count_tokens", "fetch_refused", "the host fetches no images and no documents"),
    ("/v1/messages/count_tokens", "invalid_request", "models get the text of a document only"),
    ("/v1/messages/count_tokens", "invalid_request", "it is not text in UTF-8"),
    ("/v1/messages/count_tokens", "invalid_request", "another tool is called"),
    ("/v1/responses", "invalid_request", "one of input, instructions, previous_response_id and conversation"),
    ("/v1/responses", "invalid_request", "give either a conversation or previous_response_id"),
    ("/v1/responses", "invalid_request", "give either a session, a conversation or previous_response_id"),
    ("/v1/responses", "invalid_request", "give either mcp or tools of type mcp"),
    ("/v1/responses", "invalid_request", "name different sessions"),
    ("/v1/responses", "invalid_request", "nothing here is new to the session"),
    ("/v1/responses", "invalid_request", "this host stores no prompts"),
    ("/v1/responses", "invalid_request", "has to be stored; leave out store"),
    ("/v1/responses", "invalid_request", "text.format.schema: the schema is missing"),
    ("/v1/responses", "invalid_request", "another tool is called"),
    ("/v1/responses", "invalid_request", "tool_choice asks for a call, but the request brings no tools"),
    ("/v1/responses", "invalid_request", "which is none of the tools"),
    ("/v1/responses", "invalid_request", "which is none of the custom tools"),
    ("/v1/responses", "invalid_request", "which is a custom tool"),
    ("/v1/responses", "invalid_request", "is none of the MCP servers"),
    ("/v1/responses", "invalid_request", "cannot be used. #"),
    *(
        (path, "invalid_request", words)
        for path in ("/v1/responses", "/v1/responses/input_tokens", "/v1/responses/compact")
        for words in ("another tool has the label", "connectors are servers of OpenAI")
    ),
    ("/v1/responses", "invalid_encrypted_content", "encrypted_content: "),
    ("/v1/responses", "unsupported_operation", "takes no images, as it is served"),
    ("/v1/responses/input_tokens", "invalid_request", "another tool is called"),
    ("/v1/responses/input_tokens", "invalid_encrypted_content", "encrypted_content: "),
    ("/v1/responses/input_tokens", "unsupported_operation", "takes no images, as it is served"),
    ("/v1/responses/compact", "invalid_request", "there is nothing to compact"),
    ("/v1/responses/compact", "invalid_encrypted_content", "encrypted_content: "),
    ("/v1/responses/compact", "unsupported_operation", "takes no images, as it is served"),
    ("/v1/responses/{response_id}", "invalid_request", "The events of"),
    ("/v1/responses/{response_id}/cancel", "invalid_request", "can be cancelled, and"),
    ("/v1/responses/{response_id}/input_items", "invalid_request", "after: there is no item"),
    ("/v1/conversations", "invalid_request", "the id of an item is text of"),
    ("/v1/conversations/{conversation_id}/items", "invalid_request", "the id of an item is text of"),
    ("/v1/conversations", "invalid_request", "another item has this id"),
    ("/v1/conversations/{conversation_id}/items", "invalid_request", "another item has this id"),
    ("/v1/conversations/{conversation_id}/items", "not_found", "there is no item"),
    ("/v1/monitor/metrics", "invalid_request", "history reaches back"),
    ("/v1/monitor/gpus", "invalid_request", "there is no GPU"),
    ("/api/chat", "invalid_request", "name different sessions"),
    ("/api/chat", "invalid_request", "nothing here is new to the session"),
    ("/api/chat", "invalid_request", 'Give either "tools", which you run yourself, or "mcp"'),
    ("/api/chat", "invalid_request", "tool_choice requires a call, but the request has no tools"),
    ("/api/chat", "invalid_request", "which is none of the tools"),
    ("/api/chat", "invalid_request", "cannot be used. #"),
    ("/api/chat", "invalid_request", "it has to be a number of seconds, or a duration"),
    ("/api/chat", "invalid_request", "name of a model is missing"),
    ("/api/chat", "unsupported_operation", "takes no images, as it is served"),
    ("/api/generate", "invalid_request", "it has to be a number of seconds, or a duration"),
    ("/api/generate", "invalid_request", "name of a model is missing"),
    ("/api/generate", "invalid_request", "a raw prompt is complete"),
    ("/api/generate", "invalid_request", "cannot be used. #"),
    ("/api/generate", "unsupported_operation", "takes no images, as it is served"),
    ("/api/generate", "unsupported_parameter", "cannot fill in text before other text"),
    ("/api/embed", "invalid_request", "there is no vector of nothing"),
    ("/api/embed", "invalid_request", "it has to be a number of seconds, or a duration"),
    ("/api/embed", "invalid_request", "name of a model is missing"),
    ("/api/embeddings", "invalid_request", "it has to be a number of seconds, or a duration"),
    ("/api/embeddings", "invalid_request", "name of a model is missing"),
    ("/api/show", "invalid_request", "name of a model is missing"),
    ("/api/pull", "invalid_request", "name of a model is missing"),
    ("/api/pull", "download_failed", "could not be downloaded"),
    ("/api/delete", "invalid_request", "name of a model is missing"),
    ("/api/delete", "invalid_request", "clients cannot delete it"),
    ("/api/copy", "invalid_request", "name of a model is missing"),
    ("/api/copy", "invalid_request", "is no name for a model"),
    ("/api/create", "invalid_request", "name of a model is missing"),
    ("/api/create", "invalid_request", "is no name for a model"),
    ("/api/create", "invalid_request", "A model is made of another one or of uploaded files"),
    ("/api/create", "invalid_request", "this host reads templates in Jinja"),
    ("/api/create", "invalid_request", "does not compile"),
    ("/api/create", "invalid_request", "Write the template without it"),
    ("/api/create", "invalid_request", "can never fit into the context"),
    ("/api/create", "invalid_request", "is no GGUF file"),
    ("/api/create", "unsupported_parameter", "this host does not quantize"),
    ("/api/create", "unsupported_parameter", "a Modelfile is sent as fields"),
    ("/api/create", "download_failed", "could not be downloaded"),
    ("/api/blobs/{digest}", "invalid_request", "that arrived have the digest"),
    ("/v1/models/load", "invalid_request", "name the configuration that is to stay"),
    ("/v1/models/load", "unsupported_parameter", "cannot honour"),
    ("/v1/models/load", "download_failed", "could not be downloaded"),
    ("/v1/models/pull", "invalid_request", "is no hub id"),
    ("/v1/models/pull", "download_failed", "could not be downloaded"),
    ("/v1/mcp/prompts/get", "tool_call_failed", "answered with the error"),
    ("/v1/mcp/resources/read", "tool_call_failed", "answered with the error"),
)
"""Path, code and words of errors that valid requests get."""
LIVENESS: Final = "/health"
"""The probe of liveness, which no query makes fail."""
LENIENT: Final = ("Anthropic", "Ollama", "Responses")
"""The beginnings of the schemas of requests whose unknown fields are ignored."""
SSE: Final = "text/event-stream"
EVENT: Final = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
NDJSON: Final = "application/x-ndjson"


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """Say what a document of OpenAPI 3.1 cannot: what each event or line is, and which fields engines take."""
    for name, model in raw_schema["components"]["schemas"].items():
        if name.endswith("Request") and not name.startswith(LENIENT):
            model["additionalProperties"] = False
    for described in (each for methods in raw_schema["paths"].values() for each in methods.values()):
        for answer in described["responses"].values():
            if SSE in answer.get("content", {}):
                answer["content"][SSE] = {"itemSchema": EVENT}
            if NDJSON in answer.get("content", {}):
                answer["content"][NDJSON] = {"itemSchema": answer["content"][NDJSON]["schema"]}


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Write whole numbers without a fraction: to JSON Schema 2.0 is an integer, to OpenAI's API it is none."""
    if isinstance(body, dict):
        return {name: map_body(context, value) for name, value in body.items()}
    if isinstance(body, list):
        return [map_body(context, value) for value in body]
    return int(body) if isinstance(body, float) and body.is_integer() else body


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext, failure: Failure, case: schemathesis.Case, response: schemathesis.Response
) -> bool:
    """Say of a finding whether it is one."""
    if isinstance(failure, RejectedPositiveData | ServerError | EnsureResourceAvailability):
        return not is_right_refusal(case.operation.path, response)
    if isinstance(failure, AcceptedNegativeData):
        return case.operation.path != LIVENESS
    if isinstance(failure, AllowHeaderMismatch):
        return bool(failure.missing_methods) or not _are_of_templates(failure.undocumented_methods, case.operation)
    return True


def is_right_refusal(path: str, response: schemathesis.Response) -> bool:
    """Whether ``response`` is one of those that nobody could foresee from the description."""
    try:
        answer = json.loads(response.content)
        error = answer["error"]
    except (ValueError, KeyError):
        return False
    if isinstance(error, str):  # Ollama's format
        error = {"message": error, "code": answer["code"]}
    return any(
        (path, error["code"]) == (refused, code) and words in error["message"]
        for refused, code, words in RIGHT_REFUSALS
    )


def _are_of_templates(methods: list[str], operation: schemathesis.APIOperation) -> bool:
    """Whether ``methods`` are those of a path with parameters that the path of ``operation`` is an instance of.

    Where HEAD is described alone, the host takes GET as well.
    """
    known = {
        method.upper()
        for path, described in operation.schema.raw_schema["paths"].items()
        if "{" in path and re.fullmatch(re.sub(r"\{\w+\}", ".+", path), operation.path)
        for method in (*described, *(("get",) if "head" in described else ()))
    }
    return set(methods) <= known
