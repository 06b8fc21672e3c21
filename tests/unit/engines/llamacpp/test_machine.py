"""Which build of llama.cpp suits a machine: from what machines of several kinds say of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelhost.engines.llamacpp.build import wheel_index
from modelhost.engines.llamacpp.features import features_in
from modelhost.engines.llamacpp.machine import Machine, better_build, compiled_for, read_processor, why_unavailable

ZEN_3 = "fpu sse4_1 sse4_2 ssse3 avx f16c avx2 bmi2 fma vaes smep"
ALDER_LAKE = f"{ZEN_3} avx_vnni"
SAPPHIRE_RAPIDS = f"{ALDER_LAKE} avx512f avx512bw avx512_vnni amx_tile amx_int8"
RASPBERRY_PI_4 = "fp asimd evtstrm crc32 cpuid"
GRAVITON_3 = "fp asimd evtstrm aes crc32 atomics fphp asimdhp asimddp sve bf16 i8mm"
WHEEL = features_in(
    "CPU : SSE3 = 1 | SSSE3 = 1 | AVX = 1 | AVX2 = 1 | F16C = 1 | FMA = 1 | BMI2 = 1 | LLAMAFILE = 1 | ", ["CPU"]
)


def _machine(tmp_path: Path, flags: str, architecture: str, **others: object) -> Machine:
    field = "flags\t\t" if architecture == "x86_64" else "Features\t"
    named = "model name\t: A Processor\n" if architecture == "x86_64" else "BogoMIPS\t: 2100.00\n"
    (tmp_path / "proc").mkdir()
    text = f"processor\t: 0\n{named}{field}: {flags}\n\nprocessor\t: 1\n{field}: nonsense\n"
    (tmp_path / "proc" / "cpuinfo").write_text(text)
    values = {"processor": read_processor(tmp_path, architecture), "platform": "linux", **others}
    return Machine(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flags", "architecture", "said"),
    [
        (ZEN_3, "x86_64", None),
        (ALDER_LAKE, "x86_64", "this processor has AVX-VNNI, which this build does not use (by how much has not been"),
        (
            SAPPHIRE_RAPIDS,
            "x86_64",
            "has AVX-512 and AVX-VNNI, which this build does not use (measured with AVX-512:",
        ),
        (RASPBERRY_PI_4, "aarch64", None),
        (
            GRAVITON_3,
            "aarch64",
            "dot products, 8-bit matrix products and SVE, which this build does not use (by how much",
        ),
        ("rv64imafdc", "riscv64", None),
    ],
)
def test_a_processor_that_the_wheel_leaves_unused_gets_a_build_of_its_own(
    tmp_path: Path, flags: str, architecture: str, said: str | None
) -> None:
    better = better_build(_machine(tmp_path, flags, architecture), WHEEL)
    assert (better is None) == (said is None)
    if better is not None and said is not None:
        assert better.build == "native"
        assert said in str(better)
        assert str(better).endswith("): modelhost engines install llamacpp")
        assert "\n" not in str(better)


def test_a_build_that_uses_what_there_is_has_nothing_better(tmp_path: Path) -> None:
    machine = _machine(tmp_path, SAPPHIRE_RAPIDS, "x86_64")
    assert better_build(machine, [*WHEEL, "AVX512", "AVX_VNNI"]) is None
    assert better_build(machine, features_in("CUDA : ARCHS = 900 | CPU : AVX2 = 1 |", ["CUDA0", "CPU"])) is None
    assert better_build(Machine(processor=machine.processor, platform="darwin")) is None


@pytest.mark.parametrize("kind", ["cuda", "hip", "vulkan"])
def test_a_gpu_comes_before_the_processor(tmp_path: Path, kind: str) -> None:
    machine = _machine(tmp_path, SAPPHIRE_RAPIDS, "x86_64", accelerator=kind)
    native = [*WHEEL, "AVX512", "AVX_VNNI"]
    for has in (WHEEL, native):
        better = better_build(machine, has)
        assert better is not None
        assert better.build == kind
        assert "which this build cannot use" in better.reason


def test_features_are_read_from_what_llama_cpp_says() -> None:
    said = "CUDA : ARCHS = 500,900 | USE_GRAPHS = 1 | CPU : SSE3 = 1 | AVX512 = 1 | AMX_INT8 = 0 | "
    assert features_in(said, ["CUDA0", "CUDA1", "CPU"]) == ("ARCHS", "USE_GRAPHS", "SSE3", "AVX512", "CUDA")
    assert features_in("", ["Vulkan0"]) == ("Vulkan",)


def test_a_native_build_needs_what_a_compiler_makes_use_of() -> None:
    flags = ["fpu", "apic", "smep", "smap", "avx2", "avx512f", "fma", "bmi2", "lahf_lm", "amx_int8", "sve2", "sme"]
    assert compiled_for(flags) == ("avx2", "avx512f", "bmi2", "fma", "sme", "sve2")


def test_what_an_operating_system_has_no_build_of_is_refused(tmp_path: Path) -> None:
    linux = _machine(tmp_path, ZEN_3, "x86_64")
    assert why_unavailable("cuda", linux) is None
    assert "native or cuda or hip or vulkan" in (why_unavailable("metal", linux) or "")
    darwin = Machine(processor=linux.processor, platform="darwin")
    assert why_unavailable("metal", darwin) is None
    assert "no cuda" in (why_unavailable("cuda", darwin) or "")
    assert "Subsystem for Linux" in (
        why_unavailable("native", Machine(processor=linux.processor, platform="win32")) or ""
    )


def test_wheels_are_looked_for_where_the_driver_runs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("sys.platform", "linux")
    rocm = tmp_path / "version"
    rocm.write_text("6.4.1-83\n")
    assert wheel_index("cuda", "http://here/whl/", (13, 3)) == "http://here/whl/cu132"
    assert wheel_index("cuda", "http://here/whl", (12, 9)) == "http://here/whl/cu128"
    assert wheel_index("cuda", "http://here/whl", (12, 4)) is None
    assert wheel_index("cuda", "http://here/whl", (13, 0)) == "http://here/whl/cu128"
    assert wheel_index("hip", "http://here/whl", rocm_version=rocm) == "http://here/whl/rocm-6.4.1"
    assert wheel_index("hip", "http://here/whl", rocm_version=tmp_path / "none") is None
    assert wheel_index("vulkan", "http://here/whl") == "http://here/whl/vulkan"
    assert wheel_index("native", "http://here/whl") is None
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert wheel_index("cuda", "http://here/whl", (13, 3)) is None
