"""The table of the MCP servers that a host offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

FaceName = Literal["all", "llm", "models", "state"]
Area = Literal["llm", "models", "state"]
"""A group of tools and resources; the server ``all`` has every group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """One server: its names and areas."""

    name: FaceName
    title: str
    areas: frozenset[Area]
    instructions: str

    @property
    def server_name(self) -> str:
        """The name in the protocol."""
        return "modelhost" if self.name == "all" else f"modelhost-{self.name}"

    @property
    def path(self) -> str:
        """The HTTP path at which a host serves it."""
        return "/mcp" if self.name == "all" else f"/mcp/{self.name}"


_CHAT: Final = (
    "chat_completion lets a language model answer; with a session_id the host remembers the conversation, so that "
    "later calls bring only what is new. model_info tells which model that is."
)
_MODELS: Final = (
    "list-models shows what there is, load-model and unload-model change what is in memory, set-model-config sets what "
    "requests get where they are silent. A model is loaded by its first request too. load-model also takes a model of "
    "the hub (org/name), which is downloaded; pull-model downloads one and does not load it."
)
_STATE: Final = (
    "save-state keeps models and conversations under a session_id of your choice, load-state brings them back, "
    "clear-state deletes."
)

FACES: Final[Mapping[FaceName, Face]] = MappingProxyType(
    {
        face.name: face
        for face in (
            Face(
                name="all",
                title="modelhost",
                areas=frozenset({"llm", "models", "state"}),
                instructions=f"{_CHAT} {_MODELS} {_STATE}",
            ),
            Face(name="llm", title="modelhost: chat", areas=frozenset({"llm"}), instructions=_CHAT),
            Face(name="models", title="modelhost: models", areas=frozenset({"models"}), instructions=_MODELS),
            Face(name="state", title="modelhost: state", areas=frozenset({"state"}), instructions=_STATE),
        )
    }
)
