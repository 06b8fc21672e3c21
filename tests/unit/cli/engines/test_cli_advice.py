"""What a start says of a build that would be quicker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from modelhost.cli.engines.advice import faster_build
from modelhost.engines.launch import ModelSpec, Ready
from modelhost.engines.llamacpp.machine import Machine, Processor
from modelhost.models.residency.hosted import HostedModel


def _model(
    *features: str,
    engine: str = "llamacpp",
    is_loaded: bool = True,
    is_built: bool = False,
    has_unused_gpu: bool = False,
) -> HostedModel:
    worker = SimpleNamespace(ready=Ready(url="", features=features)) if is_loaded else None
    spec = ModelSpec(name="one", has_fallback=is_built)
    known = SimpleNamespace(unused_gpu="an L4" if has_unused_gpu else None)
    model = SimpleNamespace(worker=worker, engine=SimpleNamespace(name=engine), spec=spec, known=known)
    return cast("HostedModel", model)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = frozenset({"avx2", "avx512f"})
    found = Machine(processor=Processor(architecture="x86_64", flags=flags), platform="linux")
    monkeypatch.setattr("modelhost.engines.llamacpp.machine.this_machine", lambda _: found)


def test_a_worker_that_leaves_the_processor_unused_is_told_of_in_one_line() -> None:
    better = faster_build(_model("AVX2"))
    assert better is not None
    assert better.build == "native"
    assert str(better).startswith("llama.cpp could be faster here: this processor has AVX-512, which")
    assert "\n" not in str(better)


@pytest.mark.parametrize(
    "others",
    [
        {"features": ["AVX2", "AVX512"]},
        {"features": ["AVX2", "CUDA"]},
        {"features": []},
        {"features": ["AVX2"], "engine": "mistralrs"},
        {"features": ["AVX2"], "is_loaded": False},
        {"features": ["AVX2"], "is_built": True},
        {"features": ["AVX2"], "has_unused_gpu": True},
    ],
    ids=["built for it", "on a gpu", "silent", "another engine", "not loaded", "built by an old compiler", "told"],
)
def test_whatever_else_runs_is_left_alone(others: dict[str, Any]) -> None:
    assert faster_build(_model(*others.pop("features"), **others)) is None
