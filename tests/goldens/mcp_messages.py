"""The messages that are sent to the MCP servers of a host: the same in both eras and over both transports."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Era = Literal["handshake", "modern"]
ERAS: Final[tuple[Era, ...]] = ("handshake", "modern")
VERSIONS: Final[Mapping[Era, str]] = {"handshake": "2025-11-25", "modern": "2026-07-28"}
CLIENT: Final = {"name": "goldens", "version": "1"}
META: Final[Mapping[str, Any]] = {
    "io.modelcontextprotocol/protocolVersion": VERSIONS["modern"],
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": CLIENT,
}
"""What each request of the modern era brings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A request, or a notification; ``$name`` in it is what an earlier answer was kept under."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)
    is_request: bool = True
    keep: Mapping[str, str] = field(default_factory=dict)
    """Names for parts of the answer, as in HTTP scenarios."""
    progress: str | None = None
    """The token with which progress is told."""

    def in_era(self, era: Era, key: int) -> dict[str, Any]:
        """Return it as JSON."""
        params = dict(self.params)
        meta = {**(META if era == "modern" else {}), **({"progressToken": self.progress} if self.progress else {})}
        if meta:
            params["_meta"] = meta
        message: dict[str, Any] = {"jsonrpc": "2.0"}
        if self.is_request:
            message["id"] = key
        message["method"] = self.method
        return {**message, "params": params} if params else message

    @property
    def name(self) -> str | None:
        """What its ``Mcp-Name`` header says."""
        name = self.params.get("name", self.params.get("uri"))
        return name if isinstance(name, str) else None


def call(tool: str, keep: Mapping[str, str] | None = None, progress: str | None = None, **arguments: Any) -> Message:
    """A call of a tool."""
    params = {"name": tool, "arguments": arguments}
    return Message(method="tools/call", params=params, keep=keep or {}, progress=progress)


def read(uri: str) -> Message:
    """A reading of a resource."""
    return Message(method="resources/read", params={"uri": uri})


def said(text: str) -> list[dict[str, str]]:
    """The messages of a conversation that has just begun."""
    return [{"role": "user", "content": text}]


def sound(text: str) -> str:
    """A file of which the scripted engine hears ``text``, in base64."""
    return base64.b64encode(f"RIFF....WAVE{text}".encode()).decode()


OPENING: Final[Mapping[Era, tuple[Message, ...]]] = {
    "handshake": (
        Message(
            method="initialize",
            params={"protocolVersion": VERSIONS["handshake"], "capabilities": {}, "clientInfo": CLIENT},
        ),
        Message(method="notifications/initialized", is_request=False),
    ),
    "modern": (Message(method="server/discover"),),
}
LISTINGS: Final = (
    Message(method="ping"),
    Message(method="tools/list"),
    Message(method="resources/list"),
    Message(method="resources/templates/list"),
    Message(method="prompts/list"),
)
LLM: Final = (
    call("chat_completion", messages=said("/echo one two")),
    call("chat_completion", progress="t", messages=said("/echo one two"), session_id="anna", max_tokens=5),
    call("chat_completion", messages=said("hello"), model="none"),
    call("chat_completion", messages="hello"),
    call("speak", progress="t", input="/echo one two", voice="two", response_format="wav"),
    call("speak", input="/echo one", voice="three"),
    call("speak", input="...", model="one"),
    call("transcribe", progress="t", file=sound("/echo one two"), language="en"),
    call("transcribe", file="one"),
    call("transcribe", file=sound("/echo one"), model="none"),
    call("generate_image", progress="t", prompt="/echo one two", size="64x128", seed=1),
    call("generate_image", prompt="/echo one", size="63x64"),
    call("generate_image", prompt="one", model="none"),
    call("model_info"),
)
MODELS: Final = (
    call("list-models"),
    call("load-model", model_id="one", wait=True),
    call("load-model", model_id="broken", wait=True),
    call("load-model", model_id="large", wait=True),
    call("get-model-info", model_id="one"),
    call("get-model-info", model_id="none"),
    call("set-model-config", model_id="one", config={"temperature": 0.5}),
    call("set-model-config", model_id="one", config={"temperature": None}),
    call("unload-model", model_id="two"),
    read("model://one/config"),
    read("model://one/logs"),
    read("model://none/config"),
    call("load-model", model_id="large"),
    call("load-model", model_id="./model.gguf"),
    call("pull-model", model="org/none"),
    call("pull-model", model="org/nano-GGUF"),
)
STATE: Final = (
    call("save-state", keep={"state": r'"state_id": ?"(state-[^"]+)"'}, session_id="label"),
    call("load-state", session_id="label"),
    read("state://sessions"),
    read("state://session/label/summary"),
    call("load-state", session_id="none"),
    call("clear-state", session_id="label", include_models=True),
    call("clear-state", session_id="anna"),
)
MONITOR: Final = (
    call("get-metrics", duration_seconds=3600, metrics=["throughput", "latency", "memory"], model="one"),
    call("get-metrics", duration_seconds=999999999),
    call("get-gpu-stats"),
    call("get-gpu-stats", gpu_ids=[99]),
    call("get-memory-stats"),
    read("metrics://current"),
    read("metrics://history/6h"),
    read("metrics://history/long"),
    read("alerts://active"),
)
MISTAKES: Final = (
    call("none"),
    read("none://of/these"),
    Message(method="tools/none"),
    Message(method="tools/call", params={"name": "load-model", "arguments": {"colour": "red"}}),
)
FACES: Final[Mapping[str, tuple[Message, ...]]] = {
    "all": (*LLM, *MODELS, *STATE, *MONITOR, *MISTAKES),
    "llm": (LLM[0], LLM[4], LLM[7], LLM[10], LLM[-1]),
    "models": (call("list-models"), *MODELS[1:2], *MODELS[4:5], *MODELS[6:9], MODELS[-1]),
    "state": (*STATE[:2], *STATE[5:]),
    "monitor": (MONITOR[0], MONITOR[2], *MONITOR[4:6]),
}
"""What is sent to each server after its listings."""
