"""``docs/reference/endpoints.md``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from modelhost.chat.parsing.bodies import INERT
from modelhost.chat.parsing.validation import REPLACEMENTS
from modelhost.engines import ENGINES
from modelhost.exchange.tasks import Task
from modelhost.host import Host
from modelhost.http.app import build_app
from modelhost.http.edge import OPEN_PATHS
from modelhost.http.openai.generation import PATHS
from modelhost.http.openapi import SUMMARIES
from tools.reference.media import media_sections
from tools.reference.operations import administration_sections, tool_sections
from tools.reference.schemas import type_in_words
from tools.reference.tables import table

# What the document does not describe: the two ways to read it.
UNDESCRIBED = (
    ("get", "/docs", "Interactive documentation of the endpoints"),
    ("get", "/openapi.json", "OpenAPI document of the endpoints"),
)


def endpoints_page() -> str:
    """Every endpoint, and every field that a request may hold."""
    document = asyncio.run(_openapi())
    schemas = document["components"]["schemas"]
    routes = [
        (method, path, described["summary"], path in OPEN_PATHS or described.get("security") == [])
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]
    rows = [
        (f"`{method.upper()}`", f"`{path}`", summary, "no" if is_open else "yes")
        for method, path, summary, is_open in [*routes, *((*each, True) for each in UNDESCRIBED)]
    ]
    sections = (_request_section(task, document, schemas) for task in SUMMARIES if task in PATHS)
    return f"""# Endpoints

"Key" shows whether a host with `--api-key` requires a key.

{table(("Method", "Path", "What it does", "Key"), rows)}
{"".join(sections)}{media_sections(document)}
## Administration

The commands of `modelhost models` do the same as the following endpoints. A parameter that is not listed is refused
with `unsupported_parameter`.
{administration_sections(document)}
## Tools

The MCP servers of the host and their tools; see [tools](../tools.md). The commands of `modelhost tools` do most of this
too.
{tool_sections(document)}
## Fields with another name

A request with one of these fields is refused with `unsupported_parameter`, unless the field is listed above for it. The
message names the field to send instead.

{table(("Field", "Send"), sorted((f"`{theirs}`", f"`{ours}`") for theirs, ours in REPLACEMENTS.items()))}"""


def _request_section(task: Task, document: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    path, *others = PATHS[task]
    described = document["paths"][path]["post"]
    schema = schemas[described["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[-1]]
    required = schema.get("required", [])
    fields = [
        (f"`{name}`", type_in_words(field), "yes" if name in required else "")
        for name, field in schema["properties"].items()
    ]
    of_engine = sorted(ENGINES["llamacpp"].fields(task) - schema["properties"].keys())
    statuses = [(status, f"{answer['description']}.") for status, answer in described["responses"].items()]
    inert = sorted(INERT & schema["properties"].keys())
    parts = [
        f"\n## {described['summary']}: `POST {path}`\n",
        f"The same at {', '.join(f'`{other}`' for other in others)}.\n" if others else None,
        table(("Field", "Type", "Required"), fields),
        f"llama.cpp also accepts: {', '.join(f'`{name}`' for name in of_engine)}.\n" if of_engine else None,
        f"Accepted without effect, unless the engine supports them: {', '.join(f'`{name}`' for name in inert)}.\n"
        if inert
        else None,
        table(("Status", "Meaning"), statuses),
    ]
    return "\n".join(part for part in parts if part is not None)


async def _openapi() -> dict[str, Any]:
    """The document, asked of the application as a client would."""
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        parts.append(message.get("body", b""))

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/openapi.json",
        "root_path": "",
        "query_string": b"",
        "headers": [],
    }
    await build_app(Host())(scope, receive, send)
    document: dict[str, Any] = json.loads(b"".join(parts))
    return document
