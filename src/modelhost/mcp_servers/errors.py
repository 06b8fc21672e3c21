"""Errors as results of tools, in the format that all tools share.

::

    {"success": false, "error": {"code": "MODEL_NOT_FOUND", "message": "...", "details": {"suggestion": "..."}}}

``code`` is the host's own in capitals. What keeps a model from being loaded is ``MODEL_LOAD_FAILED``, with that code of
its cause as ``details.reason``, and with ``required_mb`` and ``available_mb`` where they are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import mcp_types as types
from mcp.shared.exceptions import MCPError

from modelhost import errors
from modelhost.engines import TRAITS
from modelhost.operations.model_loading import LOAD, PULL

ADVICE: Final[Mapping[str, str]] = {
    "invalid_request": "Correct the field that `param` names.",
    "invalid_json": "Send valid JSON; the message contains the position of the fault.",
    "unsupported_parameter": "Leave the field out, or use the one that the message suggests.",
    "unsupported_operation": "Use a model that supports it; `/v1/models` lists the operations of each.",
    "context_length_exceeded": "Shorten the conversation, or serve the model with a larger `--context-length`.",
    "invalid_audio": "Send a whole file with sound, as WAV, MP3, AAC, Ogg, FLAC, WebM, M4A or MP4.",
    "invalid_image": "Send a whole PNG, JPEG or WebP; a mask has the size of its image, and some of it is transparent.",
    "nothing_to_speak": "Send a text with letters or digits that the voice knows.",
    "model_required": "Name a model of `/v1/models`; the setting `require_model` demands it.",
    "model_not_found": "Use a name from `/v1/models`, or leave `model` out.",
    "model_not_allowed": "Use a name from `/v1/models`, or start the host with the `--allow-models` in the message.",
    "model_busy": 'Wait for its requests, or send `"force": true` to cancel them.',
    "not_found": "See `/docs` for the available paths.",
    "method_not_allowed": "Use a method from the message or the `Allow` header.",
    "invalid_answer": "Correct the fields that the message names and answer again; the question is still open.",
    "fetch_refused": "Send the contents in the request, or use a public address; the settings `fetch_urls`, "
    "`remote_mcp_servers` and `fetch_hosts` say what the host connects to.",
    "fetch_failed": "See the reason in the message; send the contents in the request instead.",
    "request_too_large": "Send less, or serve with a larger `--max-body-mb`.",
    "unsupported_encoding": "Send the body uncompressed, or as gzip.",
    "headers_too_large": "Send fewer or shorter headers: 100, of 16 kB each and 64 kB together.",
    "request_timeout": "Send the request in one go, or serve with a larger `--header-timeout` or `--body-timeout`.",
    "foreign_origin": "Allow the origin with `--allow-origin` or the name with `--allowed-host`, or require a "
    "key with `--api-key`.",
    "invalid_api_key": "Send `Authorization: Bearer KEY` with one of the host's keys.",
    "internal_error": "Report it with the traceback in the host's log; other requests are served.",
    "queue_full": "Try again after `Retry-After` seconds, or serve with a larger `--queue-size`.",
    "too_many_connections": "Try again after `Retry-After` seconds, or serve with a larger `--max-connections`.",
    "queue_timeout": "Try again, or serve with a larger `--request-timeout`.",
    "model_failed": "See the reason in the message; the host retries automatically.",
    "model_unloaded": "Try again: the model is loaded again for it.",
    "insufficient_memory": "Unload or unpin a model of `details.holders`, or serve with a larger `--memory-budget`.",
    "disk_full": "Make room on the disk of the directory in the message, or serve with another `--data-dir`.",
    "shutting_down": "Send the request to another host, or again when this one has restarted.",
    "worker_start_failed": "See the worker's last lines in the message.",
    "worker_crashed": "Try again: the worker is restarting. Its last lines are in `details.stderr`.",
    "engine_error": "See the engine's own message.",
    "mcp_server_not_found": "Use a name from `/v1/mcp/servers`.",
    "tool_not_found": "Use a name from `/v1/mcp/tools`.",
    "tool_server_unavailable": "See the reason in the message or in `/v1/mcp/servers`; correct its entry, or "
    "restart it.",
    "tool_call_failed": "See the server's own message.",
    "config_error": "Correct the setting; `modelhost config check` lists all errors.",
    "model_file_missing": "Check the path; the message suggests similar files.",
    "model_file_invalid": "Download or convert the file again; the message describes the fault.",
    "engine_missing": "Install the engine with the command in the message (`modelhost engines list` shows the "
    "installed engines), or serve a GGUF version of the model.",
    "download_failed": "Check name, network, `HF_TOKEN` and disk, as the message says; the downloaded part is kept.",
    "port_in_use": "Choose another `--port` (0 picks a free one) or `--host`.",
    "host_unreachable": "Start a host (`modelhost serve`), or check `--url`.",
    "system_library_missing": "Install the package that the message names.",
    "invalid_encrypted_content": "Send the item as a host with the same database sent it, or leave it out.",
    "websocket_connection_limit_reached": "Open another WebSocket.",
    "response_not_found": "Use the id of a stored response, with the API key that it was made with.",
    "previous_response_not_found": "Send the whole conversation as `input`, without `previous_response_id`.",
    "conversation_not_found": "Create a conversation with `POST /v1/conversations`.",
    "item_not_found": "Use an id from the items of the conversation.",
    "session_not_found": "Use an id from `/v1/sessions`.",
    "session_busy": "Try again when the other request in the session has been answered.",
    "state_not_found": "Use a saved state from `/v1/state/sessions`, or save one.",
    "state_damaged": "Use another saved state; the message describes the fault.",
    "database_unavailable": "Repair the database as the message says; requests without a session are still served.",
}
"""One line for each leaf of the error tree, which a test checks."""


LOAD_FAILED: Final = "MODEL_LOAD_FAILED"
NOT_INITIALIZED: Final = (
    *(errors.WorkerStartFailed, errors.ModelFailed, errors.SystemLibraryMissing),
    *(errors.ModelFileMissing, errors.ModelFileInvalid, errors.EngineMissing, errors.DownloadFailed),
)
"""Reasons other than memory why a model is not loaded; vLLM's MCP server has one message for all of them."""
NOT_LOADED: Final = (errors.InsufficientMemory, *NOT_INITIALIZED)
"""Reasons why a model is not loaded, whatever was called, except downloads that were themselves requested."""
LOAD_ENDED: Final = (errors.Unavailable, errors.WorkerError, errors.SetupError)
"""Errors that count as failures to load if a load was called; invalid calls and unreachable hosts do not."""
INVALID: Final = (errors.ModelNotFound, errors.SessionNotFound, errors.StateNotFound, errors.InvalidRequest)
"""What is wrong with the URI of a resource, and not with the host."""
CAUSE: Final = "cause"
MODEL_ID: Final = "model_id"
UNKNOWN_ID: Final = f"Take a name from `list-models` as `{MODEL_ID}`."
NO_ADVICE: Final = "See the message; the log of the host has details."
ANSWER_TO_UNKNOWN: Final[Mapping[str, Any]] = {
    "success": False,
    "error": {
        "code": "INTERNAL_ERROR",
        "message": "The host has failed at this call.",
        "details": {"suggestion": "Look at the log of the host."},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryValues:
    """The current values of the parameters to lower when memory runs out."""

    gpu_memory_utilization: float
    max_tokens: int | None = None
    max_model_len: int | None = None


def error_result(
    error: errors.ModelhostError, memory: MemoryValues | None = None, *, tool: str | None = None
) -> dict[str, Any]:
    """Return ``error`` in the common format; out-of-memory errors with the values of ``memory``, if given.

    ``tool`` is what was called.
    """
    has_not_loaded = tool != PULL.name and (
        isinstance(error, NOT_LOADED)
        or (tool == LOAD.name and isinstance(error, LOAD_ENDED) and not isinstance(error, errors.HostUnreachable))
    )
    message = _message(error) if has_not_loaded else error.message
    suggestion = _suggestion(error)
    if memory is not None and is_out_of_memory(error):
        suggestion = _way_out_of_memory(memory)
        message = f"{_which_memory(error)}out of memory. {suggestion} Reason: {error.message}"
        message = message[0].upper() + message[1:]
    details = {**_details(error), "suggestion": suggestion}
    if has_not_loaded:
        details["reason"] = _cause(error).upper()
    code = LOAD_FAILED if has_not_loaded else error.code.upper()
    return {"success": False, "error": {"code": code, "message": message, "details": details}}


def _message(error: errors.ModelhostError) -> str:
    if not isinstance(error, NOT_INITIALIZED):
        return error.message
    engine = str(error.details.get("engine", "the model"))
    can = TRAITS[engine].capabilities if engine in TRAITS else None
    what = can.title if can else engine
    return f"Failed to initialize {what}: {error.message}"


def _suggestion(error: errors.ModelhostError) -> str:
    if isinstance(error, errors.ModelNotFound) and error.param == MODEL_ID:
        return UNKNOWN_ID
    own: str | None = error.details.get("suggestion")
    return own or ADVICE.get(_cause(error), NO_ADVICE)


def _cause(error: errors.ModelhostError) -> str:
    """Return the code of the cause: for a model that failed, that of the earlier attempt."""
    if is_out_of_memory(error):
        return errors.InsufficientMemory.code
    return str(error.details.get(CAUSE) or error.code) if isinstance(error, errors.ModelFailed) else error.code


def is_out_of_memory(error: errors.ModelhostError) -> bool:
    return isinstance(error, errors.InsufficientMemory) or bool(error.details.get("out_of_memory"))


def _details(error: errors.ModelhostError) -> dict[str, Any]:
    details = {name: value for name, value in error.details.items() if name != CAUSE}
    if error.param is not None:
        details["param"] = error.param
    return details


def _which_memory(error: errors.ModelhostError) -> str:
    missing = error.details.get("missing_mb", ())
    is_cuda = any(pool.startswith("gpu") for pool in missing) or "cuda" in error.message.lower()
    return "CUDA " if is_cuda else ""


def _way_out_of_memory(values: MemoryValues) -> str:
    """Return which parameters to lower, and their current values."""
    tokens = "as many as fit" if values.max_tokens is None else values.max_tokens
    length = "the model's own" if values.max_model_len is None else values.max_model_len
    return (
        f"Try: 1) Reduce VLLM_GPU_MEMORY_UTILIZATION (current: {values.gpu_memory_utilization:g}), "
        f"2) Use a smaller max_tokens (current: {tokens}), "
        f"3) Reduce VLLM_MAX_MODEL_LEN (current: {length}), "
        "4) Use a smaller model."
    )


def protocol_error(error: errors.ModelhostError, uri: str | None = None) -> MCPError:
    """Return ``error`` as one of the protocol: resources have no other."""
    data = error_result(error)["error"]
    if uri is not None:
        data["uri"] = uri
    return MCPError(types.INVALID_PARAMS if isinstance(error, INVALID) else types.INTERNAL_ERROR, error.message, data)
