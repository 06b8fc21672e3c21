"""All doors. A new one is a subclass of :class:`~tests.doors.door.Door` and a line in :data:`DOORS`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from tests.doors.anthropic_doors import AnthropicStreamed, AnthropicWhole
from tests.doors.door import Ability, Door, HttpDoor
from tests.doors.mcp_doors import McpClient, McpHandshake, McpPlain
from tests.doors.ollama_doors import (
    OllamaChatStreamed,
    OllamaChatWhole,
    OllamaGenerateStreamed,
    OllamaGenerateWhole,
)
from tests.doors.openai_doors import ChatEvents, ChatRelayed, ChatWhole, CompletionsStreamed, CompletionsWhole
from tests.doors.prompt_door import Prompt
from tests.doors.python_doors import HostStreamed, HostWhole, LLMStreamed, LLMWhole
from tests.doors.responses_doors import ResponsesStreamed, ResponsesWhole
from tests.doors.responses_socket import ResponsesSocket

DOORS: tuple[type[Door], ...] = (
    ChatWhole,
    ChatRelayed,
    ChatEvents,
    CompletionsWhole,
    CompletionsStreamed,
    ResponsesWhole,
    ResponsesStreamed,
    ResponsesSocket,
    AnthropicWhole,
    AnthropicStreamed,
    OllamaChatWhole,
    OllamaChatStreamed,
    OllamaGenerateWhole,
    OllamaGenerateStreamed,
    Prompt,
    McpClient,
    McpHandshake,
    McpPlain,
    HostWhole,
    HostStreamed,
    LLMWhole,
    LLMStreamed,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A door as a test wants it: what the fixture ``door`` is made of."""

    kind: type[Door]
    has_tools: bool = False
    """Whether its host has a server of tools."""
    calls_tools: bool = True
    """Whether its model can have tools."""
    over_socket: bool = False


def over(
    *abilities: Ability,
    without: Ability | None = None,
    tools: bool = False,
    calls_tools: bool = True,
    sockets: bool = False,
) -> pytest.MarkDecorator:
    """Run a test over all doors that have ``abilities``: its argument ``door`` is one.

    Args:
        without: only over those that lack this.
        tools: the host has a server of tools.
        calls_tools: otherwise the host has such a server and a model that cannot have tools, and is no ``LLM``.
        sockets: run it over real sockets too, at the doors that have some.
    """
    able = [kind for kind in DOORS if not kind.lacks.keys() & set(abilities)]
    if without is not None:
        able = [kind for kind in able if without in kind.lacks]
    able = [kind for kind in able if calls_tools or not kind.needs_llm]
    cases = [Case(kind=kind, has_tools=tools, calls_tools=calls_tools) for kind in able]
    if sockets:
        # What is made of events in memory is made of them by a wrapper, which a listening host has not.
        cases += [Case(kind=kind, over_socket=True) for kind in able if issubclass(kind, HttpDoor) and kind.relays]
    return at(cases)


def at(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """Run a test at the doors of ``cases``."""
    named = {case.kind.name + ("-socket" if case.over_socket else ""): case for case in cases}
    return pytest.mark.parametrize("door", list(named.values()), ids=list(named), indirect=True)
