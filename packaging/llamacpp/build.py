"""Builds the wheel ``modelhost-llamacpp``: a ``llama-server`` with a CPU backend for each level of instruction sets.

``make llamacpp-wheel`` runs it. The source is that of the locked xllamacpp: the revision of llama.cpp is the one that
modelhost is tested with. What was compiled is kept in ``packaging/llamacpp/build``; a second run goes on with it.

Source: https://github.com/ggml-org/llama.cpp/blob/master/docs/build.md, GGML_BACKEND_DL and GGML_CPU_ALL_VARIANTS.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
LOCKS: Final = HERE.parents[1] / "src" / "modelhost" / "engines" / "locks"
PACKAGE: Final = HERE / "modelhost_llamacpp"
BUILD, DIST = HERE / "build", HERE / "dist"
TOOLS: Final = BUILD / "tools"
OPTIONS: Final = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    "-DGGML_BACKEND_DL=ON",
    "-DGGML_CPU_ALL_VARIANTS=ON",
    "-DGGML_NATIVE=OFF",
    # The libraries lie beside the program, wherever the wheel is installed.
    "-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON",
    "-DCMAKE_INSTALL_RPATH=$ORIGIN",
    # These would download sources.
    "-DLLAMA_BUILD_BORINGSSL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_LLGUIDANCE=OFF",
    # Else its version would be that of modelhost's repository.
    "-DLLAMA_BUILD_NUMBER=0",
    "-DLLAMA_BUILD_COMMIT=modelhost",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
)

WITH_AMX: Final = "libggml-cpu-sapphirerapids.so"
"""Left out, since its code for AMX ends the process: see ``WITHOUT_AMX`` in ``modelhost.engines.llamacpp.build``. On
such processors the next best is used."""


def main() -> None:
    """Build the wheel and print where it is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="compilers at once (default: the cores)")
    options = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    python = _tools()
    source = _source(python)
    binaries = BUILD / "binaries"
    _run([python.with_name("cmake"), "-G", "Ninja", "-S", source, "-B", binaries, *OPTIONS], python)
    compile_all = ["--build", binaries, "--parallel", options.jobs, "--target", "llama-server", "ggml"]
    _run([python.with_name("cmake"), *compile_all], python)
    _take(binaries / "bin")
    shutil.rmtree(DIST, ignore_errors=True)
    _run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", DIST], python, HERE)
    (wheel,) = DIST.glob("*.whl")
    sys.stdout.write(f"{wheel}\n")


def _tools() -> Path:
    """Return the Python of an environment with cmake and ninja, in the locked versions."""
    python = TOOLS / "bin" / "python"
    if not python.exists():
        _run([sys.executable, "-m", "venv", TOOLS], python)
    locked = ["--requirement", LOCKS / "llamacpp-build.txt", "--require-hashes", "--no-deps"]
    _run([python, "-m", "pip", "install", "--quiet", *locked], python)
    return python


def _source(python: Path) -> Path:
    """Return the folder of llama.cpp's source, downloaded and unpacked if it is not there."""
    unpacked = BUILD / "source"
    if not unpacked.exists():
        locked = ["--requirement", LOCKS / "llamacpp.txt", "--require-hashes", "--no-deps"]
        only_source = ["--no-binary", "xllamacpp", "--no-build-isolation"]
        _run([python, "-m", "pip", "download", "--quiet", *only_source, *locked, "--dest", BUILD], python)
        (archive,) = BUILD.glob("xllamacpp-*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(unpacked, filter="data")
    (source,) = unpacked.glob("*/thirdparty/llama.cpp")
    return source


def _take(binaries: Path) -> None:
    """Put the program and its libraries into the package, each once: a wheel has no links."""
    target = PACKAGE / "bin"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for found in [binaries / "llama-server", *filter(_is_needed, binaries.glob("*.so*"))]:
        shutil.copy2(found.resolve(), target / found.name)
        subprocess.run(["strip", "--strip-unneeded", target / found.name], check=True)


def _is_needed(library: Path) -> bool:
    """Whether programs name the library so: by its major version, as libllama.so.0, or by none where it has none."""
    if library.name == WITH_AMX:
        return False
    _, _, version = library.name.partition(".so")
    return version[1:].isdigit() if version else not library.is_symlink()


def _run(command: Sequence[object], python: Path, folder: Path | None = None) -> None:
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    subprocess.run([str(part) for part in command], check=True, cwd=folder, env={**os.environ, "PATH": path})


if __name__ == "__main__":
    main()
