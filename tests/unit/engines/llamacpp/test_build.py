"""Builds of llama.cpp: what they need, what they are told, what the next attempt finds."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from modelhost.engines.llamacpp.build import (
    WITHOUT_AMX,
    BuildDirectory,
    activate_build,
    build_lock,
    build_variables,
    compile_build,
    forget_configuration,
    jobs_for,
    progress_in,
    reason_in,
    why_no_index,
)
from modelhost.engines.llamacpp.machine import Processor
from modelhost.engines.llamacpp.toolchain import missing_requirements, why_no_llguidance
from modelhost.engines.traits import Build
from modelhost.errors import EngineMissing

GIB = 1 << 30


def test_what_is_missing_is_named_with_the_way_to_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    (tmp_path / str(headers).lstrip("/")).parent.mkdir(parents=True)
    (tmp_path / str(headers).lstrip("/")).touch()
    (compiler,) = missing_requirements("native", lambda _: None, tmp_path)
    assert compiler.startswith("a C++ compiler (Debian and Ubuntu: apt-get install g++;")
    assert missing_requirements("native", lambda name: name if name == "clang++" else None, tmp_path) == ()
    (nvcc,) = missing_requirements("cuda", lambda name: name if name == "g++" else None, tmp_path)
    assert nvcc.startswith("the CUDA toolkit (nvcc) (https://")
    assert len(missing_requirements("vulkan", lambda _: None, tmp_path)) == 3
    monkeypatch.setenv("CXX", "my-compiler")
    assert missing_requirements("native", lambda _: None, tmp_path) == ()


def test_nothing_is_begun_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "modelhost.engines.llamacpp.build.missing_requirements", lambda *_: ("a C++ compiler (apt-get install g++)",)
    )
    with pytest.raises(
        EngineMissing, match=r"cannot be built here for want of a C\+\+ compiler \(apt-get install g\+\+\)\."
    ):
        compile_build("native", BuildDirectory(data_dir=tmp_path), jobs=1, report=lambda _: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        ("[12/211] Building CXX object common/CMakeFiles/common.dir/arg.cpp.o", (12, 211)),
        ("  [211/211] Linking CXX executable bin/llama-server", (211, 211)),
        ("note: array[3/4] is not a step", None),
        ("Collecting xllamacpp", None),
    ],
)
def test_progress_is_read_from_lines_of_ninja(line: str, progress: tuple[int, int] | None) -> None:
    assert progress_in(line) == progress


@pytest.mark.parametrize(
    ("complaint", "reason"),
    [
        (["a.cpp:7:1: fatal error: no space left on device", "compilation terminated."], "a.cpp:7:1: fatal error: no "),
        (
            ["CMake Error: CMAKE_CXX_COMPILER not set", "Configuring incomplete"],
            "CMake Error: CMAKE_CXX_COMPILER not set",
        ),
        (
            [
                "CMake Error at Cxx.cmake:47 (message):",
                "Could not find CXX:",
                "",
                "/none/g++.",
                "",
                "Call Stack (first)",
            ],
            "CMake Error at Cxx.cmake:47 (message): Could not find CXX: /none/g++.",
        ),
    ],
)
def test_the_reason_why_a_build_fails_is_told(complaint: list[str], reason: str) -> None:
    assert reason_in(complaint).startswith(reason)
    assert "Call Stack" not in reason_in(complaint)


@pytest.mark.parametrize(("cores", "available", "jobs"), [(2, 24 * GIB, 2), (64, 8 * GIB, 5), (8, 1 * GIB, 1)])
def test_as_many_files_are_compiled_at_once_as_memory_allows(cores: int, available: int, jobs: int) -> None:
    assert jobs_for(cores, available) == jobs


def test_a_build_fetches_nothing_but_perhaps_llguidance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_BLAS=ON")
    monkeypatch.setenv("XLLAMACPP_BUILD_HIP", "1")
    monkeypatch.setenv("XLLAMACPP_RELEASE", "1")
    workshop = BuildDirectory(data_dir=tmp_path)
    told = build_variables("cuda", workshop, jobs=3, has_llguidance=False)
    assert told["CMAKE_ARGS"].split() == [
        "-DLLAMA_BUILD_BORINGSSL=OFF",
        "-DLLAMA_USE_PREBUILT_UI=OFF",
        "-DLLAMA_BUILD_UI=OFF",
        "-DLLAMA_LLGUIDANCE=OFF",
        "-DGGML_BLAS=ON",  # the user's, which wins
    ]
    assert (told["XLLAMACPP_BUILD_CUDA"], told["XLLAMACPP_BUILD_HIP"], told["XLLAMACPP_RELEASE"]) == ("1", "", "")
    assert (told["NPROC"], told["CMAKE_GENERATOR"]) == ("3", "Ninja")
    assert told["PATH"].startswith(str(workshop.tools))
    assert told["GIT_CEILING_DIRECTORIES"] == str(workshop.folder.resolve())
    assert "-DLLAMA_LLGUIDANCE=ON" in build_variables("native", workshop, jobs=1, has_llguidance=True)["CMAKE_ARGS"]


@pytest.mark.parametrize(
    ("flags", "expected"), [("avx2 avx512f", None), ("avx2 amx_bf16 amx_tile amx_int8", f"-g {WITHOUT_AMX}")]
)
def test_a_build_uses_no_amx(flags: str, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor = Processor(architecture="x86_64", flags=frozenset(flags.split()))
    monkeypatch.setattr("modelhost.engines.llamacpp.build.this_processor", lambda: processor)
    monkeypatch.setenv("CXXFLAGS", "-g")
    variables = build_variables("native", BuildDirectory(data_dir=tmp_path), jobs=1, has_llguidance=False)
    assert variables.get("CXXFLAGS") == expected


def test_llguidance_is_left_out_where_its_source_cannot_be_had(tmp_path: Path) -> None:
    assert why_no_llguidance(lambda _: None) == "git and cargo are not installed"
    assert why_no_llguidance(lambda name: name if name == "git" else None) == "cargo is not installed"
    nowhere = f"file://{tmp_path}/none"
    assert why_no_llguidance(lambda name: name, nowhere) == f"{nowhere} cannot be reached"


def test_one_process_builds_at_a_time(tmp_path: Path) -> None:
    workshop = BuildDirectory(data_dir=tmp_path)
    with build_lock(workshop), pytest.raises(EngineMissing, match="is being built in"), build_lock(workshop):
        pytest.fail("two build in one place")
    with build_lock(workshop):
        pass


def test_hosts_keep_what_they_have_until_a_build_is_put_in_its_place(tmp_path: Path) -> None:
    workshop = BuildDirectory(data_dir=tmp_path)
    place = tmp_path / "engines" / "llamacpp"
    for folder, content in ((place, "old"), (workshop.made, "new")):
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").write_text(content)
    workshop.folder.mkdir()
    assert activate_build(workshop).read_text() == "new"
    assert [path.name for path in (tmp_path / "engines").iterdir()] == ["llamacpp"]


def test_another_attempt_finds_its_compilers_anew_and_keeps_what_is_compiled(tmp_path: Path) -> None:
    build = tmp_path / "thirdparty" / "build"
    shaders = build / "shaders-prefix" / "src"
    gone = [
        build / "CMakeCache.txt",
        build / "CMakeFiles" / "3.31.6" / "CMakeCCompiler.cmake",
        shaders / "shaders-build" / "CMakeCache.txt",
        shaders / "shaders-stamp" / "shaders-configure",
    ]
    kept = [
        build / "build.ninja",
        build / ".ninja_log",
        build / "CMakeFiles" / "common.dir" / "arg.cpp.o",
        build / "CMakeFiles" / "llguidance_ext-complete",
        shaders / "shaders-stamp" / "shaders-download",
    ]
    for path in (*gone, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    forget_configuration(tmp_path)
    assert [path for path in gone if path.exists()] == []
    assert all(path.exists() for path in kept)


def test_a_library_that_the_cuda_toolkit_lacks_is_named_with_the_way_to_have_it() -> None:
    complaint = [
        "CMake Error at ggml/src/ggml-cuda/CMakeLists.txt:178 (target_link_libraries):",
        'Target "ggml-cuda" links to:',
        "",
        "CUDA::cublas",
        "",
        "but the target was not found.  Possible reasons include:",
    ]
    assert reason_in(complaint).startswith("cublas of the CUDA toolkit is missing, or the files to compile with it (De")


@pytest.mark.parametrize(
    ("build", "cuda", "machine", "why"),
    [
        ("cuda", None, "x86_64", "no driver of NVIDIA's was found, which decides on the version of CUDA"),
        ("cuda", (11, 4), "x86_64", "they are for CUDA 12.8 and later, and the driver supports 11.4"),
        ("hip", None, "x86_64", "they are for ROCm 7.2 and 6.4, and /opt/rocm/.info/version names neither"),
        ("vulkan", None, "aarch64", "they are for Linux on x86-64"),
    ],
)
def test_why_no_wheel_is_looked_for_is_told(
    build: Build, cuda: tuple[int, int] | None, machine: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert why_no_index(build, cuda) == why
