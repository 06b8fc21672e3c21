"""What is told of the model that answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from modelhost.models.residency.status import State
from modelhost.operations.llm import MODEL_INFO, ServedModel
from tests.unit.operations.fake_host import FakeHost, model_status


async def _info(**model: Any) -> ServedModel:
    async def count() -> int:
        return 3

    host = FakeHost(model_status("qwen", **model))
    host.state = SimpleNamespace(sessions=SimpleNamespace(count=count))
    found: ServedModel = await MODEL_INFO.run(host, MODEL_INFO.parse({}))
    assert host.looks == 1
    return found


def test_the_example_is_what_it_gives() -> None:
    assert ServedModel.model_validate(MODEL_INFO.answer).model_dump(mode="json") == MODEL_INFO.answer


@pytest.mark.promise("vllm-mcp.info.before")
@pytest.mark.parametrize(
    ("known", "dtype"),
    [
        ({"dtype": "bfloat16", "quantization": "BF16"}, "bfloat16"),
        ({"quantization": "Q4_K_M"}, "Q4_K_M"),
        ({}, "auto"),
    ],
    ids=str,
)
async def test_the_numbers_are_those_in_force(known: dict[str, Any], dtype: str) -> None:
    info = await _info(context_length=2048, **known)
    assert (info.dtype, info.max_model_len, info.active_sessions) == (dtype, 2048, 3)


@pytest.mark.parametrize(
    ("state", "obstacle", "expected"),
    [
        (State.UNLOADED, None, "idle"),
        (State.UNLOADED, "There is no such file.", "error"),
        (State.FAILED, None, "error"),
        (State.BUSY, None, "ready"),
    ],
)
async def test_a_model_that_cannot_be_loaded_is_an_error(state: State, obstacle: str | None, expected: str) -> None:
    assert (await _info(state=state, obstacle=obstacle)).server_state == expected
