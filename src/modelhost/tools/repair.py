"""Repairs messages of MCP servers that are almost right: the SDK would refuse the whole because of a part.

* Text that is not Unicode (a lone surrogate, Latin-1) gets replacement characters; control characters are accepted.
* What is nested too deeply to be read is left out, and the rest is kept.
* An answer that is not JSON becomes an error for its request, which would wait for ever.
* A tool whose description is invalid is left out of the listing.
* A tool's result is kept as far as it can be shown.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

import mcp_types as types
import orjson
from mcp_types.methods import validate_server_result
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter, ValidationError

from modelhost import json_text
from modelhost.tools.status import ToolProblemReport

BLOCK: Final[TypeAdapter[types.ContentBlock]] = TypeAdapter(types.ContentBlock)
UNREADABLE: Final = "the answer is not JSON"
DEEPEST: Final = 190  # levels of a message, of which the SDK reads 200; no tool may have a schema of so many
LEFT_OUT: Final = '"[nested too deep]"'
_ID: Final = re.compile(rb'"id"\s*:\s*(\d+)')  # the ids of our requests are numbers
_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|([\[{])|([\]}])', re.DOTALL)  # strings may hold brackets


def message_of(line: bytes) -> types.JSONRPCMessage:
    """Return the message in ``line``; raises ValueError if there is none."""
    line = line.removeprefix(codecs.BOM_UTF8)
    try:
        return types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        if not line.lstrip().startswith(b"{"):
            raise
        return types.jsonrpc_message_adapter.validate_json(_in_unicode(line), by_name=False)


def _in_unicode(line: bytes) -> bytes:
    value = json.loads(_shallow(line.decode(errors="replace")), strict=False)
    text = json.dumps(value, ensure_ascii=False)
    # In UTF-16 two surrogates become one character, and a lone one can be replaced.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _shallow(text: str) -> str:
    """Return ``text`` without what lies below :data:`DEEPEST` levels of objects and lists.

    Raises:
        ValueError: it breaks off down there.
    """
    kept: list[str] = []
    depth, at = 0, 0
    for found in _BRACKET.finditer(text):
        if found[1]:
            depth += 1
            if depth == DEEPEST + 1:
                kept += text[at : found.start()], LEFT_OUT
        elif found[2]:
            depth -= 1
            if depth == DEEPEST:
                at = found.end()
    if depth > DEEPEST:
        raise ValueError("breaks off, nested too deep")
    return "".join([*kept, text[at:]])


def unreadable(line: bytes, waiting: Collection[types.RequestId] | None) -> list[types.JSONRPCError]:
    """Return errors for the requests that ``line`` should answer, of those ``waiting`` if they are known."""
    before, _, _ = line.partition(b'"result"')
    if not line.lstrip().startswith(b"{") or b'"jsonrpc"' not in line or b'"method"' in before:
        return []
    found: list[types.RequestId] = [int(digits) for digits in _ID.findall(line)]
    if waiting is None:
        found = found[:1]
    else:
        # The id may be in the part that is missing.
        found = [each for each in found if each in waiting] or (list(waiting) if len(waiting) == 1 else [])
    error = types.ErrorData(code=types.PARSE_ERROR, message=UNREADABLE)
    return [types.JSONRPCError(jsonrpc="2.0", id=each, error=error) for each in dict.fromkeys(found)]


def repaired(result: dict[str, Any], version: str, on_problem: Callable[[ToolProblemReport], None]) -> dict[str, Any]:
    """Return a valid ``result`` in this version of the protocol; ``on_problem`` gets the tools that are left out.

    Only listings of tools have a list ``tools``, and only results of tools have contents.
    """
    if isinstance(result.get("tools"), list):
        return _listing(result, version, on_problem)
    if "content" in result or "structuredContent" in result:
        return _outcome(result, version)
    return result


def _listing(result: dict[str, Any], version: str, on_problem: Callable[[ToolProblemReport], None]) -> dict[str, Any]:
    if not list(_faults(result, version)):
        return result
    kept = []
    for number, tool in enumerate(result["tools"], start=1):
        # Each by itself, since other faults of the listing are no fault of a tool.
        faults = [each for each in _faults({**result, "tools": [tool]}, version) if each[0][:1] == ("tools",)]
        if not faults:
            kept.append(tool)
            continue
        (_, _, *path), message = faults[0]
        name = tool.get("name") if isinstance(tool, Mapping) else None
        name = name if isinstance(name, str) and name else f"tool {number}"
        location = "".join(["#", *(f"/{part}" for part in path)])
        on_problem(ToolProblemReport(tool=name, location=location, message=message, is_offered=False))
    return {**result, "tools": kept}


def _faults(result: dict[str, Any], version: str) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Yield where ``result`` is not a valid listing, and why."""
    try:
        validate_server_result("tools/list", version, result)
        types.ListToolsResult.model_validate(result, by_name=False)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_context=False, include_input=False):
            yield each["loc"], each["msg"]


def _outcome(result: dict[str, Any], version: str) -> dict[str, Any]:
    content, structured = result.get("content"), result.get("structuredContent")
    blocks = content if isinstance(content, list) else [] if content is None else [content]
    made = {**result, "content": [_block(block) for block in blocks]}
    if not isinstance(made.get("_meta"), dict):
        made.pop("_meta", None)
    if made.get("isError") is None:
        made.pop("isError", None)
    if structured is not None and not isinstance(structured, dict) and version not in MODERN_PROTOCOL_VERSIONS:
        made["content"].append(_text(json_text.encode(structured).decode()))
        del made["structuredContent"]
    return made


def _block(block: Any) -> Any:
    """Return ``block``, or a text block if the protocol has none like it."""
    try:
        BLOCK.validate_python(block, by_name=False)
    except ValidationError:
        shown = block.get("text", f"[{block.get('type')}]") if isinstance(block, Mapping) else block
        return _text(
            shown if isinstance(shown, str) else json_text.encode(shown, option=orjson.OPT_NON_STR_KEYS).decode()
        )
    return block


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
