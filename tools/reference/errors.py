"""``docs/reference/errors.md``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from modelhost import errors
from modelhost.errors import ModelhostError, SetupError, Unavailable
from modelhost.http.errors import STATUS
from tools.reference.tables import table

# What a caller can do about an error; a new error without a line here fails the test of these pages.
ADVICE: Final[Mapping[str, str]] = {
    "invalid_request": "Mend the field that `param` names.",
    "invalid_json": "Send JSON; the message says where it breaks.",
    "unsupported_parameter": "Leave the field out, or take the one that the message proposes.",
    "unsupported_operation": "Ask a model that can do it; `/v1/models` lists what each can do.",
    "context_length_exceeded": "Shorten the conversation, or serve the model with a larger `--context-length`.",
    "model_not_found": "Take a name from `/v1/models`, or leave `model` out.",
    "model_busy": 'Wait for its requests, or send `"force": true` to cut them off.',
    "not_found": "Look at `/docs` for the paths that there are.",
    "method_not_allowed": "Take the method that the message and the `Allow` header name.",
    "request_too_large": "Send less, or serve with a larger `--max-body-mb`.",
    "foreign_origin": "Allow the page with `--allow-origin`, or ask for a key with `--api-key`.",
    "invalid_api_key": "Send `Authorization: Bearer KEY` with one of the host's keys.",
    "queue_full": "Try again after `Retry-After` seconds, or serve with a larger `--queue-size`.",
    "queue_timeout": "Try again, or serve with a larger `--request-timeout`.",
    "model_failed": "Read the reason in the message; the host tries again by itself.",
    "model_unloaded": "Try again: the model is loaded again for it.",
    "insufficient_memory": "Unload or unpin a model of `details.holders`, or serve with a larger `--memory-budget`.",
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
    "engine_missing": "Serve the model as GGUF; the message says how.",
    "download_failed": "Check name, network, `HF_TOKEN` and disk, as the message says; what has arrived is kept.",
    "port_in_use": "Choose another `--port` (0 picks a free one) or `--host`.",
    "host_unreachable": "Start a host (`modelhost serve`), or check `--url`.",
    "system_library_missing": "Install the package that the message names.",
}

EXAMPLE_ERROR: Final[Mapping[str, Any]] = {
    "error": {
        "message": 'There is no model "gpt-5" here. There is: modelhost-nano.',
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
        "source": {"kind": "host"},
        "details": {"model": "gpt-5"},
    }
}


def errors_page() -> str:
    """Every leaf of the error tree with its status and what to do."""
    meanings = dict(re.findall(r"── (\w+) {2,}(.+)", errors.__doc__ or ""))
    setup = [leaf for leaf in STATUS if issubclass(leaf, SetupError)]
    served = [leaf for leaf in STATUS if leaf not in setup]

    def rows(leaves: Iterable[type[ModelhostError]]) -> Iterator[Sequence[str]]:
        for leaf in leaves:
            meaning = _sentence(meanings[leaf.__name__])
            yield f"`{leaf.code}`", str(STATUS[leaf]), f"`{leaf.__name__}`", meaning, ADVICE[leaf.code]

    header = ("Code", "Status", "Class", "Meaning", "What to do")
    retried = ", ".join(f"`{leaf.code}`" for leaf in served if issubclass(leaf, Unavailable))
    return f"""# Errors

Over HTTP an error is OpenAI's error object, with two fields more: `source` says who refused (the host, or the worker of
a model), `details` holds values to work with.

```json
{json.dumps(EXAMPLE_ERROR, indent=2)}
```

In a stream that has begun, the object comes as the last event, without `[DONE]` after it. In Python the classes are in
`modelhost.errors`; each is a `modelhost.ModelhostError` with `code`, `message`, `param`, `details` and `source`.
{retried} come with a `Retry-After` header.

## Requests

{table(header, rows(served))}
## Setting up

Commands print the message and exit with status 1.

{table(header, rows(setup))}"""


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
