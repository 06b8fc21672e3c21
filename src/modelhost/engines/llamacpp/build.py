"""Builds of llama.cpp that fit the machine, each in an environment of its own.

A build is made from the source distribution of the wheel's project, or is a wheel of its index that was compiled for an
accelerator (https://github.com/xorbitsai/xllamacpp#installation): an index for each version of a framework. It is made
beside the environment that hosts use, until :func:`activate_build` replaces that. What an interrupted attempt has
compiled is kept for the next one.
"""

from __future__ import annotations

import fcntl
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Final

from modelhost.config.directories import make_private
from modelhost.config.environment import current
from modelhost.engines.environments import FINISHED, FOLDER, PYTHON, Report, folder_of, locked, run_step
from modelhost.engines.llamacpp.machine import this_processor
from modelhost.engines.llamacpp.record import DISTRIBUTION, ENGINE, locked_version
from modelhost.engines.llamacpp.toolchain import missing_requirements, why_no_llguidance
from modelhost.engines.traits import Build
from modelhost.errors import EngineMissing

BYTES_PER_JOB: Final = 1_500_000_000
"""Memory that compiling one of the larger files takes."""
VARIABLES: Final[Mapping[Build, str]] = {
    "cuda": "XLLAMACPP_BUILD_CUDA",
    "hip": "XLLAMACPP_BUILD_HIP",
    "vulkan": "XLLAMACPP_BUILD_VULKAN",
}
DOWNLOADED_PARTS: Final = ("LLAMA_BUILD_BORINGSSL", "LLAMA_USE_PREBUILT_UI", "LLAMA_BUILD_UI")
"""What llama.cpp would download while it is built, and a worker does not need: TLS, and pages for a browser."""
AMX_FLAG: Final = "amx_tile"
"""Of processors with AMX, in ``/proc/cpuinfo``."""
WITHOUT_AMX: Final = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
"""llama.cpp's code for AMX ends its process with an illegal instruction: GCC drops the configuration that it loads.
https://github.com/ggml-org/llama.cpp/pull/26954. Seen with GCC 12.2 and models in Q4_0."""
STEP: Final = re.compile(r"\s*\[(\d+)/(\d+)\] ")
"""How Ninja begins a line: ``[12/211] Building CXX object ...``."""
COMPLAINT: Final = re.compile(r"\berror: |CMake Error|Killed")
"""Marks lines with the reason why a build fails: of compilers, CMake, or a compiler that the kernel has killed."""
LACKED_LIBRARY: Final = re.compile(r"links to:\s+CUDA::(\w+)")
"""How CMake says that the CUDA toolkit has no such library: ``Target "ggml-cuda" links to: CUDA::cublas``."""
CUDA_WAY_OUT: Final = (
    "Debian and Ubuntu: apt-get install libcublas-dev-12-8, for the toolkit's version; or the whole of it"
)
COMPLAINT_LINES: Final = 6
"""Enough for what CMake writes below such a line, with the empty lines in it."""
SERVER: Final = Path("thirdparty", "llama.cpp", "build", "bin", "llama-server")
CMAKE_CACHE: Final = "CMakeCache.txt"
COMPILER_TESTS: Final = "CMakeFiles/[0-9]*"
"""Where CMake keeps what it has found out about the compilers: in a folder for its version."""
BUILT_PROJECT: Final = "-build"
"""The end of the folders in which CMake's ExternalProject builds; its stamps are beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildDirectory:
    """The folders in which builds are made: below ``<data_dir>/engines``, beside the environment that hosts use."""

    data_dir: Path

    @property
    def folder(self) -> Path:
        """What an attempt leaves for the next one."""
        return self.data_dir / FOLDER / f"{ENGINE}.build"

    @property
    def made(self) -> Path:
        """The environment of a build that is not in use yet."""
        return self.data_dir / FOLDER / f"{ENGINE}.new"

    @property
    def log(self) -> Path:
        """The output of the last attempt."""
        return self.data_dir / FOLDER / f"{ENGINE}.log"

    @property
    def tools(self) -> Path:
        """The environment of the build tools: CMake, Ninja, Cython."""
        return self.folder / "tools"

    def source(self, build: Build) -> Path:
        """Where ``build`` is compiled; each has its own folder, since CMake keeps its configuration."""
        return self.folder / f"{locked_version()}-{build}"


@contextmanager
def build_lock(workshop: BuildDirectory) -> Iterator[None]:
    """Prevent other processes from building in the same place; the end of the process releases the lock, too.

    Raises:
        EngineMissing: another process builds there.
    """
    make_private(workshop.folder)
    with (workshop.folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EngineMissing(
                f"llama.cpp is being built in {workshop.folder} by another process; wait for it, or end it.",
                engine=ENGINE,
            ) from error
        yield


def jobs_for(cores: int, available_bytes: int) -> int:
    """Return how many files are compiled at the same time."""
    return max(1, min(cores, available_bytes // BYTES_PER_JOB))


def progress_in(line: str) -> tuple[int, int] | None:
    """Return the number of finished steps and of all steps, if ``line`` of the log has them."""
    found = STEP.match(line)
    return (int(found[1]), int(found[2])) if found else None


def compile_build(
    build: Build,
    workshop: BuildDirectory,
    *,
    jobs: int,
    report: Report,
    which: Callable[[str], str | None] = shutil.which,
) -> Path:
    """Compile llama.cpp for ``build`` into an environment, and return its Python. Blocks for minutes.

    Raises:
        EngineMissing: a requirement is missing, or it failed; the message says what helps.
    """
    if missing := missing_requirements(build, which):
        raise EngineMissing(
            f"llama.cpp cannot be built here for want of {' and of '.join(missing)}.", engine=ENGINE, missing=missing
        )
    why_not = why_no_llguidance(which)
    report(f"without llguidance: {why_not}" if why_not else "with llguidance")
    python = _tools(workshop, report)
    source = _source(build, workshop, python, report)
    wheels = workshop.folder / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    options = ("--verbose", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels))
    variables = build_variables(build, workshop, jobs=jobs, has_llguidance=why_not is None)
    _compile((*_pip(python), "wheel", *options, str(source)), report, variables)
    made = _environment(workshop, ("--no-index", *map(str, wheels.glob("*.whl"))), report)
    if (source / SERVER).is_file():
        shutil.copy2(source / SERVER, made.parent / SERVER.name)
    return made


def install_wheel(index_url: str, workshop: BuildDirectory, *, report: Report) -> Path:
    """Install the wheel that the index at ``index_url`` has, and return the Python of its environment.

    Raises:
        EngineMissing: there is none for this machine, or it cannot be loaded.
    """
    nothing = workshop.folder / "nothing"
    nothing.mkdir(parents=True, exist_ok=True)
    # Only this index: others have a wheel of the same version that computes on CPUs.
    only = {"PIP_INDEX_URL": index_url, "PIP_EXTRA_INDEX_URL": index_url, "PIP_FIND_LINKS": str(nothing)}
    wanted = ("--only-binary", DISTRIBUTION, f"{DISTRIBUTION}=={locked_version()}")
    return _environment(workshop, wanted, report, only)


def build_variables(build: Build, workshop: BuildDirectory, *, jobs: int, has_llguidance: bool) -> Mapping[str, str]:
    """Return the environment variables with which the wheel's project builds ``build``.

    The last of CMake's arguments win, which are the user's.
    """
    given = current()
    llguidance = f"-DLLAMA_LLGUIDANCE={'ON' if has_llguidance else 'OFF'}"
    arguments = [*(f"-D{name}=OFF" for name in DOWNLOADED_PARTS), llguidance]
    others = {name: "" for kind, name in VARIABLES.items() if kind != build}
    flags = {}
    if AMX_FLAG in this_processor().flags:
        flags = {name: f"{given.get(name, '')} {WITHOUT_AMX}".strip() for name in ("CFLAGS", "CXXFLAGS")}
    return {
        "CMAKE_ARGS": " ".join([*arguments, *given.get("CMAKE_ARGS", "").split()]),
        "CMAKE_GENERATOR": "Ninja",
        "NPROC": str(jobs),
        "PATH": f"{(workshop.tools / PYTHON).parent}:{given.get('PATH', '')}",
        "XLLAMACPP_RELEASE": "",
        # llama.cpp takes its version from git, which would find a repository around the data directory.
        "GIT_CEILING_DIRECTORIES": str(workshop.folder.resolve()),
        **others,
        **flags,
        **({VARIABLES[build]: "1"} if build in VARIABLES else {}),
    }


def activate_build(workshop: BuildDirectory) -> Path:
    """Make hosts use the new build in place of the previous one; return its Python.

    Loaded models keep running with theirs. What was kept for the next attempt is removed.
    """
    place = folder_of(ENGINE, workshop.data_dir)
    before = place.with_name(f"{ENGINE}.old")
    shutil.rmtree(before, ignore_errors=True)
    if place.exists():
        place.rename(before)
    workshop.made.rename(place)
    shutil.rmtree(before, ignore_errors=True)
    shutil.rmtree(workshop.folder, ignore_errors=True)
    return place / PYTHON


def discard_build(workshop: BuildDirectory) -> None:
    """Remove the new build, which is not to be used. What was compiled is kept for another attempt."""
    shutil.rmtree(workshop.made)


def _compile(argv: tuple[str, ...], report: Report, variables: Mapping[str, str]) -> None:
    """As :func:`run_step`, but raise the compiler's error where pip only refers to the output above."""
    complaint: list[str] = []

    def hear(line: str) -> None:
        report(line)
        if len(complaint) < COMPLAINT_LINES and (complaint or COMPLAINT.search(line)):
            complaint.append(line.strip())

    try:
        run_step(ENGINE, argv, hear, variables)
    except EngineMissing as error:
        if not complaint:
            raise
        raise EngineMissing(f"llama.cpp could not be built: {reason_in(complaint)}", engine=ENGINE) from error


def reason_in(complaint: Sequence[str]) -> str:
    """Return the reason in ``complaint``, lines of the log from the first with a complaint on.

    That line has it, except that CMake writes the place there and the reason below it. A library that CMake does not
    find is named with how to install it.
    """
    if found := LACKED_LIBRARY.search(" ".join(complaint)):
        return f"{found[1]} of the CUDA toolkit is missing, or the files to compile with it ({CUDA_WAY_OUT})"
    if not complaint[0].startswith("CMake Error at "):
        return complaint[0]
    message = takewhile(lambda line: not line.startswith(("Call Stack", "CMake ")), complaint[1:])
    return " ".join([complaint[0], *filter(None, message)])


def _tools(workshop: BuildDirectory, report: Report) -> Path:
    python = workshop.tools / PYTHON
    if not python.exists():
        run_step(ENGINE, (sys.executable, "-m", "venv", "--clear", str(workshop.tools)), report)
    run_step(ENGINE, (*_pip(python), "install", "--progress-bar", "off", *locked(f"{ENGINE}-build")), report)
    return python


def _source(build: Build, workshop: BuildDirectory, python: Path, report: Report) -> Path:
    """Return the folder of the source where ``build`` is compiled; download and unpack it if it is not there."""
    source = workshop.source(build)
    if source.is_dir():
        report("going on with what an earlier attempt has compiled")
        forget_configuration(source)
        return source
    archives, unpacked = workshop.folder / "archives", workshop.folder / "unpacked"
    for folder in (archives, unpacked):
        shutil.rmtree(folder, ignore_errors=True)
    options = ("--no-build-isolation", "--no-binary", DISTRIBUTION, "--dest", str(archives))
    path = {"PATH": f"{python.parent}:{current().get('PATH', '')}"}
    run_step(ENGINE, (*_pip(python), "download", *options, *locked(ENGINE)), report, path)
    (archive,) = archives.iterdir()
    run_step(ENGINE, (str(python), "-m", "tarfile", "--extract", str(archive), str(unpacked)), report)
    (inside,) = unpacked.iterdir()
    inside.rename(source)
    return source


def forget_configuration(source: Path) -> None:
    """Have CMake find its compilers anew below ``source``. What is compiled stays: Ninja compares the commands.

    A configuration that failed, or was for another compiler, would be taken up again as it is.
    """
    for cache in [*source.rglob(CMAKE_CACHE)]:
        folder = cache.parent
        for tests in [*folder.glob(COMPILER_TESTS)]:
            shutil.rmtree(tests)
        cache.unlink()
        if folder.name.endswith(BUILT_PROJECT):
            name = folder.name.removesuffix(BUILT_PROJECT)
            (folder.with_name(f"{name}-stamp") / f"{name}-configure").unlink(missing_ok=True)


def _environment(
    workshop: BuildDirectory, arguments: tuple[str, ...], report: Report, variables: Mapping[str, str] | None = None
) -> Path:
    """Make an environment, install ``arguments`` with pip, and return its Python."""
    python = workshop.made / PYTHON
    (workshop.made / FINISHED).unlink(missing_ok=True)
    run_step(ENGINE, (sys.executable, "-m", "venv", "--clear", str(workshop.made)), report)
    run_step(ENGINE, (*_pip(python), "install", "--progress-bar", "off", "--no-deps", *arguments), report, variables)
    run_step(ENGINE, (str(python), "-c", f"import {DISTRIBUTION}"), report)
    return python


def _pip(python: Path) -> tuple[str, ...]:
    return (str(python), "-m", "pip", "--disable-pip-version-check", "--no-input")


WHEELS: Final = "https://xorbitsai.github.io/xllamacpp/whl"
CUDA: Final = (((13, 2), "cu132"), ((12, 8), "cu128"))
"""Newest first: a driver runs builds for its version of CUDA and for earlier ones."""
ROCM: Final = (((7, 2), "rocm-7.2.4"), ((6, 4), "rocm-6.4.1"))
"""A wheel is for one version of ROCm."""
ROCM_VERSION: Final = Path("/opt/rocm/.info/version")


def wheel_index(
    build: Build, wheels: str = WHEELS, cuda: tuple[int, int] | None = None, rocm_version: Path = ROCM_VERSION
) -> str | None:
    """Return the index that has wheels of ``build`` for this machine; ``None`` if it has to be compiled.

    ``cuda`` is the version of CUDA that the driver supports.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    folder = None
    if build == "cuda" and cuda is not None:
        folder = next((name for version, name in CUDA if cuda >= version), None)
    elif build == "hip":
        folder = next((name for version, name in ROCM if _rocm(rocm_version) == version), None)
    elif build == "vulkan":
        folder = "vulkan"
    return f"{wheels.rstrip('/')}/{folder}" if folder else None


def why_no_index(build: Build, cuda: tuple[int, int] | None = None) -> str:
    """Return why :func:`wheel_index` knows no index for ``build``, one for an accelerator, on this machine."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "they are for Linux on x86-64"
    if build == "hip":
        versions = " and ".join(f"{major}.{minor}" for (major, minor), _ in ROCM)
        return f"they are for ROCm {versions}, and {ROCM_VERSION} names neither"
    if cuda is None:
        return "no driver of NVIDIA's was found, which decides on the version of CUDA"
    (major, minor), _ = CUDA[-1]
    return f"they are for CUDA {major}.{minor} and later, and the driver supports {cuda[0]}.{cuda[1]}"


def _rocm(version: Path) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", version.read_text()) if version.is_file() else None
    return (int(found[1]), int(found[2])) if found else None
