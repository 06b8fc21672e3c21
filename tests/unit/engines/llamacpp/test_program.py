"""What a ``llama-server`` says of itself, recorded (and shortened) of a new one and of one of February 2025."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelhost.engines.llamacpp import program
from modelhost.engines.llamacpp.program import (
    NotAServerError,
    flags_in,
    inspect_program,
    lists_gpus,
    output_of,
    version_in,
)
from modelhost.models.resolve.sizing import load_timeout_seconds
from tests.support.llama_server_stub import RECORDED, write_llama_server

CUDA = """ggml_cuda_init: found 1 CUDA devices:
  Device 0: NVIDIA H200, compute capability 9.0, VMM: yes
Available devices:
  CUDA0: NVIDIA H200 (143156 MiB, 142601 MiB free)
"""


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text()


@pytest.mark.parametrize(
    ("age", "version"), [("new", "0.6.0-dev (build 11549, commit 6f3ab12)"), ("old", "4719 (b3e8a1c0)")]
)
def test_the_version_is_what_the_program_says_of_it(age: str, version: str) -> None:
    noise = "ggml_cuda_init: found 1 CUDA devices:\n"
    assert version_in(noise + recorded(f"{age}-version"), "llama-server") == version


def test_what_is_no_llama_server_is_told_with_what_it_said() -> None:
    missing = "llama-server: error while loading shared libraries: libggml.so: cannot open shared object file"
    with pytest.raises(
        NotAServerError, match=r'^/x is no llama-server, or lacks its libraries: .*"llama-server: error'
    ):
        version_in(f"{missing}\n\n", "/x")
    with pytest.raises(NotAServerError, match='"nothing"'):
        version_in("", "/x")


def test_a_program_that_does_not_answer_is_named_before_the_load_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_timeout_seconds(0, engine="llamacpp") > program.SECONDS
    monkeypatch.setattr(program, "SECONDS", 0.1)
    path = tmp_path / "llama-server"
    path.write_text("#!/bin/sh\nexec sleep 1000\n")
    path.chmod(0o755)
    with pytest.raises(NotAServerError, match=f"^{path} --version did not end within"):
        inspect_program(str(path))


def test_flags_are_found_under_all_their_names_with_what_they_take() -> None:
    flags = flags_in(recorded("new-help"))
    assert flags["-fa"] == flags["--flash-attn"]
    assert "[on|off|auto]" in flags["--flash-attn"]
    assert {"--no-kv-unified", "-no-kvu", "--no-webui", "--kv-unified-per-slot"} <= set(flags)
    assert "ngram-mod" in flags["--spec-type"]


def test_a_flag_that_another_one_is_explained_with_is_none() -> None:
    help_text = (
        "-x,    --example N                      as --behind says, or - 1: error\n" + " " * 40 + "--below is meant\n"
    )
    assert set(flags_in(help_text)) == {"-x", "--example"}


def test_flags_that_are_gone_are_not_there() -> None:
    assert "--draft-max" not in flags_in(recorded("new-help"))
    assert "--draft" not in flags_in(recorded("new-help"))


@pytest.mark.parametrize(
    ("said", "has_gpu"),
    [
        (CUDA, True),
        ("Available devices:\n  (none)\n", False),
        ("Available devices:\n  BLAS: OpenBLAS (0 MiB, 0 MiB free)\n", False),
        ("Available devices:\n  Vulkan0: llvmpipe (LLVM 15, 256 bits) (7900 MiB, 7900 MiB free)\n", True),
        ("error: invalid argument: --list-devices\n", False),
    ],
)
def test_gpus_are_devices_with_memory(said: str, has_gpu: bool) -> None:
    assert lists_gpus(said) is has_gpu


def test_a_program_is_asked_for_its_version_and_its_flags(tmp_path: Path) -> None:
    program = inspect_program(write_llama_server(tmp_path, age="old"))
    assert program.version == "4719 (b3e8a1c0)"
    assert program.has("--no-mmap")
    assert not program.has("--kv-unified-per-slot")
    assert program.help_mentions("--api-key", "LLAMA_API_KEY")
    assert not program.help_mentions("--unheard-of", "a")
    assert "LLAMA_ARG_CTX_SIZE" in program.variables
    assert "LLAMA_API_KEY" not in program.variables


def test_what_cannot_be_started_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(NotAServerError, match="/text cannot be started: Exec format error"):
        output_of(str(tmp_path / "text"), "--version")
