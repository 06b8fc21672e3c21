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
from modelhost.operations.advice import ADVICE
from modelhost.operations.model_loading import LOAD, PULL

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
