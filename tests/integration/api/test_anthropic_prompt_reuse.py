"""A coding agent over Anthropic's API: what the engine need not evaluate again from one turn to the next.

The model is the one of the benchmarks with fewer and narrower layers: thousands of tokens take it a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from bench.larger import ARCHITECTURE, Shape, write_larger
from tests.support.serving import ServedHost

NANO = Path(str(files("modelhost"))) / "assets" / "nano" / "modelhost-nano.gguf"
SMALL = Shape(layers=2, width=192, feed_forward=384, heads=3)
CONTEXT = 8192
TURNS = 10
WORDS = 800
"""Of the instructions, which are about 2,000 tokens."""
RULE = "Read a file before you edit it, keep the style of the code that is there, and run the tests after each change. "
FILES = ["main.py", "test_main.py", "setup.cfg"]
REUSED = 0.9
"""The part of the prompt that every turn after the first finds computed."""
LITTLE = 0.2

Turn = dict[str, int]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_larger(NANO, tmp_path_factory.mktemp("larger") / "agent.gguf", shape=SMALL)
    GGUFReader(path, "r+").fields[f"{ARCHITECTURE}.context_length"].parts[-1][0] = CONTEXT
    return path


@pytest.fixture(scope="module")
def start(model: Path) -> Iterator[Callable[[bool], ServedHost]]:
    """Starts a host with or without stable prompts."""
    started: list[ServedHost] = []

    def begin(stable: bool) -> ServedHost:
        host = ServedHost(model=str(model), context_length=CONTEXT, slots=2, threads=2, stable_prompts=stable)
        started.append(host)
        return host

    yield begin
    for host in started:
        host.close()


def tool(name: str, description: str) -> dict[str, Any]:
    # A model of random weights ends an argument only where the schema does.
    path = {"type": "string", "enum": FILES}
    schema = {"type": "object", "properties": {"path": path}, "required": ["path"], "additionalProperties": False}
    return {"name": name, "description": description, "input_schema": schema}


TOOLS = [
    tool("read_file", "Returns the contents of a file."),
    tool("format_file", "Formats a file."),
    tool("run_tests", "Runs the tests in a file and returns what failed."),
]


def system(turn: int) -> list[dict[str, Any]]:
    """The system prompt of Claude Code, whose first block is different in every request."""
    instructions = " ".join((RULE * WORDS).split()[:WORDS])
    return [
        {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1.{turn}; cch={turn * 7919:05x};\n"},
        {"type": "text", "text": instructions, "cache_control": {"type": "ephemeral"}},
    ]


def work(host: ServedHost) -> list[Turn]:
    """Have the model call a tool in each of the turns, and return the usage of each."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Fix the failing test."}]
    usages: list[Turn] = []
    for turn in range(TURNS):
        body = {
            "model": "claude-sonnet-4-5",
            "max_tokens": 60,
            "temperature": 0,
            "system": system(turn),
            "tools": TOOLS,
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
            "messages": messages,
        }
        answer = host.http.post("/v1/messages", json=body)
        message = answer.json()
        assert answer.status_code == 200, message
        assert message["stop_reason"] == "tool_use", message
        calls = [block for block in message["content"] if block["type"] == "tool_use"]
        results = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": f"Line {turn} of {call['input']['path']}"}
            for call in calls
        ]
        messages += [{"role": "assistant", "content": message["content"]}, {"role": "user", "content": results}]
        usages.append(message["usage"])
    return usages


def reused(usage: Turn) -> float:
    """Return the part of a prompt that was not computed anew."""
    cached = usage["cache_read_input_tokens"]
    return cached / (cached + usage["input_tokens"])


def test_each_turn_computes_only_what_is_new(start: Callable[[bool], ServedHost]) -> None:
    first, *later = work(start(True))
    assert first["input_tokens"] > 2_000
    assert min(map(reused, later)) >= REUSED


def test_without_stable_prompts_a_changing_line_has_each_turn_computed_anew(
    start: Callable[[bool], ServedHost],
) -> None:
    _, *later = work(start(False))
    assert max(map(reused, later)) <= LITTLE
