"""What a caller can do about each error, by its code: for the reference and for MCP's tool errors."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

ADVICE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "invalid_request": "Mend the field that `param` names.",
        "invalid_json": "Send JSON; the message says where it breaks.",
        "unsupported_parameter": "Leave the field out, or take the one that the message proposes.",
        "unsupported_operation": "Ask a model that can do it; `/v1/models` lists what each can do.",
        "context_length_exceeded": "Shorten the conversation, or serve the model with a larger `--context-length`.",
        "model_not_found": "Take a name from `/v1/models`, or leave `model` out.",
        "model_not_allowed": "Take a name from `/v1/models`, or have the host started with the `--allow-models` of the "
        "message.",
        "model_busy": 'Wait for its requests, or send `"force": true` to cut them off.',
        "not_found": "Look at `/docs` for the paths that there are.",
        "method_not_allowed": "Take the method that the message and the `Allow` header name.",
        "invalid_answer": "Mend the fields that the message names and answer again; the question waits.",
        "request_too_large": "Send less, or serve with a larger `--max-body-mb`.",
        "unsupported_encoding": "Send the body as it is, or as gzip.",
        "headers_too_large": "Send fewer or shorter headers: 100, of 16 kB each and 64 kB together.",
        "request_timeout": "Send the request in one go, or serve with a larger `--header-timeout` or `--body-timeout`.",
        "foreign_origin": "Allow the page with `--allow-origin` or the name with `--allowed-host`, or ask for a key "
        "with `--api-key`.",
        "invalid_api_key": "Send `Authorization: Bearer KEY` with one of the host's keys.",
        "internal_error": "Report it with the traceback in the host's log; other requests are served.",
        "queue_full": "Try again after `Retry-After` seconds, or serve with a larger `--queue-size`.",
        "too_many_connections": "Try again after `Retry-After` seconds, or serve with a larger `--max-connections`.",
        "queue_timeout": "Try again, or serve with a larger `--request-timeout`.",
        "model_failed": "Read the reason in the message; the host tries again by itself.",
        "model_unloaded": "Try again: the model is loaded again for it.",
        "insufficient_memory": "Unload or unpin a model of `details.holders`, or serve with a larger "
        "`--memory-budget`.",
        "shutting_down": "Send the request to another host, or again when this one is back.",
        "worker_start_failed": "Read the worker's last lines in the message.",
        "worker_crashed": "Try again: the worker is being restarted. Its last lines are in `details.stderr`.",
        "engine_error": "Read the engine's own message.",
        "mcp_server_not_found": "Take a name from `/v1/mcp/servers`.",
        "tool_not_found": "Take a name from `/v1/mcp/tools`.",
        "tool_server_unavailable": "Read why in the message or in `/v1/mcp/servers`; mend its entry, or restart it.",
        "tool_call_failed": "Read the server's own message.",
        "config_error": "Mend the setting; `modelhost config check` lists all that is wrong.",
        "model_file_missing": "Check the path; the message names files that are close.",
        "model_file_invalid": "Download or convert the file again; the message says what is wrong with it.",
        "engine_missing": "Install the engine with the command in the message (`modelhost engines list` shows which "
        "engines are here), or serve a GGUF version of the model.",
        "download_failed": "Check name, network, `HF_TOKEN` and disk, as the message says; what has arrived is kept.",
        "port_in_use": "Choose another `--port` (0 picks a free one) or `--host`.",
        "host_unreachable": "Start a host (`modelhost serve`), or check `--url`.",
        "system_library_missing": "Install the package that the message names.",
        "session_not_found": "Take an id from `/v1/sessions`.",
        "session_busy": "Try again when the other request in the session has its answer.",
        "state_not_found": "Take a saved state from `/v1/state/sessions`, or save one.",
        "state_damaged": "Take another saved state; the message says what is wrong with this one.",
        "database_unavailable": "Mend the database as the message says; requests without a session are served.",
    }
)
"""One line for each leaf of the error tree, which a test checks."""
