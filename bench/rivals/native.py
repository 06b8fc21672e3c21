"""The ``llamacpp`` engine beside other builds of llama.cpp, on the same file and with as many threads.

The engine's library comes compiled for AVX2. A build on the machine itself uses what else its processor has; this
measures what that is worth.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from bench.engines import bundled
from bench.larger import KINDS, write_larger
from bench.sides import Side, StartError, bare_worker, free_port, own_server
from modelhost.engines.base import ModelSpec
from modelhost.engines.llamacpp import LlamaCpp

CLIENTS: Final = (1, 8)
ENGINE, PYTHON, SERVER = "llamacpp engine", "llama-cpp-python, built here", "llama-server"
ENVIRONMENT: Final = Path(__file__).parents[2] / ".venv-native"
INSTALLED: Final = ENVIRONMENT / ".native"  # the stamp of make
RUNNER: Final = Path(__file__).with_name("llama_cpp_python_runner.py")
HOW_TO_INSTALL: Final = "llama-cpp-python is not built: make native"
NO_SERVER: Final = "there is no llama-server on the PATH; --llama-server PATH names one"
SLOTS, CONTEXT = max(CLIENTS), 512
FIRST_TOKEN, LAST_TOKEN = 3, 250  # of the prompts, out of a vocabulary that has more
START_SECONDS, ANSWER_SECONDS = 60.0, 300.0
RETRY_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What each client has done: a prompt read, and tokens written."""

    name: str
    prompt: int
    tokens: int

    @property
    def counted(self) -> int:
        """The tokens of a client that the speed is about."""
        return self.tokens if self.tokens > 1 else self.prompt


READING, WRITING = Work(name="prompt", prompt=384, tokens=1), Work(name="generation", prompt=8, tokens=64)
Build = Callable[[Work, int], float]
"""Does the work for a number of clients at once and returns the seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeRow:
    """One build with one file: tokens per second of all clients together, by work and clients, for each round."""

    build: str
    kind: str
    speeds: Mapping[tuple[str, int], tuple[float, ...]]

    def speed(self, work: Work, clients: int) -> float:
        """The median over the rounds."""
        return statistics.median(self.speeds[work.name, clients])


def measure_native(rounds: int, server: Path | None, log: Path, problems: list[str]) -> Iterator[NativeRow]:
    """Yield the rows of each kind of file; what is not there is left out, and ``problems`` says why.

    Raises:
        StartError: the engine's worker did not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            model = write_larger(bundled(None), Path(folder) / f"{kind}.gguf", kind)
            with builds(model, server, log, problems if kind == KINDS[0] else []) as found:
                yield from _rows(found, kind, rounds)
            model.unlink()


def _rows(found: Mapping[str, Build], kind: str, rounds: int) -> Sequence[NativeRow]:
    works = [(work, clients) for work in (READING, WRITING) for clients in CLIENTS]
    speeds: dict[str, dict[tuple[str, int], list[float]]] = {
        name: {(work.name, clients): [] for work, clients in works} for name in found
    }
    for build in found.values():
        build(WRITING, max(CLIENTS))  # what a first time costs is no part of it
    for _ in range(rounds):
        for work, clients in works:
            for name, build in found.items():
                speeds[name][work.name, clients].append(clients * work.counted / build(work, clients))
    return [
        NativeRow(build=name, kind=kind, speeds={what: tuple(seen) for what, seen in each.items()})
        for name, each in speeds.items()
    ]


@contextmanager
def builds(model: Path, server: Path | None, log: Path, problems: list[str]) -> Iterator[dict[str, Build]]:
    """Start the builds that there are, with ``model``; end them afterwards; raises as :func:`measure_native`."""
    threads = os.cpu_count() or 1
    spec = ModelSpec(name="larger", path=model, context_length=CONTEXT, slots=SLOTS, threads=threads)
    with ExitStack() as stack:
        found = {ENGINE: _over_http(stack.enter_context(bare_worker(LlamaCpp(), spec, log)))}
        if INSTALLED.exists():
            found[PYTHON] = stack.enter_context(_llama_cpp_python(model, threads, log))
        else:
            problems.append(f"native: {HOW_TO_INSTALL}")
        binary = server or shutil.which("llama-server")
        if binary is not None:
            found[SERVER] = stack.enter_context(_llama_server(Path(binary), model, threads, log))
        else:
            problems.append(f"native: {NO_SERVER}")
        yield found


@contextmanager
def _llama_cpp_python(model: Path, threads: int, log: Path) -> Iterator[Build]:
    command = [str(ENVIRONMENT / "bin" / "python"), str(RUNNER), str(model), str(threads), str(SLOTS), str(CONTEXT)]
    with (
        log.open("ab") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):

        def do(work: Work, clients: int) -> float:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"clients": clients, "prompt": work.prompt, "tokens": work.tokens}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise StartError(f"{PYTHON} ended; its log is {log}")
            return float(json.loads(line)["seconds"])

        try:
            yield do
        finally:
            process.terminate()


@contextmanager
def _llama_server(binary: Path, model: Path, threads: int, log: Path) -> Iterator[Build]:
    port = free_port()
    command = [str(binary), "--model", str(model), "--host", "127.0.0.1", "--port", str(port), "--kv-unified"]
    command += ["--ctx-size", str(CONTEXT * SLOTS), "--parallel", str(SLOTS)]
    command += ["--threads", str(threads), "--threads-batch", str(threads)]
    # Distributions put its libraries beside it.
    paths = os.pathsep.join(filter(None, (str(binary.parent), os.environ.get("LD_LIBRARY_PATH"))))
    with own_server(command, {"LD_LIBRARY_PATH": paths}, log, port=port, timeout=START_SECONDS) as side:
        build, until = _over_http(side), time.monotonic() + START_SECONDS
        while True:
            try:
                build(WRITING, 1)
                break
            except (OSError, StartError):
                if time.monotonic() > until:
                    raise
                time.sleep(RETRY_SECONDS)  # it listens before it has its model
        yield build


def _over_http(side: Side) -> Build:
    """Return the build behind llama.cpp's own listener."""

    def do(work: Work, clients: int) -> float:
        with ThreadPoolExecutor(clients) as pool:
            begun = time.perf_counter()
            for answer in [pool.submit(_answer, side, work) for _ in range(clients)]:
                answer.result()
            return time.perf_counter() - begun

    return do


def _answer(side: Side, work: Work) -> None:
    """Have one prompt read and one text written.

    Raises:
        StartError: it was refused, or has another length.
    """
    address = urlsplit(side.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=ANSWER_SECONDS)
    prompt = random.choices(range(FIRST_TOKEN, LAST_TOKEN), k=work.prompt)
    body: dict[str, Any] = {"prompt": prompt, "n_predict": work.tokens, "temperature": 0, "ignore_eos": True}
    body["cache_prompt"] = False
    try:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {side.api_key}"}
        connection.request("POST", "/completion", json.dumps(body), headers)
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    timings = answer.get("timings") or {}
    if (timings.get("prompt_n"), timings.get("predicted_n")) != (work.prompt, work.tokens):
        raise StartError(f"llama.cpp did other work than it was given: {answer.get('error') or timings}")
