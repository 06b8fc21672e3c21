"""Every error that modelhost raises, as one small tree.

    ModelhostError
    ├── RequestError             the caller can correct it
    │   ├── InvalidRequest           a value, a type, a missing field
    │   ├── InvalidJson              the body is not JSON
    │   ├── UnsupportedParameter     unknown, or not supported by this model's engine
    │   ├── UnsupportedOperation     this model does not support it (embeddings, rerank ...)
    │   ├── ContextLengthExceeded    the prompt does not fit
    │   ├── InvalidAudio             a file without sound, damaged or of an unknown format
    │   ├── InvalidImage             a file that is no image, damaged or of an unknown format, or an unfit mask
    │   ├── NothingToSpeak           a text without anything that the voice can speak
    │   ├── ModelRequired            a request without `model`, where the setting `require_model` demands one
    │   ├── ModelNotFound            no model of that name
    │   ├── ModelNotAllowed          a model that is not the host's, and that clients may not add
    │   ├── ModelBusy                it has requests at work, and `force` is not set
    │   ├── NotFound                 no such path
    │   ├── MethodNotAllowed         the path exists, the method does not
    │   ├── InvalidEncryptedContent  sealed content that no host of this database made
    │   ├── InvalidAnswer            an answer that does not match the question's form
    │   ├── FetchRefused             an address of a request that the host must not connect to
    │   ├── FetchFailed              what is at an address of a request cannot be reached, or not be used
    │   ├── ConnectionLimitReached   a WebSocket has been open for as long as one may be
    │   ├── RequestTooLarge          the body is over the limit
    │   ├── UnsupportedEncoding      the body has an unsupported compression
    │   ├── HeadersTooLarge          the head is over the limits
    │   ├── RequestTimedOut          the client took too long to send the request
    │   ├── Unauthorized             no key, or a wrong one
    │   └── ForeignOrigin            the request comes from a foreign web page, or under a foreign host name
    ├── HostFault                a fault in the host; its log shows where
    ├── Unavailable              try again later
    │   ├── QueueFull                too many requests are waiting
    │   ├── TooManyConnections       the maximum number of clients is connected
    │   ├── QueueTimeout             the wait for the model exceeded its limit
    │   ├── ModelFailed              the model could not be started; the host retries later
    │   ├── ModelUnloaded            unloaded with `force` while it had the request
    │   ├── InsufficientMemory       the model does not fit, even after evictions
    │   ├── DiskFull                 a file of a client does not fit on the host's disk
    │   └── ShuttingDown             the host is being stopped
    ├── WorkerError              the worker process of one model
    │   ├── WorkerStartFailed        did not become ready
    │   ├── WorkerCrashed            ended while it had work
    │   └── EngineError              answered with its own error
    ├── ToolError                an MCP server, or one of its tools
    │   ├── McpServerNotFound        no MCP server of that name
    │   ├── ToolNotFound             no tool of that name
    │   ├── ToolServerUnavailable    not ready, disabled, failed, or lost
    │   └── ToolCallFailed           answered with an error
    ├── StateError               data in the database
    │   ├── SessionNotFound          no session of that id
    │   ├── SessionBusy              another host holds the session for longer than the limit
    │   ├── StateNotFound            no saved state of that name
    │   ├── ResponseNotFound         no stored response of that id
    │   ├── PreviousResponseNotFound  the stored response that a request continues, or one before it
    │   ├── ConversationNotFound     no conversation of that id
    │   ├── ItemNotFound             no item of that id in a conversation, or in any stored response
    │   ├── StateDamaged             a saved state that is damaged, or of a newer version
    │   └── DatabaseUnavailable      cannot be reached, read or written
    └── SetupError               setup errors; commands exit with status 1
        ├── ConfigError              an invalid setting or configuration file
        ├── ModelFileMissing         no such path
        ├── ModelFileInvalid         not a model, damaged, or of an unknown kind
        ├── EngineMissing            the model needs an engine that is not installed
        ├── DownloadFailed           the hub did not provide the file
        ├── PortInUse                the address is taken
        ├── HostUnreachable          no modelhost answers at that address
        └── SystemLibraryMissing     a shared library of the operating system is missing

Each leaf has a stable ``code``, a message with the next step, and ``details`` (JSON values). ``source`` is the origin
of the refusal: the host, or the worker of a model. Only the HTTP face has status codes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

LONGEST_NAME: Final = 200
"""Characters of a name that an error repeats: whoever sent it knows the rest."""
LONGEST_PATH: Final = 4_096
LONGEST_REFUSAL: Final = 4_000
"""Characters of a message about a request; its end, where the way out is, is kept as well."""
REFUSAL_END: Final = 1_000
CUT: Final = "..."
NAMES: Final = ("model", "tool", "server")
"""Details with a name as it was sent."""


class ModelhostError(Exception):
    """Base of the tree; never raised itself."""

    code: ClassVar[str] = "modelhost_error"
    longest_word: ClassVar[int] = LONGEST_NAME
    """Longer ones in the message are shortened."""

    def __init__(self, message: str, *, param: str | None = None, **details: Any) -> None:
        for key in details.keys() & NAMES:
            if isinstance(name := details[key], str) and len(name) > self.longest_word:
                details[key] = _shortened(name, self.longest_word)
                message = message.replace(name, details[key])
        self.message = self._short(message)
        super().__init__(self.message)
        self.param = None if param is None else _shortened(param, self.longest_word)
        self.details: Mapping[str, Any] = details

    def _short(self, message: str) -> str:
        """Return ``message`` with the beginnings of what a client may have sent too much of."""
        limit = self.longest_word
        if len(message) <= limit:
            return message
        return re.sub(rf'[^\s"]{{{limit + 1},}}', lambda found: _shortened(found[0], limit), message)

    @property
    def source(self) -> dict[str, str]:
        """Who refused: ``{"kind": "host"}``, or the worker and its model."""
        return {"kind": "host"}


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - len(CUT)]}{CUT}"


class RequestError(ModelhostError):
    """The caller sent something that cannot be served as it is."""

    def _short(self, message: str) -> str:
        message = super()._short(message)
        if len(message) <= LONGEST_REFUSAL:
            return message
        return f"{message[: LONGEST_REFUSAL - REFUSAL_END]} ... {message[-REFUSAL_END:]}"


class InvalidRequest(RequestError):
    code = "invalid_request"


class InvalidJson(RequestError):
    code = "invalid_json"


class UnsupportedParameter(RequestError):
    code = "unsupported_parameter"


class UnsupportedOperation(RequestError):
    code = "unsupported_operation"


class ContextLengthExceeded(RequestError):
    code = "context_length_exceeded"

    @classmethod
    def of(
        cls, model: str, *, tokens: Any, limit: Any, counted: str | None = None, param: str = "messages"
    ) -> ContextLengthExceeded:
        """Return the error of a prompt of so many ``tokens``; ``counted`` words it if they were not all counted.

        Clients know it by its words: LiteLLM by OpenAI's at the beginning, LangChain by "prompt is too long".
        """
        return cls(
            f"This model's maximum context length is {limit} tokens, and the prompt is too long: it has "
            f"{counted or tokens}. Shorten it, or serve {model} with a larger --context-length.",
            param=param,
            prompt_tokens=tokens,
            context_length=limit,
        )


class InvalidAudio(RequestError):
    code = "invalid_audio"


class InvalidImage(RequestError):
    code = "invalid_image"


class NothingToSpeak(RequestError):
    code = "nothing_to_speak"


class ModelRequired(RequestError):
    code = "model_required"


class ModelNotFound(RequestError):
    code = "model_not_found"


class ModelNotAllowed(RequestError):
    code = "model_not_allowed"


class ModelBusy(RequestError):
    code = "model_busy"


class NotFound(RequestError):
    code = "not_found"


class MethodNotAllowed(RequestError):
    code = "method_not_allowed"


class InvalidEncryptedContent(RequestError):
    code = "invalid_encrypted_content"


class InvalidAnswer(RequestError):
    code = "invalid_answer"


class FetchRefused(RequestError):
    """The host does not connect to the address, and does not reveal whether anything answers there."""

    code = "fetch_refused"


class FetchFailed(RequestError):
    code = "fetch_failed"


class ConnectionLimitReached(RequestError):
    code = "websocket_connection_limit_reached"  # the name in OpenAI's API


class RequestTooLarge(RequestError):
    code = "request_too_large"


class UnsupportedEncoding(RequestError):
    code = "unsupported_encoding"


class HeadersTooLarge(RequestError):
    code = "headers_too_large"


class RequestTimedOut(RequestError):
    code = "request_timeout"


class Unauthorized(RequestError):
    code = "invalid_api_key"


class ForeignOrigin(RequestError):
    code = "foreign_origin"


class HostFault(ModelhostError):
    """An unexpected failure. The caller learns no more than that; the log has the traceback."""

    code = "internal_error"

    def __init__(self, message: str = "The host failed; its log shows why.", **details: Any) -> None:
        super().__init__(message, **details)


class Unavailable(ModelhostError):
    """The request is valid and cannot be served now. ``retry_after_seconds``: when to try again."""

    def __init__(self, message: str, *, retry_after_seconds: int = 1, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after_seconds = retry_after_seconds


class QueueFull(Unavailable):
    code = "queue_full"


class TooManyConnections(Unavailable):
    code = "too_many_connections"


class QueueTimeout(Unavailable):
    code = "queue_timeout"


class ModelFailed(Unavailable):
    code = "model_failed"


class ModelUnloaded(Unavailable):
    code = "model_unloaded"


class InsufficientMemory(Unavailable):
    code = "insufficient_memory"


class DiskFull(Unavailable):
    code = "disk_full"


class ShuttingDown(Unavailable):
    code = "shutting_down"


class WorkerError(ModelhostError):
    """A failure in the worker of ``model``."""

    def __init__(self, message: str, *, model: str, worker: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.model = model
        self.worker = worker

    @property
    def source(self) -> dict[str, str]:
        return {"kind": "worker", "model": self.model, "worker": self.worker}


class WorkerStartFailed(WorkerError):
    code = "worker_start_failed"


class WorkerCrashed(WorkerError):
    """The worker is gone. ``was_begun``: whether it may have worked on the request before."""

    code = "worker_crashed"
    was_begun = True


class EngineError(WorkerError):
    code = "engine_error"


class ToolError(ModelhostError):
    """A failure of an MCP server, or of a request to one. A tool call of a model that fails is no error."""


class McpServerNotFound(ToolError):
    code = "mcp_server_not_found"


class ToolNotFound(ToolError):
    code = "tool_not_found"


class ToolServerUnavailable(ToolError):
    code = "tool_server_unavailable"


class ToolCallFailed(ToolError):
    code = "tool_call_failed"


class StateError(ModelhostError):
    """A failure of the database, or of a request to it."""


class SessionNotFound(StateError):
    code = "session_not_found"


class SessionBusy(StateError):
    code = "session_busy"


class StateNotFound(StateError):
    code = "state_not_found"


class ResponseNotFound(StateError):
    code = "response_not_found"


class PreviousResponseNotFound(StateError):
    code = "previous_response_not_found"


class ConversationNotFound(StateError):
    code = "conversation_not_found"


class ItemNotFound(StateError):
    code = "item_not_found"


class StateDamaged(StateError):
    code = "state_damaged"


class DatabaseUnavailable(StateError):
    code = "database_unavailable"


class SetupError(ModelhostError):
    """The setup does not work; commands print the message and exit 1."""

    longest_word = LONGEST_PATH


class ConfigError(SetupError):
    code = "config_error"


class ModelFileMissing(SetupError):
    code = "model_file_missing"


class ModelFileInvalid(SetupError):
    code = "model_file_invalid"


class EngineMissing(SetupError):
    code = "engine_missing"


class DownloadFailed(SetupError):
    code = "download_failed"


class PortInUse(SetupError):
    code = "port_in_use"


class HostUnreachable(SetupError):
    code = "host_unreachable"


class SystemLibraryMissing(SetupError):
    code = "system_library_missing"
