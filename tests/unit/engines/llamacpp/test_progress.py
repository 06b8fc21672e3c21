"""The events in which llama.cpp tells of a prompt's progress are taken out, and nothing else is."""

from __future__ import annotations

import pytest

from modelhost.engines.llamacpp.dialect import ProgressEvents

PROGRESS = b'data: {"choices":[],"prompt_progress":{"total":408,"processed":0}}\n\n'
TEXT = b'data: {"choices":[{"delta":{"content":"about \\"prompt_progress\\":"}}]}\n\n'


@pytest.mark.parametrize(
    ("block", "left"),
    [(TEXT, TEXT), (PROGRESS, b""), (PROGRESS + TEXT, TEXT), (TEXT + PROGRESS + TEXT, TEXT + TEXT), (b"", b"")],
)
def test_nothing_but_progress_is_taken_out(block: bytes, left: bytes) -> None:
    assert ProgressEvents().without(block) == left
