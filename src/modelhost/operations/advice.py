"""What a caller can do about each error, by its code: for the reference and for MCP's tool errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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
    "model_failed": "See the reason in the message; a later request tries again.",
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
