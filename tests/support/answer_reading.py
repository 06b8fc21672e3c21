"""An answer of a worker, read in pieces and put together as a client does."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from modelhost.engines.tool_calls.calls import ToolCallFormat
from modelhost.engines.worker.reader import ChatReader

PLACES = st.lists(st.integers(min_value=0, max_value=10_000), max_size=40)
"""Where a text is cut."""


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def read(
    pieces: list[str], calling: ToolCallFormat | None, *, reads_reasoning: bool = True, is_thinking: bool = False
) -> dict[str, Any]:
    """What a client puts together of the deltas."""
    reader = ChatReader(calling=calling, reads_reasoning=reads_reasoning, is_thinking=is_thinking)
    whole: dict[str, Any] = {"content": "", "reasoning_content": "", "calls": []}
    for delta in [*(delta for piece in pieces for delta in reader.feed(piece)), *reader.finish()]:
        for kind in ("content", "reasoning_content"):
            assert delta.get(kind) != ""
            whole[kind] += delta.get(kind, "")
        for piece in delta.get("tool_calls", []):
            if "id" in piece:
                assert piece["index"] == len(whole["calls"])
                whole["calls"].append([piece["function"]["name"], ""])
            whole["calls"][piece["index"]][1] += piece["function"]["arguments"]
    return whole
