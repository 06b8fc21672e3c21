"""What is measured: the loads, with how long each runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.figures import CHAT, CONTROL_EVENTS

STREAMS = (1, 8, 32, 128)
PACED, FULL, SINGLE, FIRST, NANO = (
    "scripted, 100 tokens/s per stream",
    "scripted, full speed",
    "scripted, full speed, one event per write",
    "scripted, first token",
    "nano on llama.cpp",
)


def _chat(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


# Greedy and without an end, so that both sides do the same work.
_ENDLESS: Mapping[str, Any] = {**_chat("Tell me something."), "temperature": 0, "ignore_eos": True}
SHORT: Mapping[str, Any] = {**_ENDLESS, "max_tokens": 16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One kind of request, and for how long it is repeated."""

    name: str
    engine: str
    body: Mapping[str, Any]
    streams: tuple[int, ...]
    requests: int = 1
    seconds: float = 0.0
    expected_events: int | None = None
    door: str = CHAT


def loads(*, quick: bool, streams: tuple[int, ...] = STREAMS) -> tuple[Load, ...]:
    """Return all loads; ``quick`` ones take about a quarter of the time."""
    # A paced run is long enough that the beginning of all streams at once does not weigh in its tokens per second.
    seconds, paced, first = (1.0, 200, 200) if quick else (2.0, 400, 500)
    return (
        scripted(FIRST, "", 8, streams=(1,), requests=first),
        scripted(PACED, "/slow 100", paced, streams=streams),
        scripted(FULL, "", 1000, streams=streams, seconds=seconds),
        scripted(SINGLE, "/batch 1", 1000, streams=streams, seconds=seconds),
        Load(
            name=NANO,
            engine="llamacpp",
            body={**_ENDLESS, "max_tokens": 64},
            streams=streams,
            seconds=seconds,
        ),
    )


def scripted(name: str, commands: str, tokens: int, **more: Any) -> Load:
    """Return a load of the scripted worker: so many tokens, and the commands that say how they come."""
    body = _chat(f"/tokens {tokens} {commands}")
    return Load(name=name, engine="scripted", body=body, expected_events=tokens + CONTROL_EVENTS, **more)
