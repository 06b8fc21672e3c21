"""The engines that the suite runs against: one entry each. All of them serve the same tiny model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelhost.engines import TRAITS
from modelhost.engines.capabilities import Capabilities
from modelhost.engines.environments import python_of
from modelhost.engines.installed import with_environment
from tests.support.llama_server import NONE_HERE, llama_server
from tests.support.serving import ServedHost

NANO_HF = Path(__file__).parents[2] / "assets" / "nano-hf"
NAME = "nano"
CONTEXT = 512
WEATHER = "What is the weather in Paris?"
WHO = "Hello! Who are you?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An engine with the model in the form that it reads.

    ``at_least`` is its name for ``min_tokens_to_keep``. What it can do is what the reference says of it.
    """

    engine: str
    model: str | None
    label: str = ""
    """What the engine runs as, where that is not the usual."""
    at_least: str = "min_tokens_to_keep"
    settings: Mapping[str, Any] = field(default_factory=dict)
    there: ServedHost | None = None
    """The other host whose model it is, where it is one."""
    why_not: str = ""
    """Why it cannot be had here; empty: it can."""

    def seed(self, number: int) -> dict[str, int]:
        """Return the seed of a request whose tokens are drawn; of an engine without seeds, none."""
        return {} if self.capabilities.provider_of("seed") == "refused" else {"seed": number}

    def worker_pids(self, host: ServedHost) -> list[int]:
        """Return the processes that work for ``host``, which has the model."""
        return (self.there or host).worker_pids()

    @property
    def capabilities(self) -> Capabilities:
        """What docs/reference/engines.md says of it."""
        found = TRAITS[self.engine].capabilities
        assert found is not None
        return found

    @property
    def host_settings(self) -> dict[str, Any]:
        """The settings of a host that serves it."""
        shared = {"engine": self.engine, "model": self.model, "alias": [NAME], "context_length": CONTEXT, "slots": 4}
        return {**shared, **self.settings}


def _in_a_llama_server() -> Served:
    """Return llama.cpp in a program of its own, where there is one."""
    program = llama_server()
    return Served(
        engine="llamacpp",
        model=None,
        label="llama-server",
        at_least="min_keep",
        settings={"engine_options": {"server": program}},
        why_not="" if program else NONE_HERE,
    )


SERVED_HERE = (
    Served(engine="llamacpp", model=None, at_least="min_keep"),
    _in_a_llama_server(),
    Served(engine="transformers", model=str(NANO_HF)),
    Served(engine="mlx", model=str(NANO_HF)),
    Served(engine="remote", model=None, settings={"engine_options": {"dialect": "modelhost"}}),
)


def _in_environments() -> tuple[Served, ...]:
    """Return the engines that ``make test-engines`` has installed, where it runs; the others are then left out."""
    folder = os.environ.get("MODELHOST_TEST_ENGINES")
    if folder is None:
        return ()
    found = {engine: python_of(engine, Path(folder)) for engine in with_environment()}
    return tuple(
        Served(engine=engine, model=str(NANO_HF), settings={"worker_python": str(python), "load_timeout": 300})
        for engine, python in found.items()
        if python is not None
    )


SERVED = _in_environments() or SERVED_HERE


def tool(name: str, description: str, **properties: Any) -> dict[str, Any]:
    """A tool, all of whose parameters are required."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS = [
    tool("get_weather", "Tells the weather of a city.", city={"type": "string", "maxLength": 20}),
    tool("add", "Adds two numbers.", a={"type": "integer"}, b={"type": "integer"}),
]


class Asking:
    """Requests to one host, with what every test wants of them: an answer that does not change."""

    def __init__(self, host: ServedHost) -> None:
        self.host = host

    def chat(self, content: str | list[dict[str, Any]] = WHO, **parameters: Any) -> dict[str, Any]:
        """Return the whole answer to a chat."""
        answer = self.post("/v1/chat/completions", _chat(content, parameters))
        assert answer.status_code == 200, answer.text
        whole: dict[str, Any] = answer.json()
        return whole

    def text(self, content: str | list[dict[str, Any]] = WHO, **parameters: Any) -> str:
        """Return the text of the answer to a chat."""
        text: str = self.chat(content, **parameters)["choices"][0]["message"]["content"]
        return text

    def refusal(self, content: str = WHO, **parameters: Any) -> dict[str, Any]:
        """Return the error with which a chat is refused as the caller's."""
        answer = self.post("/v1/chat/completions", _chat(content, parameters))
        assert answer.status_code == 400, answer.text
        error: dict[str, Any] = answer.json()["error"]
        return error

    def chunks(self, content: str = WHO, **parameters: Any) -> list[dict[str, Any]]:
        """Return the events of a streamed answer to a chat."""
        return list(self._events(_chat(content, {"stream": True, **parameters})))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.host.http.post(path, json=body)

    def _events(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        with self.host.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.status_code == 200
            lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
        assert lines.pop() == "data: [DONE]"
        for line in lines:
            yield json.loads(line.removeprefix("data: "))


def _chat(content: str | list[dict[str, Any]], parameters: Mapping[str, Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": content}] if isinstance(content, str) else content
    return {"messages": messages, "temperature": 0, "max_tokens": 200, **parameters}
