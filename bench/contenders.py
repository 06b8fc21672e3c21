"""Who is measured for each engine: its makers' own server, the host's worker by itself, and the host with its worker.

All get the same model, context, conversations at once and threads. Where the engine's library comes without a
server (mistral.rs) or the worker is nothing but the library's server (llama.cpp), the host is compared with the worker.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.engines import CONTEXT, SLOTS, THREADS, bundled
from bench.sides import Side, bare_worker, free_port, host, own_server
from modelhost.config.directories import data_directory
from modelhost.config.settings import Settings
from modelhost.engines.environments import python_of
from modelhost.engines.installed import how_to_install, missing_modules, with_environment
from modelhost.models.resolve.resolve import resolve

OF_MAKE = Path(__file__).parent.parent / ".venv-engines"
NAME = "nano"
ENGINES = ("llamacpp", "transformers", "mlx", "mistralrs", "vllm")
WORKER, HOST, MLX_SERVER = "its worker", "host", "mlx_lm.server"
START_TIMEOUT = 300.0  # vLLM imports for half a minute where nothing else runs
ONE_THREAD = {"OMP_NUM_THREADS": str(THREADS), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One of those who are measured: what it is called, the model that its requests name, and how it is started.

    ``start`` takes the log and yields a server that takes connections; it may still load its model.
    """

    name: str
    model: str
    start: Callable[[Path], AbstractContextManager[Side]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """All contenders of an engine. The host is compared with ``reference``, the worker also with ``rival``."""

    engine: str
    contenders: tuple[Contender, ...]
    reference: str
    rival: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of the requests, beside those of all engines."""


def why_not(engine: str) -> str | None:
    """Return why ``engine`` cannot be measured and what helps; ``None`` if it can."""
    if missing_modules(engine) and worker_python(engine) is None:
        helps = (
            f"make test-engines, or {how_to_install(engine)}"
            if engine in with_environment()
            else how_to_install(engine)
        )
        return f"it is not installed: {helps}"
    if engine == "transformers" and find_spec("accelerate") is None:
        return "transformers serve needs accelerate: pip install accelerate"
    return None


def contest_of(engine: str, model: Path | None, endless: Path) -> Contest:
    """Return who is measured for ``engine``, which is installed.

    Args:
        model: a GGUF file instead of the bundled model, for llama.cpp.
        endless: the folder of the model for the others.

    Raises:
        StartError: there is no GGUF file.
    """
    path = bundled(model) if engine == "llamacpp" else endless
    ours = _ours(engine, path)
    match engine:
        case "llamacpp":
            return Contest(engine=engine, contenders=ours, reference=WORKER, fields={"ignore_eos": True})
        case "mistralrs":
            contenders = (*((_mlx_server(path),) if why_not("mlx") is None else ()), *ours)
            return Contest(engine=engine, contenders=contenders, reference=WORKER, rival=MLX_SERVER)
        case "mlx":
            return Contest(engine=engine, contenders=(_mlx_server(path), *ours), reference=MLX_SERVER, rival=MLX_SERVER)
        case "transformers":
            server = _transformers_server(path)
            return Contest(engine=engine, contenders=(server, *ours), reference=server.name)
    # The worker is this server, and takes long to start: it is not measured twice.
    server = _vllm_server(path)
    return Contest(engine=engine, contenders=(server, ours[1]), reference=server.name)


def _ours(engine: str, path: Path) -> tuple[Contender, Contender]:
    """The worker as the host starts it, and the host."""
    python = worker_python(engine)
    given: dict[str, Any] = {"context_length": CONTEXT, "slots": SLOTS, "threads": THREADS, "engine": engine}
    given |= {"worker_python": str(python)} if python else {}
    flags = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]

    def worker(log: Path) -> AbstractContextManager[Side]:
        resolved = resolve(Settings(model=str(path), alias=(NAME,), **given))
        return bare_worker(resolved.engine, resolved.spec, log)

    return (
        Contender(name=WORKER, model=NAME, start=worker),
        Contender(
            name=HOST, model=NAME, start=partial(host, [str(path), "--alias", NAME, *flags], timeout=START_TIMEOUT)
        ),
    )


def worker_python(engine: str) -> Path | None:
    """Return the Python of the engine's environment, that of ``make test-engines`` before that of the host's commands;
    ``None`` without one, or where this Python has the engine itself."""
    if engine not in with_environment() or not missing_modules(engine):
        return None
    folders = (OF_MAKE, data_directory(Settings()))
    return next((python for folder in folders if (python := python_of(engine, folder)) is not None), None)


def _mlx_server(path: Path) -> Contender:
    def start(log: Path) -> AbstractContextManager[Side]:
        port = free_port()
        command = [_beside("mlx_lm.server"), "--model", str(path), "--port", str(port), "--log-level", "WARNING"]
        command += ["--decode-concurrency", str(SLOTS), "--prompt-concurrency", str(SLOTS)]
        return own_server(command, {**ONE_THREAD, "MLX_DISABLE_COMPILE": "1"}, log, port=port, timeout=START_TIMEOUT)

    return Contender(name=MLX_SERVER, model="default_model", start=start)


def _transformers_server(path: Path) -> Contender:
    def start(log: Path) -> AbstractContextManager[Side]:
        port = free_port()
        command = [_beside("transformers"), "serve", str(path), "--host", "127.0.0.1", "--port", str(port)]
        command += ["--device", "cpu", "--dtype", "float32"]
        # One request after the other is its default. The cache is what 32 conversations of 512 tokens need.
        command += ["--continuous-batching", "--cb-block-size", "32", "--cb-num-blocks", "512"]
        command += ["--cb-max-batch-tokens", str(CONTEXT)]
        return own_server(command, ONE_THREAD, log, port=port, timeout=START_TIMEOUT)

    return Contender(name="transformers serve", model=str(path), start=start)


def _vllm_server(path: Path) -> Contender:
    def start(log: Path) -> AbstractContextManager[Side]:
        port = free_port()
        # `vllm serve` without the command, which the distribution for CPUs does not bring in working order.
        command = [str(worker_python("vllm") or sys.executable), "-m", "vllm.entrypoints.openai.api_server"]
        command += ["--model", str(path), "--served-model-name", NAME, "--host", "127.0.0.1", "--port", str(port)]
        command += ["--max-model-len", str(CONTEXT), "--max-num-seqs", str(SLOTS), "--dtype", "float32"]
        command += ["--enforce-eager", "--distributed-executor-backend", "uni"]
        env = {**ONE_THREAD, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
        env["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        return own_server(command, env, log, port=port, timeout=START_TIMEOUT)

    return Contender(name="vllm serve", model=NAME, start=start)


def _beside(command: str) -> str:
    return str(Path(sys.executable).with_name(command))
