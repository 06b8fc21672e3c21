"""The requirements for building llama.cpp: which are missing, and how to install them."""

from __future__ import annotations

import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelhost.config.environment import current
from modelhost.engines.traits import Build

Which = Callable[[str], str | None]

LLGUIDANCE: Final = "https://github.com/guidance-ai/llguidance"
SECONDS_TO_ANSWER: Final = 10.0
COMPILERS: Final = ("c++", "g++", "clang++")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequirement:
    """A requirement of a build. Any of ``programs`` or ``files`` satisfies it."""

    what: str
    programs: tuple[str, ...]
    files: tuple[str, ...] = ()
    way_out: str


COMPILER: Final = BuildRequirement(
    what="a C++ compiler",
    programs=COMPILERS,
    way_out="Debian and Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++; Alpine: apk add g++; "
    "macOS: xcode-select --install",
)
ACCELERATORS: Final[Mapping[Build, tuple[BuildRequirement, ...]]] = {
    "cuda": (
        BuildRequirement(
            what="the CUDA toolkit (nvcc)",
            programs=("nvcc",),
            files=("/usr/local/cuda/bin/nvcc",),
            way_out="https://developer.nvidia.com/cuda-downloads",
        ),
    ),
    "hip": (
        BuildRequirement(
            what="ROCm (hipconfig)",
            programs=("hipconfig",),
            files=("/opt/rocm/bin/hipconfig",),
            way_out="https://rocm.docs.amd.com/projects/install-on-linux",
        ),
    ),
    "vulkan": (
        BuildRequirement(
            what="Vulkan's shader compiler (glslc)",
            programs=("glslc",),
            way_out="Debian and Ubuntu: apt-get install glslc; Fedora: dnf install glslc",
        ),
        BuildRequirement(
            what="Vulkan's headers",
            programs=(),
            files=("/usr/include/vulkan/vulkan.h", "/usr/local/include/vulkan/vulkan.h"),
            way_out="Debian and Ubuntu: apt-get install libvulkan-dev; Fedora: dnf install vulkan-loader-devel",
        ),
    ),
}


def missing_requirements(build: Build, which: Which, root: Path = Path("/")) -> tuple[str, ...]:
    """Return the missing requirements of ``build``, with advice; empty if there are none."""
    headers = BuildRequirement(
        what="the header files of Python",
        programs=(),
        files=(f"{sysconfig.get_path('include')}/Python.h",),
        way_out="Debian and Ubuntu: apt-get install python3-dev; Fedora: dnf install python3-devel",
    )
    needs = [COMPILER, headers, *ACCELERATORS.get(build, ())]
    if "CXX" in current():
        needs.remove(COMPILER)
    return tuple(f"{need.what} ({need.way_out})" for need in needs if not _is_here(need, which, root))


def _is_here(need: BuildRequirement, which: Which, root: Path) -> bool:
    return any(which(program) for program in need.programs) or any(
        (root / file.lstrip("/")).exists() for file in need.files
    )


def why_no_llguidance(which: Which, repository: str = LLGUIDANCE) -> str | None:
    """Return why llguidance, whose source is downloaded, cannot be built into llama.cpp here; ``None`` if it can.

    Blocks for some seconds if the repository cannot be reached.
    """
    if lacking := [program for program in ("git", "cargo") if which(program) is None]:
        return f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not installed"
    try:
        finished = subprocess.run(  # noqa: S603 (git of this machine)
            [which("git") or "git", "ls-remote", repository, "HEAD"],
            capture_output=True,
            env={**current(), "GIT_TERMINAL_PROMPT": "0"},
            timeout=SECONDS_TO_ANSWER,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{repository} does not answer"
    return f"{repository} cannot be reached" if finished.returncode else None
