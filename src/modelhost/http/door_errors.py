"""Errors in the format of the door of a request: prompts, MCP, Anthropic's API, Ollama's, or all others."""

from __future__ import annotations

from collections.abc import Container
from typing import Final, Protocol

import orjson

from modelhost import lazy
from modelhost.config.settings import Settings
from modelhost.errors import ModelhostError
from modelhost.http.anthropic.paths import is_anthropic
from modelhost.http.errors import Answer, error_answer, error_object, with_body
from modelhost.http.mcp.endpoint import PATHS as MCP_PATHS
from modelhost.http.ollama.paths import is_ollama_path
from modelhost.http.prompt.endpoint import PATH, prompt_error_answer

INVALID_REQUEST: Final = -32600
INTERNAL_ERROR: Final = -32603
"""Codes of JSON-RPC 2.0, section 5.1."""


class ErrorAt(Protocol):
    """Renders an error for a path; ``headers`` are the names of the request's, in lower case."""

    def __call__(self, path: str, error: ModelhostError, headers: Container[bytes] = ()) -> Answer: ...


def error_answer_at(settings: Settings) -> ErrorAt:
    """Return what renders errors of requests that do not reach an endpoint.

    The path is empty if it is unknown.
    """
    paths = (PATH, *settings.prompt_path, *(("",) if settings.strict_prompts else ()))

    def answer(path: str, error: ModelhostError, headers: Container[bytes] = ()) -> Answer:
        if settings.only_prompt or path in paths:
            return prompt_error_answer(error, is_strict=settings.strict_prompts)
        return answer_at(path, error, headers)

    return answer


def answer_at(path: str, error: ModelhostError, headers: Container[bytes] = ()) -> Answer:
    """Return status, headers and body for ``error`` at a path that takes no prompts.

    ``headers`` are the names of the request's, in lower case.
    """
    if is_ollama_path(path):
        return lazy.http_ollama_lines.ollama_error(error)
    if path in MCP_PATHS:
        return rpc_error_answer(error)
    return lazy.http_anthropic_errors.anthropic_error(error) if is_anthropic(path, headers) else error_answer(error)


def rpc_error_answer(error: ModelhostError) -> Answer:
    """Return status, headers and body for ``error`` in the format of JSON-RPC, for MCP clients.

    ``data`` has the other fields of the error. The id of the request is unknown here.
    """
    refusal = error_answer(error)
    data = error_object(error)["error"]
    code = INVALID_REQUEST if refusal[0] < 500 else INTERNAL_ERROR
    answer = {"code": code, "message": data.pop("message"), "data": data}
    return with_body(refusal, orjson.dumps({"jsonrpc": "2.0", "id": None, "error": answer}, default=str))
