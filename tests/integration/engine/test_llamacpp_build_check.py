"""The check of a build with real workers: a native build where ``make native`` has made one, and the wheel twice."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from modelhost.cli.engines.installation import bundled_model, check_build
from modelhost.engines.environments import python_of
from modelhost.engines.llamacpp.build_check import TOLERANCE, check
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.llamacpp.record import why_unused
from modelhost.workers.launching import launch_worker
from modelhost.workers.process import WorkerProcess

DATA = Path(__file__).parents[3] / ".venv-native" / "data"


@pytest.fixture(autouse=True)
def _measure_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelhost.engines.llamacpp.build_check.ROUNDS", 1)


async def test_greedy_answers_of_a_native_build_are_those_of_the_wheel() -> None:
    python = python_of(LlamaCpp.name, DATA)
    if python is None:
        pytest.skip("there is no native build of llama.cpp: make native")
    if why := why_unused(DATA):
        pytest.skip(f"the native build of llama.cpp is not used: {why}")
    checked = await check_build(python, "native")
    assert checked.other_answers == {}
    assert checked.scores_differ_by <= TOLERANCE


async def test_the_wheel_passes_beside_itself_if_it_computes_in_another_order() -> None:
    wheel = bundled_model()
    other = replace(wheel, options={**wheel.options, "flash_attention": "off"})
    async with AsyncExitStack() as stack:
        workers = []
        for spec in (wheel, other):
            start = launch_worker(spec, LlamaCpp(), timeout_seconds=60, start_process=WorkerProcess.start)
            workers.append(await start)
            stack.push_async_callback(workers[-1].close)
        checked = await check(workers[0], workers[1], "native")
    assert checked.other_answers == {}
    assert 0 < checked.scores_differ_by <= TOLERANCE
