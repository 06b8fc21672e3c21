"""Errors of a remote server: those that the caller can correct are the caller's, all others are the server's.

In particular, a refused key is an error of the host's configuration, not of the caller, whatever the server's status
is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Protocol

from modelhost import errors
from modelhost.errors import ModelhostError, RequestError, Unavailable, WorkerError

FROM_CALLER: Final[Mapping[str, type[RequestError]]] = {
    each.code: each
    for each in (
        errors.InvalidRequest,
        errors.UnsupportedParameter,
        errors.UnsupportedOperation,
        errors.ContextLengthExceeded,
        errors.ModelNotFound,
        errors.RequestTooLarge,
    )
}
FOR_LATER: Final[Mapping[str, type[Unavailable]]] = {
    each.code: each for each in (errors.QueueFull, errors.QueueTimeout, errors.ModelFailed, errors.InsufficientMemory)
}
FROM_WORKER: Final[Mapping[str, type[WorkerError]]] = {
    each.code: each for each in (errors.WorkerCrashed, errors.EngineError)
}
NOT_DETAILS: Final = frozenset({"message", "param", "model", "worker", "retry_after_seconds"})
_LIMIT: Final = re.compile(r"maximum context length (?:is|of) (\d+)", re.IGNORECASE)
_TOKENS: Final = re.compile(r"(?:requested|resulted in|at least|has|passed)\D{0,30}?(\d+)[a-z\s]*tokens", re.IGNORECASE)


class ErrorTranslator(Protocol):
    """Converts errors in a server's own form; returns ``None`` for others."""

    def __call__(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError | None: ...


def error_from(
    status: int, payload: Any, *, model: str, worker: str, own: ErrorTranslator | None = None
) -> ModelhostError:
    """Return the error answer of the server ``worker`` as a :class:`ModelhostError`; ``own`` converts the server's
    form.

    ``status`` is the status of the answer, or 500 for an error in the middle of a stream.
    """
    error = error_of(payload)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return key_refused(status, model=model, worker=worker)
    message = str(error.get("message") or f"it answered {status} without saying why")
    code = error.get("code") or error.get("type")
    if isinstance(error.get("source"), dict) and (known := _from_host(str(code), error, message, model, worker)):
        return known
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.INTERNAL_SERVER_ERROR) and own is not None:
        found = own(status, payload, model=model, worker=worker)
        if found is not None:
            return found
    if _is_too_long(str(code), message):
        return _too_long(message, error, model)
    if refused := _by_status(status, str(code), message, error.get("param"), model):
        return refused
    described = f"The server of {model} failed: {message}"
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        described = f"The server of {model} answers with a redirection ({status}): give the address that it leads to."
    return errors.EngineError(described, model=model, worker=worker, status=status)


def key_refused(status: int, *, model: str, worker: str) -> ModelhostError:
    """Return the error for a server that refuses the key. Its own message is left out, since it may repeat the key."""
    return errors.EngineError(
        f"The server of {model} refuses the key of this host ({status}). The operator of this host must correct "
        "the model's api_key (--remote-api-key).",
        model=model,
        worker=worker,
        reason="key_refused",
        status=status,
    )


def error_of(payload: Any) -> Mapping[str, Any]:
    """Return the error in ``payload`` in the form of OpenAI's error object."""
    if not isinstance(payload, dict):
        return {}
    error = payload.get("error", payload)
    if isinstance(error, dict):
        return {"message": error.get("detail"), **error} if "detail" in error else error
    return {"message": str(error)}


def _from_host(code: str, error: Mapping[str, Any], message: str, model: str, worker: str) -> ModelhostError | None:
    """Return an error of another modelhost as the same error here; ``None`` if it is not from one."""
    details = error.get("details")
    rest = {name: value for name, value in (details or {}).items() if name not in NOT_DETAILS}
    if code in FROM_CALLER:
        return FROM_CALLER[code](message, param=error.get("param"), **rest)
    if code in FOR_LATER:
        return FOR_LATER[code](message, param=error.get("param"), **rest)
    if code in FROM_WORKER:
        return FROM_WORKER[code](message, model=model, worker=worker, **rest)
    return None


def _is_too_long(code: str, message: str) -> bool:
    return code in {"context_length_exceeded", "exceed_context_size_error"} or bool(_LIMIT.search(message))


def _too_long(message: str, error: Mapping[str, Any], model: str) -> ModelhostError:
    limit, tokens = _LIMIT.search(message), _TOKENS.search(message)
    return errors.ContextLengthExceeded(
        f"The prompt is too long for {model}: {message}",
        param="messages",
        prompt_tokens=error.get("n_prompt_tokens", int(tokens[1]) if tokens else None),
        context_length=error.get("n_ctx", int(limit[1]) if limit else None),
    )


def _by_status(status: int, code: str, message: str, param: Any, model: str) -> ModelhostError | None:
    """Return the error if the caller can correct it or wait; ``None`` for a failure of the server."""
    named = param if isinstance(param, str) else None
    described = f"The server of {model} says: {message}"
    found: ModelhostError | None = None
    match status:
        case 400 | 422:
            refusal = errors.UnsupportedParameter if "unsupported_param" in code else errors.InvalidRequest
            found = refusal(message, param=named)
        case 404 if "model" in message.lower() or "model" in code:
            found = errors.ModelNotFound(described, model=model)
        case 404 | 405 | 501:
            found = errors.UnsupportedOperation(described, model=model)
        case 413:
            found = errors.RequestTooLarge(described)
        case 429 if code != "insufficient_quota":
            found = errors.QueueFull(described, model=model)
        case 503:
            found = errors.ModelFailed(described, model=model)
    return found
