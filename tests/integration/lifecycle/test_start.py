"""The start of a host: ready only with its worker, and each failure with a message of its own and exit status 1."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelhost.workers.machine import allowed_cores
from modelhost.workers.time_slices import SLICE_NANOSECONDS, slice_of
from tests.support.eventually import eventually
from tests.support.gguf_files import write_model
from tests.support.processes import Family, family
from tests.support.registries import nano, scripted, write_registry
from tests.support.serving import ServedHost

NANO_HF = Path(__file__).parents[2] / "assets" / "nano-hf"
StartHost = Callable[..., ServedHost]


def _failure(**settings: Any) -> str:
    """Serve, expect exit status 1 and nothing left, and return what stands on standard error."""
    with family(Family.serve(**settings)) as started:
        status, output, log = started.result()
        assert status == 1, log
        assert output == "", "a host that failed must not announce itself"
        assert started.is_gone()
        assert "Traceback" not in log
        return log


def _cli_failure(*arguments: str, env: dict[str, str] | None = None) -> str:
    with family(Family.cli("serve", *arguments, env=env)) as started:
        status, _, log = started.result()
        assert status == 1, log
        assert started.is_gone()
        assert "Traceback" not in log
        # Rich may have wrapped the message at the terminal's width.
        return " ".join(log.split())


@pytest.mark.skipif(not slice_of(0), reason="slices of threads are those of Linux 6.12 and later")
def test_a_host_gets_a_core_sooner_than_the_engine_that_computes_on_it(start_host: StartHost) -> None:
    host = start_host(context_length=512)
    (worker,) = host.worker_pids()
    eventually(lambda: slice_of(host.pid) == SLICE_NANOSECONDS)
    assert slice_of(worker) == slice_of(0)
    assert os.getpriority(os.PRIO_PROCESS, worker) == os.getpriority(os.PRIO_PROCESS, host.pid)


@pytest.mark.skipif(not slice_of(0), reason="slices of threads are those of Linux 6.12 and later")
def test_a_host_beside_whose_engine_a_core_is_free_has_the_usual_slices_until_another_is_loaded(
    start_host: StartHost, tmp_path: Path
) -> None:
    host = start_host(models_config=write_registry(tmp_path / "models.yaml", scripted("script"), nano("nano")))
    _ask(host, "script")
    assert slice_of(host.pid) == slice_of(0)
    _ask(host, "nano")
    eventually(lambda: slice_of(host.pid) == SLICE_NANOSECONDS)


def _ask(host: ServedHost, model: str) -> None:
    host.client().completions.create(model=model, prompt="Hello", max_tokens=1)


def test_a_host_listens_only_when_its_worker_is_ready(start_host: StartHost) -> None:
    host = start_host(engine="scripted", engine_options={"load_seconds": 0.7, "load_progress": 3})
    (ready,) = host.log_events("worker_ready")
    (listening,) = host.log_events("listening")
    assert ready["seconds"] >= 0.7
    assert ready["timestamp"] <= listening["timestamp"]
    assert host.http.get("/ready").status_code == 200


def test_a_missing_model_file_is_named() -> None:
    assert "/no/such/model.gguf" in _cli_failure("/no/such/model.gguf", "--port", "0")


def test_a_taken_port_is_found_before_the_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        # The model is not even looked for.
        log = _failure(port=port, model="/no/such/model.gguf")
    assert f"port_in_use: Cannot listen on 127.0.0.1:{port}: Address already in use" in log
    assert "--port" in log


def test_an_address_of_another_machine_is_refused() -> None:
    assert "Cannot assign requested address" in _failure(host="192.0.2.1")


def test_a_host_name_that_does_not_exist_is_refused() -> None:
    log = _failure(host="no-such-name.invalid")
    assert log.startswith("port_in_use: Cannot listen on no-such-name.invalid:0: ")
    assert "Unknown error" not in log


def test_a_port_that_somebody_takes_while_the_model_loads_is_an_ordinary_failure() -> None:
    with socket.socket() as rival:
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rival.bind(("127.0.0.1", 0))
        settings = {"port": rival.getsockname()[1], "engine": "scripted", "engine_options": {"load_seconds": 1.0}}
        with family(Family.serve(**settings)) as started:
            started.worker()
            rival.listen()
            status, _, log = started.result()
            assert status == 1
            assert "port_in_use: Cannot listen" in log
            assert started.is_gone()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--port", "70000"), "65535"),
        (("--engine-option", "n_cache_reus=1"), 'did you mean "n_cache_reuse"'),
        (("--lora", "/no/such/adapter.gguf"), "lora: there is no file /no/such/adapter.gguf"),
        (("--threads", str(allowed_cores() + 1)), f"more than the {allowed_cores()} cores"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_a_bad_setting_is_named(arguments: tuple[str, ...], says: str) -> None:
    with family(Family.cli("serve", "--port", "0", *arguments)) as started:
        status, _, log = started.result()
        assert status in {1, 2}, log
        assert "Traceback" not in log
        plain = " ".join(log.replace("│", " ").split())
        assert says in plain or says.replace("_", "-") in plain
        assert started.is_gone()


def test_a_bad_key_in_the_configuration_file_is_named_with_a_suggestion(tmp_path: Path) -> None:
    file = tmp_path / "modelhost.yaml"
    file.write_text("queue_sise: 3\n")
    log = _cli_failure("--config", str(file))
    assert "queue_sise" in log
    assert "did you mean" in log


def test_a_hugging_face_directory_and_an_engine_that_cannot_read_it_are_an_error() -> None:
    log = _cli_failure(str(NANO_HF), "--engine", "llamacpp", "--port", "0")
    assert "is in safetensors, which llama.cpp does not read" in log


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("libgomp.so.1: cannot open shared object file: No such file or directory", "apt-get install libgomp1"),
        ("libcuda.so.1: cannot open shared object file: No such file or directory", "libcuda.so.1"),
    ],
)
def test_a_missing_system_library_is_a_sentence_that_says_what_to_install(
    reason: str, says: str, tmp_path: Path
) -> None:
    package = tmp_path / "xllamacpp"
    package.mkdir()
    (package / "__init__.py").write_text(f"raise ImportError({reason!r})\n")
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    log = _cli_failure("--port", "0", "--threads", "1", env={"PYTHONPATH": os.pathsep.join(paths)})
    assert says in log


def test_a_model_that_loads_too_slowly_is_given_up() -> None:
    log = _failure(engine="scripted", engine_options={"load_seconds": 60.0, "stderr_lines": 2}, load_timeout=1.5)
    assert "was not ready after 1.5 s" in log
    assert "scripted: line 2" in log


def test_a_worker_that_dies_at_its_start_is_reported_with_its_last_lines() -> None:
    log = _failure(engine="scripted", engine_options={"exit_at_start": 7, "stderr_lines": 30})
    assert "exited with status 7" in log
    assert "scripted: line 30" in log


@pytest.mark.promise("llm-server.loading.failure")
def test_a_worker_that_says_why_it_cannot_load_is_quoted() -> None:
    log = _failure(engine="scripted", engine_options={"fail_load": "the tensors are in a bad mood"})
    assert "worker_start_failed" in log
    assert "the tensors are in a bad mood" in log


def test_threads_leave_a_core_by_default_and_may_be_all_cores(start_host: StartHost, tmp_path: Path) -> None:
    model = write_model(tmp_path / "tiny.gguf")
    host = start_host(model=str(model), threads=allowed_cores())
    assert host.http.get("/ready").status_code == 200
