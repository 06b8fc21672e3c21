"""Builds of llama.cpp over the command line: made from an index, checked beside the wheel, used, and replaced by it.

What is "built" has a backend of its own, which compiles nothing, and the real library behind it.
"""

from __future__ import annotations

import hashlib
import io
import json
import signal
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import xllamacpp
from structlog.testing import capture_logs

from modelhost.cli.main import main
from modelhost.config.settings import Settings
from modelhost.engines.environments import folder_of
from modelhost.engines.llamacpp.build_check import Checked
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.llamacpp.installation import features_of
from modelhost.engines.llamacpp.machine import this_processor
from modelhost.engines.llamacpp.record import BuildRecord, locked_version, read_record, write_record
from modelhost.engines.traits import BetterBuild
from modelhost.models.resolve.resolve import resolve
from modelhost.workers.launching import launch_worker
from modelhost.workers.process import WorkerProcess
from tests.support.engine_environments import pretend_built

REAL = Path(xllamacpp.__file__).parents[1]
LIBRARY = f"""
import sys
sys.path.insert(0, {str(REAL)!r})
del sys.modules["xllamacpp"]
import xllamacpp
devices = xllamacpp.get_device_info()
xllamacpp.get_device_info = lambda: [*devices, {{"name": "Vulkan0"}}]
"""
WITHOUT_GPU = LIBRARY.replace("Vulkan0", "CPU0")
BACKEND = f"""
import os, pathlib, zipfile
NAME = "xllamacpp-{locked_version()}"
def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = pathlib.Path(metadata_directory) / f"{{NAME}}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(METADATA)
    return folder.name
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    for step in range(1, 12):
        print(f"[{{step}}/12] Building CXX object", flush=True)
    here = pathlib.Path.cwd()
    (here / "told.txt").write_text(os.environ["CMAKE_ARGS"])
    if (here / "CMakeCache.txt").exists():
        print("CMake Error: no known features for C compiler", flush=True)
        raise SystemExit(1)
    (here / "CMakeCache.txt").touch()
    if not (here / "compiled").exists():
        (here / "compiled").touch()
        print("llama.cpp:7:1: fatal error: no space left on device", flush=True)
        raise SystemExit(1)
    server = here / "thirdparty/llama.cpp/build/bin"
    server.mkdir(parents=True, exist_ok=True)
    (server / "llama-server").write_text("#!/bin/sh")
    with zipfile.ZipFile(pathlib.Path(wheel_directory) / f"{{NAME}}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("xllamacpp.py", (here / "library.py").read_text())
        wheel.writestr(f"{{NAME}}.dist-info/METADATA", METADATA)
        wheel.writestr(f"{{NAME}}.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{{NAME}}.dist-info/RECORD", "")
    return f"{{NAME}}-py3-none-any.whl"
METADATA = "Metadata-Version: 2.1\\nName: xllamacpp\\nVersion: {locked_version()}\\n"
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An index with a source distribution, which the lock file names, and no other place to install from."""
    data = _source_distribution(LIBRARY)
    folder = tmp_path / "index" / "simple" / "xllamacpp"
    folder.mkdir(parents=True)
    (folder / f"xllamacpp-{locked_version()}.tar.gz").write_bytes(data)
    locks = tmp_path / "locks"
    locks.mkdir()
    digest = hashlib.sha256(data).hexdigest()
    (locks / "llamacpp.txt").write_text(f"xllamacpp=={locked_version()} --hash=sha256:{digest}\n")
    (locks / "llamacpp-build.txt").write_text("# nothing: the stand-in brings its backend along\n")
    monkeypatch.setattr("modelhost.engines.environments.LOCKS", locks)
    monkeypatch.setattr("modelhost.engines.llamacpp.build.missing_requirements", lambda *_: ())
    monkeypatch.setattr("modelhost.engines.llamacpp.build.why_no_llguidance", lambda *_: "cargo is not installed")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "index"))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        yield url
        server.shutdown()


def _source_distribution(library: str) -> bytes:
    metadata = f"Metadata-Version: 2.1\nName: xllamacpp\nVersion: {locked_version()}\n"
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, text in {
            "pyproject.toml": PROJECT,
            "backend.py": BACKEND,
            "library.py": library,
            "PKG-INFO": metadata,
        }.items():
            about = tarfile.TarInfo(f"xllamacpp-{locked_version()}/{name}")
            about.size = len(text.encode())
            archive.addfile(about, io.BytesIO(text.encode()))
    return written.getvalue()


def _wheel(folder: Path, library: str) -> None:
    name = f"xllamacpp-{locked_version()}"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("xllamacpp.py", library)
        about = f"Metadata-Version: 2.1\nName: xllamacpp\nVersion: {locked_version()}\n"
        wheel.writestr(f"{name}.dist-info/METADATA", about)
        wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{name}.dist-info/RECORD", "")


def _install(data_dir: Path, *options: str) -> int:
    return main(["engines", "install", "llamacpp", "--data-dir", str(data_dir), *options])


def test_a_build_that_was_interrupted_goes_on_is_checked_and_listed(
    index: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    assert _install(data, "--build", "native") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "without llguidance: cargo is not installed" in said
    assert "compiled 6 of 12 files" in said
    assert "The log is" in said
    assert "the same command goes on where this one has ended" in said
    assert "could not be built: llama.cpp:7:1: fatal error: no space left on device" in said
    assert "no space left" in (data / "engines" / "llamacpp.log").read_text()
    assert read_record(data) is None

    assert _install(data, "--build", "native") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "going on with what an earlier attempt has compiled" in said
    assert f"llamacpp {locked_version()} (native) is installed: {folder_of('llamacpp', data)}" in said
    record = read_record(data)
    assert record is not None
    assert (record.build, record.is_compiled_here, record.has_llguidance) == ("native", True, True)
    assert record.factors.keys() == {"prompts", "answers"}
    assert all(factor > 0 for factor in record.factors.values())
    assert "Vulkan" in record.features  # in the words of the stand-in
    assert (folder_of("llamacpp", data) / "bin" / "llama-server").is_file()
    assert {path.name for path in (data / "engines").iterdir()} == {"llamacpp", "llamacpp.log"}

    assert record.scores_differ_by == 0
    assert record.other_answers == {}
    assert "scores within 0.0000 of the wheel's, the same answers" in said

    assert main(["engines", "list", "--json", "--data-dir", str(data)]) == 0
    listed = {engine["name"]: engine for engine in json.loads(capsys.readouterr().out)}["llamacpp"]
    assert (listed["build"], listed["location"]) == ("native", str(folder_of("llamacpp", data)))
    assert main(["engines", "list", "--data-dir", str(data)]) == 0
    assert "llamacpp (native): prompts" in capsys.readouterr().out


def test_a_wheel_for_an_accelerator_is_taken_if_it_computes_there(
    index: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    data = tmp_path / "data"
    _wheel(tmp_path / "index" / "whl" / "vulkan" / "xllamacpp", LIBRARY)
    assert _install(data, "--build", "vulkan", "--wheels", f"{index}/whl") == 0
    record = read_record(data)
    assert record is not None
    assert (record.build, record.is_compiled_here, record.needs) == ("vulkan", False, ())
    capsys.readouterr()

    # Hosts keep what they have while the next one does not pass.
    _wheel(tmp_path / "index" / "other" / "vulkan" / "xllamacpp", WITHOUT_GPU)
    assert _install(data, "--build", "vulkan", "--wheels", f"{index}/other", "--force") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "does not pass its check: it finds no GPU to compute on. It is built from source instead." in said
    assert read_record(data) == record


def test_a_build_that_does_not_do_as_the_wheel_does_is_not_used(
    index: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    (archive,) = (tmp_path / "index" / "simple" / "xllamacpp").iterdir()
    library = "import os, signal, sys\nif sys.argv[0] != '-c':\n    os.kill(os.getpid(), signal.SIGILL)\n"
    archive.write_bytes(_source_distribution(library))
    lock = tmp_path / "locks" / "llamacpp.txt"
    lock.write_text(f"xllamacpp=={locked_version()} --hash=sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}\n")
    assert _install(data, "--build", "native") == 1
    assert _install(data, "--build", "native") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "does not pass its check" in said
    assert "was ended by SIGILL" in said
    assert read_record(data) is None


def test_a_build_that_is_here_is_not_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelhost.engines.llamacpp.build.missing_requirements", lambda *_: ("a compiler",))
    record = BuildRecord(
        version=locked_version(),
        build="native",
        processor=this_processor().name,
        factors={"prompts": 1.5, "answers": 1.1},
        scores_differ_by=0.004,
    )
    python = pretend_built(tmp_path, record, library=LIBRARY)
    assert _install(tmp_path, "--build", "native") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert said == (
        f"llamacpp {locked_version()} (native) is here already: {python.parents[1]} checked with the bundled model: "
        "prompts 1.50 times as fast as the wheel, answers 1.10 times as fast as the wheel; scores within 0.0040 of the "
        "wheel's, the same answers; no llguidance Nothing to do. `modelhost engines install llamacpp --build native "
        "--force` builds it again."
    )
    # What is tried in these cases ends for want of a compiler.
    assert _install(tmp_path, "--build", "native", "--force") == 1
    assert _install(tmp_path, "--build", "vulkan") == 1
    write_record(replace(record, processor="Another"), python.parents[1])
    assert _install(tmp_path, "--build", "native") == 1
    write_record(replace(record, version="2020.1"), python.parents[1])
    assert _install(tmp_path, "--build", "native") == 1


def test_a_build_that_cannot_be_imported_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelhost.engines.llamacpp.build.missing_requirements", lambda *_: ("a compiler",))
    record = BuildRecord(version=locked_version(), build="native", processor=this_processor().name)
    pretend_built(tmp_path, record, library="raise ImportError")
    assert _install(tmp_path, "--build", "native") == 1
    assert "for want of a compiler" in capsys.readouterr().err
    python = folder_of("llamacpp", tmp_path) / "bin" / "python"
    python.unlink()
    python.write_text("no program")
    features_of.cache_clear()
    assert _install(tmp_path, "--build", "native") == 1
    assert "for want of a compiler" in capsys.readouterr().err


def test_a_build_that_is_slower_than_the_wheel_is_used_only_where_it_is_named(
    index: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slower(*_: object) -> Checked:
        factors = {"prompts": 0.5, "answers": 1.1}
        return Checked(features=(), has_llguidance=True, factors=factors, scores_differ_by=0.0, other_answers={})

    better = BetterBuild(engine="llama.cpp", build="native", reason="", gain="", command="")
    monkeypatch.setattr("modelhost.cli.engines.installation.check_build", slower)
    monkeypatch.setattr("modelhost.engines.llamacpp.machine.better_build", lambda _: better)
    data = tmp_path / "data"
    assert _install(data) == 1  # the first attempt of the stand-in ends
    assert _install(data) == 0
    factors = "prompts 0.50 times as fast as the wheel, answers 1.10 times as fast as the wheel"
    said = " ".join(capsys.readouterr().err.split())
    assert f"warning: the build is slower than the wheel ({factors}), and is not used" in said
    assert "`modelhost engines install llamacpp --build native` uses it nevertheless" in said
    assert read_record(data) is None
    assert not folder_of("llamacpp", data).exists()

    assert _install(data, "--build", "native") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "going on with what an earlier attempt has compiled" in said
    place = folder_of("llamacpp", data)
    assert f"warning: this build is slower than the wheel ({factors}); to go back to the wheel, remove {place}" in said
    assert read_record(data) is not None


def test_the_wheel_is_the_best_for_a_processor_without_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelhost.engines.llamacpp.machine.better_build", lambda _: None)
    assert _install(tmp_path / "data") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "The wheel that came with modelhost is the best build for this machine" in said
    assert "--build native` builds it nevertheless" in said
    assert not (tmp_path / "data").exists()


async def test_a_worker_of_a_build_with_an_illegal_instruction_is_replaced_by_the_wheels(tmp_path: Path) -> None:
    record = BuildRecord(version=locked_version(), build="native")
    python = pretend_built(tmp_path, record, library="import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    spec = resolve(Settings.model_validate({"data_dir": str(tmp_path), "context_length": 512, "threads": 1})).spec
    assert spec.python == str(python)
    with capture_logs() as logged:
        worker = await launch_worker(spec, LlamaCpp(), timeout_seconds=60, start_process=WorkerProcess.start)
    try:
        assert "AVX2" in worker.ready.features or "NEON" in worker.ready.features
        said = await worker.fetch("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello!"}]})
        assert said["choices"][0]["message"]["content"]
    finally:
        await worker.close()
    (told,) = [line for line in logged if line["event"] == "engine_build_failed"]
    assert told["log_level"] == "warning"
    assert signal.SIGILL.name in told["error"]
