"""The wheel of an engine in the place of a build that cannot run."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from modelhost.engines.launch import Launch, ModelSpec
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.errors import ModelhostError, SystemLibraryMissing, WorkerStartFailed
from modelhost.workers.launching import launch_worker
from modelhost.workers.process import ENGINE_TIMEOUT


def _failed(reason: str, status: int | None, *, out_of_memory: bool = False) -> WorkerStartFailed:
    return WorkerStartFailed(
        "could not start", model="one", worker="one/1", reason=reason, exit_status=status, out_of_memory=out_of_memory
    )


async def _launched(error: ModelhostError, *, has_fallback: bool = True) -> list[str]:
    """Return the Pythons that were started, of which the first ended with ``error``."""
    started: list[str] = []

    async def start_process(launch: Launch, **_: Any) -> Any:
        started.append(launch.argv[0])
        if len(started) == 1:
            raise error
        return SimpleNamespace()

    spec = ModelSpec(name="one", path=Path("one.gguf"), python="/build/bin/python", has_fallback=has_fallback)
    await launch_worker(spec, LlamaCpp(), timeout_seconds=1, start_process=start_process)
    return started


@pytest.mark.parametrize(
    "error",
    [
        _failed("exit", -signal.SIGILL),
        _failed("exit", -signal.SIGSEGV),
        _failed("exit", 0),
        _failed(ENGINE_TIMEOUT, -signal.SIGKILL),
        SystemLibraryMissing("llama.cpp cannot be loaded: libcudart.so.12"),
    ],
    ids=["illegal instruction", "crash", "success", "hanging import", "library"],
)
async def test_a_build_that_cannot_run_is_replaced_by_the_wheel(error: ModelhostError) -> None:
    with capture_logs() as logged:
        assert await _launched(error) == ["/build/bin/python", sys.executable]
    (told,) = [line for line in logged if line["event"] == "engine_build_failed"]
    assert (told["log_level"], told["model"], told["engine"]) == ("warning", "one", "llamacpp")
    assert told["way_out"] == "modelhost engines install llamacpp"


@pytest.mark.parametrize(
    "error",
    [
        _failed("load_failed", 1),
        _failed("exit", 1),
        _failed("exit", -signal.SIGKILL),
        _failed("exit", -signal.SIGABRT, out_of_memory=True),
        _failed("timeout", None),
    ],
    ids=["model", "exit", "killed", "memory", "timeout"],
)
async def test_what_the_model_or_the_memory_is_the_reason_of_is_not_tried_again(error: ModelhostError) -> None:
    with pytest.raises(WorkerStartFailed) as raised:
        await _launched(error)
    assert raised.value.details["engine"] == "llamacpp"


async def test_a_python_that_the_settings_name_is_not_replaced() -> None:
    with pytest.raises(WorkerStartFailed):
        await _launched(_failed("exit", -signal.SIGILL), has_fallback=False)
