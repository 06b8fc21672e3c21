"""The table of the MCP servers that a host offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

FaceName = Literal["all", "llm", "models", "state", "monitor"]
Area = Literal["llm", "models", "state", "monitor"]
"""A group of tools and resources; the server ``all`` has every group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
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
    "chat_completion generates the answer of a language model; with a session_id, the host stores the conversation, "
    "and later calls contain only the new messages. model_info shows the model. Where "
    "models of the host can do that, speak makes audio of a text, transcribe text of audio, and generate_image images "
    "of a text."
)
_MODELS: Final = (
    "list-models lists the models, load-model and unload-model load and unload them, set-model-config sets the default "
    "request parameters of a model. The first request to a model also loads it. load-model also takes a model of the "
    "hub (org/name) and downloads it; pull-model downloads a model without loading it."
)
_STATE: Final = (
    "save-state saves models and conversations under a session_id of your choice, load-state restores them, "
    "clear-state deletes them."
)
_MONITOR: Final = (
    "get-metrics shows throughput, latencies and errors over any window up to the kept history, get-gpu-stats and "
    "get-memory-stats what is in use now. The resources have the same, and the alerts that are active."
)

FACES: Final[Mapping[FaceName, Face]] = {
    face.name: face
    for face in (
        Face(
            name="all",
            title="modelhost",
            areas=frozenset({"llm", "models", "state", "monitor"}),
            instructions=f"{_CHAT} {_MODELS} {_STATE} {_MONITOR}",
        ),
        Face(name="llm", title="modelhost: chat", areas=frozenset({"llm"}), instructions=_CHAT),
        Face(name="models", title="modelhost: models", areas=frozenset({"models"}), instructions=_MODELS),
        Face(name="state", title="modelhost: state", areas=frozenset({"state"}), instructions=_STATE),
        Face(name="monitor", title="modelhost: monitor", areas=frozenset({"monitor"}), instructions=_MONITOR),
    )
}
