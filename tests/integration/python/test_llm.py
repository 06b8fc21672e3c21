"""``modelhost.LLM``: ordinary Python in front of real worker processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import modelhost
from modelhost.errors import ModelFileMissing, ShuttingDown
from tests.support.eventually import eventually
from tests.support.processes import Family, family, is_alive


def _scripted(**settings: object) -> modelhost.LLM:
    return modelhost.LLM(engine="scripted", threads=1, **settings)


def _pid(llm: modelhost.LLM) -> int:
    worker = llm.host.models[0].worker
    assert worker is not None
    return worker.process.pid


@pytest.fixture(scope="module")
def llm() -> Iterator[modelhost.LLM]:
    with _scripted() as entered:
        yield entered


@pytest.mark.promise("vllm-mcp.gpu", "mistralrs.api.python")
def test_the_bundled_model_answers() -> None:
    with modelhost.LLM(threads=1) as llm:
        worker = _pid(llm)
        reply = llm.chat("Hello!", max_tokens=16)
        assert str(reply) == reply.text != ""
        assert reply.finish_reason in {"stop", "length"}
        assert reply.usage["completion_tokens"] > 0
        assert len({len(vector) for vector in llm.embed(["one", "two"])}) == 1
        pieces = list(llm.stream([{"role": "user", "content": "Hello!"}], max_tokens=16))
        assert all(piece["object"] == "chat.completion.chunk" for piece in pieces)
        assert len({piece["id"] for piece in llm.stream("Hello!", n=2, max_tokens=4)}) == 1
    assert not is_alive(worker)


def test_closing_a_stream_early_frees_its_slot(llm: modelhost.LLM) -> None:
    pieces = llm.stream("/tokens 5000 /slow 100")
    next(pieces)
    assert llm.host.status().models[0].in_flight == 1
    pieces.close()
    assert llm.host.status().models[0].in_flight == 0


def test_several_choices_are_streamed_and_closed_early(llm: modelhost.LLM) -> None:
    pieces = llm.stream("/tokens 5000 /slow 100", n=3)
    assert next(pieces)["choices"]
    pieces.close()
    assert llm.host.status().models[0].in_flight == 0


def test_two_threads_talk_at_the_same_time(llm: modelhost.LLM) -> None:
    barrier = threading.Barrier(2, timeout=20)

    def read(word: str) -> str:
        pieces = llm.stream(f"/slow 200 /echo {word} {word} {word}")
        first = next(pieces)
        barrier.wait()
        rest = [first, *pieces]
        return "".join(choice["delta"].get("content") or "" for piece in rest for choice in piece["choices"])

    with ThreadPoolExecutor(2) as threads:
        one, two = threads.map(read, ["one", "two"])
    assert (one.split(), two.split()) == (["one"] * 3, ["two"] * 3)


def test_the_worker_is_gone_after_the_body_raised() -> None:
    workers: list[int] = []

    def fail() -> None:
        with _scripted() as llm:
            workers.append(_pid(llm))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not is_alive(workers[0])


def test_a_model_that_is_missing_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(ModelFileMissing), modelhost.LLM("/no/such/model.gguf"):
        pytest.fail("it cannot be entered")
    assert threading.active_count() == before


def test_it_answers_inside_its_block_only_and_can_be_entered_again() -> None:
    llm = _scripted()
    with pytest.raises(RuntimeError, match="inside its `with` block"):
        llm.chat("hello")
    with llm:
        left_open = llm.stream("/tokens 500 /slow 10")
        next(left_open)
    with pytest.raises(RuntimeError, match="inside its `with` block"):
        next(left_open)
    left_open.close()
    with llm:
        assert llm.chat("/echo hello").text.strip() == "hello"


def test_a_thread_that_waits_for_an_answer_is_told_when_the_model_is_closed() -> None:
    told: list[BaseException] = []

    def ask() -> None:
        try:
            llm.chat("/hang 0")
        except modelhost.ModelhostError as error:
            told.append(error)

    with _scripted() as llm:
        thread = threading.Thread(target=ask)
        thread.start()
        eventually(lambda: llm.host.status().models[0].in_flight == 1)
    thread.join(10)
    assert [type(error) for error in told] == [ShuttingDown]


INTERRUPTED = """
import signal, threading, modelhost
def interrupt():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
with modelhost.LLM(engine="scripted") as llm:
    pieces = llm.stream("/hang 3")
    next(pieces)
    threading.Timer(0.3, interrupt).start()
    try:
        list(pieces)
    except KeyboardInterrupt:
        print("interrupted", llm.host.status().models[0].in_flight, flush=True)
    print(llm.chat("/echo still here").text.strip(), flush=True)
    threading.Timer(0.3, interrupt).start()
    llm.chat("/hang 3")
"""


def test_ctrl_c_ends_the_answer_and_leaves_the_model_usable() -> None:
    with family(Family([sys.executable, "-W", "error", "-c", INTERRUPTED])) as started:
        status, output, log = started.result(30)
        assert output.splitlines() == ["interrupted 0", "still here"], log
        assert log.rstrip().endswith("KeyboardInterrupt")
        assert "never retrieved" not in log
        assert status != 0
        assert started.is_gone()


def test_the_readme_lines_run_without_a_warning(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import modelhost\nwith modelhost.LLM() as llm:\n    print(llm.chat('Hello!'))\n")
    done = subprocess.run(
        [sys.executable, "-X", "dev", str(program)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip()
    assert "Warning" not in done.stderr


def test_it_speaks_and_transcribes(llm: modelhost.LLM) -> None:
    assert llm.speech("/echo one two", response_format="wav") == b"one two"
    assert llm.transcribe(b"RIFF....WAVE/echo one two")["text"] == "one two"
