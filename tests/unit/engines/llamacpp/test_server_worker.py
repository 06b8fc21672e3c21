"""The worker that has a ``llama-server`` as its child: how they start, what they tell, and that they end together."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from modelhost.engines.launch import Launch, ModelSpec
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.errors import WorkerStartFailed
from modelhost.workers.process import WorkerProcess
from modelhost.workers.process_groups import running_members
from tests.support.eventually import eventually
from tests.support.llama_server_stub import SLOT, seen_by, write_llama_server
from tests.support.processes import is_alive

START_SECONDS = 60
KEY = "the-key-of-this-test"


def launch_of(program: str, tmp_path: Path, *, socket: bool = True, **spec: Any) -> Launch:
    options = {"server": program, **spec.pop("options", {})}
    known = {"context_length": 1000, "slots": 2, "threads": 1, "vocab_size": 500, **spec}
    launch = LlamaCpp().launch(ModelSpec(name="m", path=Path("/m.gguf"), options=options, **known), KEY)
    places = {"folder": str(tmp_path), **({"socket_path": str(tmp_path / "w.sock")} if socket else {})}
    return replace(launch, config={**launch.config, **places})


async def start(launch: Launch) -> WorkerProcess:
    return await WorkerProcess.start(launch, model="m", timeout_seconds=START_SECONDS)


@asynccontextmanager
async def running(launch: Launch) -> AsyncIterator[WorkerProcess]:
    worker = await start(launch)
    try:
        yield worker
    finally:
        await worker.kill()


async def refusal(launch: Launch) -> WorkerStartFailed:
    with pytest.raises(WorkerStartFailed) as refused:
        await start(launch)
    return refused.value


async def test_it_is_announced_with_what_the_program_says_of_itself(tmp_path: Path) -> None:
    with capture_logs() as logged:
        async with running(launch_of(write_llama_server(tmp_path), tmp_path)) as worker:
            ready = worker.ready
    assert ready.engine_version == "llama-server 0.6.0-dev (build 11549, commit 6f3ab12)"
    assert ready.url == f"unix://{tmp_path / 'w.sock'}"
    assert (ready.context_length, ready.slots) == (1000, 2)
    assert set(ready.tasks) == {"chat", "completions", "embeddings", "tokenize", "detokenize"}
    assert ready.cache_folder == str(tmp_path)
    assert ready.lacks == ()
    assert "engine_lacks" not in [line["event"] for line in logged]


async def test_the_key_is_in_the_environment_and_not_on_the_command_line(tmp_path: Path) -> None:
    program = write_llama_server(tmp_path)
    async with running(launch_of(program, tmp_path)):
        seen = seen_by(program)
    assert seen["environment"]["LLAMA_API_KEY"] == KEY
    assert KEY not in " ".join(seen["arguments"])


async def test_variables_that_stand_for_flags_reach_it_only_if_given_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = write_llama_server(tmp_path)
    for name in ("LLAMA_ARG_MODELS_DIR", "LLAMA_ARG_NO_JINJA", "LLAMA_ARG_POOLING", "LLAMA_CACHE"):
        monkeypatch.setenv(name, "of-the-host")
    async with running(launch_of(program, tmp_path, env={"LLAMA_ARG_POOLING": "last"})):
        environment = seen_by(program)["environment"]
    assert {name: text for name, text in environment.items() if name.startswith("LLAMA_ARG")} == {
        "LLAMA_ARG_POOLING": "last"
    }
    assert environment["LLAMA_CACHE"] == "of-the-host"


async def test_a_template_is_handed_over_as_a_file_that_is_gone_afterwards(tmp_path: Path) -> None:
    program = write_llama_server(tmp_path)
    async with running(launch_of(program, tmp_path, chat_template="{{ 'Grüße' }}")):
        assert seen_by(program)["template"] == "{{ 'Grüße' }}"
        left = [path.name for path in await asyncio.to_thread(lambda: list(tmp_path.iterdir()))]
    assert not [name for name in left if name.startswith("modelhost-llama-")]


async def test_an_old_one_listens_on_a_port_and_the_log_says_what_it_lacks(tmp_path: Path) -> None:
    launch = launch_of(write_llama_server(tmp_path, age="old"), tmp_path)
    with capture_logs() as logged:
        async with running(launch) as worker:
            assert worker.ready.url.startswith("http://127.0.0.1:")
            assert await worker.is_reachable()
            assert "embeddings" not in worker.ready.tasks
    (told,) = [line for line in logged if line["event"] == "engine_lacks"]
    assert told["model"] == "m"
    assert told["engine_version"] == "llama-server 4719 (b3e8a1c0)"
    assert told["lacks"] == ["--sse-ping-interval", "--offline", "--cache-ram", "--kv-unified-per-slot"]


@pytest.mark.parametrize("lacking", ["prompt", "generated", "n_prompt_tokens"])
async def test_without_what_prompt_caches_need_the_host_learns_of_no_folder(tmp_path: Path, lacking: str) -> None:
    slot = {key: value for key, value in SLOT.items() if key != lacking}
    async with running(launch_of(write_llama_server(tmp_path, slot=slot), tmp_path)) as worker:
        assert worker.ready.cache_folder is None


async def test_without_a_socket_it_listens_on_a_port(tmp_path: Path) -> None:
    async with running(launch_of(write_llama_server(tmp_path), tmp_path, socket=False)) as worker:
        assert worker.ready.url.startswith("http://127.0.0.1:")
        assert await worker.is_reachable()


async def test_what_it_lacks_is_refused_by_name_before_it_is_started(tmp_path: Path) -> None:
    program = write_llama_server(tmp_path, age="old")
    refused = await refusal(launch_of(program, tmp_path, options={"cache_ram_mib": 100}))
    assert "has no --cache-ram, which engine option cache_ram_mib=100 requires; use a newer one" in refused.message
    assert refused.details["reason"] == "unsuitable_program"
    assert not (tmp_path / "seen.json").exists()


async def test_one_that_makes_embeddings_and_no_texts_beside_them_is_refused(tmp_path: Path) -> None:
    refused = await refusal(launch_of(write_llama_server(tmp_path, completes=501), tmp_path))
    assert "makes embeddings or texts, not both: engine option embeddings=false" in refused.message


async def test_another_program_is_refused(tmp_path: Path) -> None:
    refused = await refusal(launch_of(sys.executable, tmp_path))
    assert f"{sys.executable} is no llama-server" in refused.message
    assert "Its last lines" not in refused.message


async def test_the_end_of_a_program_that_cannot_load_is_explained_with_its_last_lines(tmp_path: Path) -> None:
    program = write_llama_server(tmp_path, fails=1, says="alloc_tensor_range: failed to allocate CPU buffer")
    refused = await refusal(launch_of(program, tmp_path))
    assert "llama-server ended with status 1" in refused.message
    assert "failed to allocate CPU buffer" in refused.message
    assert refused.details["out_of_memory"]


async def test_a_killed_program_ends_its_worker_by_the_same_signal(tmp_path: Path) -> None:
    program = write_llama_server(tmp_path)
    worker = await start(launch_of(program, tmp_path))
    os.kill(seen_by(program)["pid"], signal.SIGKILL)
    async with asyncio.timeout(10):
        await worker.wait()
    assert worker.describe_exit() == "was ended by SIGKILL"
    await worker.kill()


async def test_a_worker_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    program = write_llama_server(tmp_path)
    worker = await start(launch_of(program, tmp_path))
    await worker.stop()
    assert not is_alive(seen_by(program)["pid"])
    assert not running_members(worker.pid)


@asynccontextmanager
async def without_a_host(launch: Launch) -> AsyncIterator[asyncio.subprocess.Process]:
    """The worker as nobody's: whatever ends with it does so by itself."""
    pipe = asyncio.subprocess.PIPE
    worker = await asyncio.create_subprocess_exec(
        *launch.argv, stdin=pipe, stdout=pipe, env={**os.environ, **launch.env}, start_new_session=True
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps(dict(launch.config)).encode() + b"\n")
    try:
        async with asyncio.timeout(START_SECONDS):
            assert b'"ready"' in await worker.stdout.readline()
        yield worker
    finally:
        if running_members(worker.pid):
            os.killpg(worker.pid, signal.SIGKILL)
        await worker.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends children of a process on Linux alone")
async def test_a_killed_worker_takes_its_program_with_it(tmp_path: Path) -> None:
    program = write_llama_server(tmp_path)
    async with without_a_host(launch_of(program, tmp_path)) as worker:
        worker.kill()
        eventually(lambda: not is_alive(seen_by(program)["pid"]), seconds=5)


async def test_both_end_when_the_host_is_gone(tmp_path: Path) -> None:
    program = write_llama_server(tmp_path)
    async with without_a_host(launch_of(program, tmp_path)) as worker:
        assert worker.stdin is not None
        worker.stdin.close()
        async with asyncio.timeout(10):
            await worker.wait()
        eventually(lambda: not is_alive(seen_by(program)["pid"]), seconds=5)
