"""What schemathesis has to know of the host; loaded by it, in an environment of its own.

``docs/conformance.md`` says why each refusal of :data:`RIGHT_REFUSALS` is right.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import schemathesis
from schemathesis.core.failures import Failure, ServerError
from schemathesis.openapi.checks import AllowHeaderMismatch, RejectedPositiveData

RIGHT_REFUSALS: Final = (
    ("/detokenize", "invalid_request", "numbers that /tokenize has given"),
    ("/v1/chat/completions", "invalid_request", "name different sessions"),
    ("/v1/chat/completions", "invalid_request", "nothing here is new to the session"),
    ("/v1/chat/completions", "invalid_request", '"mcp" cannot be combined with any of'),
    ("/v1/chat/completions", "invalid_request", 'Give either "tools", which you run yourself, or "mcp"'),
    ("/v1/chat/completions", "invalid_request", "tool_choice asks for a call, but the request brings no tools"),
    ("/v1/chat/completions", "invalid_request", "which is none of the tools"),
    ("/v1/chat/completions", "invalid_request", "which is none of the custom tools"),
    ("/v1/chat/completions", "invalid_request", "which is a custom tool"),
    ("/v1/chat/completions", "invalid_request", "another tool is called"),
    ("/v1/chat/completions", "invalid_request", "is no regular expression"),
    ("/v1/chat/completions", "invalid_request", "has a Lark grammar"),
    ("/v1/chat/completions", "invalid_request", "cannot be used. #"),
    ("/v1/chat/completions", "unsupported_operation", "takes no images, as it is served"),
    ("/v1/completions", "invalid_request", "the scripted engine answers one prompt per request"),
    ("/v1/completions", "invalid_request", "it has to be the same as n"),
    ("/v1/embeddings", "unsupported_parameter", "numbers, no more and no fewer"),
    ("/v1/embeddings", "invalid_request", "'input' has to be text, or a list of texts"),
    ("/v1/messages", "invalid_request", "name different sessions"),
    ("/v1/messages", "invalid_request", "nothing here is new to the session"),
    ("/v1/messages", "invalid_request", "this host did not write this thinking block"),
    ("/v1/messages", "invalid_request", "cannot have a block of type"),
    ("/v1/messages", "invalid_request", "this host stores no files"),
    ("/v1/messages", "invalid_request", "models get the text of a document only"),
    ("/v1/messages", "invalid_request", "it is not text in UTF-8"),
    ("/v1/messages", "invalid_request", "give either mcp or mcp_servers"),
    ("/v1/messages", "invalid_request", "is none of the MCP servers"),
    ("/v1/messages", "invalid_request", "cannot be combined with tools that you run"),
    ("/v1/messages", "invalid_request", "another tool is called"),
    ("/v1/messages", "invalid_request", 'Give either "tools", which you run yourself, or "mcp"'),
    ("/v1/messages", "invalid_request", "tool_choice asks for a call, but the request brings no tools"),
    ("/v1/messages", "invalid_request", "which is none of the tools"),
    ("/v1/messages", "invalid_request", "cannot be used. #"),
    ("/v1/messages", "unsupported_operation", "takes no images, as it is served"),
    ("/v1/messages/count_tokens", "invalid_request", "this host did not write this thinking block"),
    ("/v1/messages/count_tokens", "invalid_request", "cannot have a block of type"),
    ("/v1/messages/count_tokens", "invalid_request", "this host stores no files"),
    ("/v1/messages/count_tokens", "invalid_request", "models get the text of a document only"),
    ("/v1/messages/count_tokens", "invalid_request", "it is not text in UTF-8"),
    ("/v1/messages/count_tokens", "invalid_request", "another tool is called"),
    ("/v1/models/load", "unsupported_parameter", "cannot honour"),
    ("/v1/models/load", "download_failed", "could not be downloaded"),
    ("/v1/models/pull", "invalid_request", "is no hub id"),
    ("/v1/models/pull", "download_failed", "could not be downloaded"),
    ("/v1/mcp/prompts/get", "tool_call_failed", "answered with the error"),
    ("/v1/mcp/resources/read", "tool_call_failed", "answered with the error"),
)
"""Path, code and words of errors that valid requests get."""
LENIENT: Final = "Anthropic"
"""The beginning of the schemas of requests whose unknown fields are ignored."""
SSE: Final = "text/event-stream"
EVENT: Final = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """Say what a document of OpenAPI 3.1 cannot: what each event of a stream is, and which fields engines take."""
    for name, model in raw_schema["components"]["schemas"].items():
        if name.endswith("Request") and not name.startswith(LENIENT):
            model["additionalProperties"] = False
    for described in (each for methods in raw_schema["paths"].values() for each in methods.values()):
        for answer in described["responses"].values():
            if SSE in answer.get("content", {}):
                answer["content"][SSE] = {"itemSchema": EVENT}


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
    if isinstance(failure, RejectedPositiveData | ServerError):
        return not is_right_refusal(case.operation.path, response)
    if isinstance(failure, AllowHeaderMismatch):
        return bool(failure.missing_methods) or not _are_of_templates(failure.undocumented_methods, case.operation)
    return True


def is_right_refusal(path: str, response: schemathesis.Response) -> bool:
    """Whether ``response`` is one of those that nobody could foresee from the description."""
    try:
        error = json.loads(response.content)["error"]
    except (ValueError, KeyError):
        return False
    return any(
        (path, error["code"]) == (refused, code) and words in error["message"]
        for refused, code, words in RIGHT_REFUSALS
    )


def _are_of_templates(methods: list[str], operation: schemathesis.APIOperation) -> bool:
    """Whether ``methods`` are those of a path with parameters that the path of ``operation`` is an instance of."""
    known = {
        method.upper()
        for path, described in operation.schema.raw_schema["paths"].items()
        if "{" in path and re.fullmatch(re.sub(r"\{\w+\}", ".+", path), operation.path)
        for method in described
    }
    return set(methods) <= known
