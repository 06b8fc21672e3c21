"""An answer in which the host runs tools: whether there is one, and its two shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from modelhost.chat.answer import Answer
from modelhost.chat.loop import ToolLoop
from modelhost.chat.relay import DONE_EVENT, encode_event
from modelhost.chat.requests import ToolWishes
from modelhost.chat.tool_events import CALL, EVENTS, RESULT
from modelhost.errors import InvalidRequest
from modelhost.logs import get_logger, has_debug
from modelhost.tools.selection import ALL, Selection
from modelhost.tools.toolbox import Toolbox

if TYPE_CHECKING:
    from modelhost.tools.offered import OfferedTool
    from modelhost.tools.status import MissingServer

log = get_logger(__name__)

WITHOUT_TOOLS = ("response_format", "json_schema", "grammar", "logprobs")
"""Fields that an engine cannot honour together with tools; a request with one gets tools only if it asks for them."""


def wishes_of(body: Mapping[str, Any]) -> ToolWishes | None:
    """Return the (checked) field ``mcp``."""
    given = body.get("mcp")
    return None if given is None else ToolWishes.model_validate(given)


def selection_for(body: Mapping[str, Any], toolbox: Toolbox) -> Selection | None:
    """Return which tools the host gives to the model and runs for the request ``body``.

    ``None`` if the request brings its own, or says ``"tools": []`` or ``"tool_choice": "none"``.

    Raises:
        InvalidRequest: ``mcp`` together with tools of the client's own, or with something that excludes tools.
    """
    wishes = wishes_of(body)
    if wishes is not None:
        _check_alone(body)
    if _why_none(body, toolbox, wishes) is not None:
        return None
    if wishes is None or (wishes.servers is None and wishes.tools is None):
        return ALL
    return Selection(
        servers=None if wishes.servers is None else frozenset(wishes.servers),
        tools=None if wishes.tools is None else frozenset(wishes.tools),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The tools of the host that a request gets, and the servers whose tools it should have got too."""

    tools: tuple[OfferedTool, ...] = ()
    missing: tuple[MissingServer, ...] = ()


NONE: Final = Given()


def given_to(body: Mapping[str, Any], toolbox: Toolbox) -> Given:
    """Return what the request ``body`` gets of the host's tools as they are now.

    Raises:
        McpServerNotFound, ToolNotFound: ``mcp`` names what is not there.
        InvalidRequest: as :func:`selection_for` has it.
    """
    selection = selection_for(body, toolbox)
    if selection is None:
        if has_debug() and toolbox.hub.server_names():
            log.debug("tools_not_offered", reason=_why_none(body, toolbox, wishes_of(body)))
        return NONE
    offered = toolbox.hub.offered(selection)
    if has_debug():
        reason = "all there are" if selection is ALL else "mcp of the request"
        log.debug("tools_offered", servers=dict(Counter(tool.server for tool in offered)), reason=reason)
    return Given(tools=offered, missing=toolbox.hub.missing(selection))


def _why_none(body: Mapping[str, Any], toolbox: Toolbox, wishes: ToolWishes | None) -> str | None:
    """Return why the host gives the model no tools; ``None``: it does."""
    if body.get("tools") is not None:
        return "the request says which it has"
    if body.get("tool_choice") == "none":
        return "tool_choice is none"
    if wishes is None and not toolbox.is_injected:
        return "the host adds none by itself"
    if wishes is None and _excludes_tools(body):
        return "what the request wants cannot be had with tools"
    return None


def _check_alone(body: Mapping[str, Any]) -> None:
    if body.get("tools"):
        raise InvalidRequest('Give either "tools", which you run yourself, or "mcp", which the host runs.', param="mcp")
    if _excludes_tools(body):
        names = ", ".join(["n", *WITHOUT_TOOLS])
        raise InvalidRequest(f'"mcp" cannot be combined with any of {names}.', param="mcp")


def _excludes_tools(body: Mapping[str, Any]) -> bool:
    if (body.get("n") or 1) > 1:
        return True
    shape = body.get("response_format")
    is_text = isinstance(shape, Mapping) and shape.get("type") == "text"
    return any(body.get(name) for name in WITHOUT_TOOLS if not (name == "response_format" and is_text))


def with_tools(body: Mapping[str, Any], tools: Sequence[OfferedTool]) -> dict[str, Any]:
    """Return ``body`` with the tools, and without the field that chose them."""
    functions = [dict(tool.function) for tool in tools]
    return {**{key: value for key, value in body.items() if key != "mcp"}, "tools": functions}


async def streamed(loop: ToolLoop, body: dict[str, Any], *, include_usage: bool) -> AsyncGenerator[bytes, None]:
    """Yield the answer as SSE events, the end marker included."""
    async with aclosing(loop.run(body)) as chunks:
        async for chunk in chunks:
            if chunk["choices"] or include_usage:
                yield encode_event(chunk)
    yield DONE_EVENT


async def whole(loop: ToolLoop, body: dict[str, Any]) -> dict[str, Any]:
    """Return the answer as one object; ``modelhost.tool_calls`` lists the calls with their results."""
    answer = Answer("chat.completion")
    calls: dict[str, dict[str, Any]] = {}
    async with aclosing(loop.run(body)) as chunks:
        async for chunk in chunks:
            for key in EVENTS & chunk.keys():
                told = chunk.pop(key)
                if key in (CALL, RESULT):
                    calls.setdefault(told["id"], {}).update(told)
            answer.add(chunk)
    extra = {"modelhost.tool_calls": list(calls.values())} if calls else {}
    return {**answer.whole(), **extra, "usage": loop.usage}
