"""What the engines make of launch parameters, of which many are another engine's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhost.engines import ENGINES
from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.llamacpp.options import LARGEST_BATCH, batch_size
from modelhost.engines.scripted.engine import Scripted
from modelhost.errors import ConfigError

EVERYTHING: dict[str, Any] = {
    "context_length": 4096,
    "max_num_seqs": 4,
    "kvcache_mem_gpu": 100,
    "kvcache_mem_cpu": 200,
    "prefill_chunk_size": 512,
    "device_ids": [0],
    "dtype": "f16",
    "block_size": 16,
    "multithread": True,
    "tensor_parallel_size": 1,
    "prompt_cache": {"enabled": True},
    "kvcache_compression": {"policy": "disabled"},
}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))
def test_nothing_is_accepted_as_nothing(engine: Any) -> None:
    accepted = engine.accept({})
    assert (accepted.settings, accepted.problems, accepted.warnings) == ({}, (), ())


def test_llamacpp_names_what_has_no_effect() -> None:
    accepted = LlamaCpp().accept(EVERYTHING)
    assert accepted.problems == ()
    assert accepted.settings == {
        "context_length": 4096,
        "max_slots": 4,
        "slots": None,
        "kv_cache_memory": "100MiB",
        "engine_options": {"batch_size": 512},
        "worker_env": {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "0"},
    }
    named = [warning.split('"')[1] for warning in accepted.warnings]
    assert sorted(named) == [
        "params.block_size",
        "params.dtype",
        "params.kvcache_mem_cpu",
        "params.multithread",
        "params.prompt_cache",
    ]


@pytest.mark.parametrize(
    ("memory", "bound"),
    [
        ({"kvcache_mem_gpu": 1, "kvcache_mem_cpu": 2}, "1MiB"),
        ({"kvcache_mem_cpu": 2}, "2MiB"),
        ({"kvcache_mem_gpu": 1, "device_ids": []}, "1MiB"),
        ({"kvcache_mem_gpu": 1, "kvcache_mem_cpu": 2, "device_ids": []}, "2MiB"),
    ],
)
def test_the_cache_is_bounded_where_it_is(memory: dict[str, Any], bound: str) -> None:
    assert LlamaCpp().accept(memory).settings["kv_cache_memory"] == bound


@pytest.mark.parametrize(
    "quiet",
    [
        {"dtype": "auto"},
        {"multithread": False},
        {"prompt_cache": {"enabled": False}},
        {"kvcache_compression": {"policy": "disabled"}},
        {"tensor_parallel_size": 1},
    ],
)
def test_what_asks_for_nothing_is_no_warning(quiet: dict[str, Any]) -> None:
    accepted = LlamaCpp().accept(quiet)
    assert (accepted.problems, accepted.warnings) == ((), ())


def test_all_problems_are_named_at_once() -> None:
    accepted = LlamaCpp().accept({"isq": "q4k", "dtype": "x", "engine_options": {"nonsense": 1}})
    assert len(accepted.problems) == 3


def test_a_script_has_slots_and_a_context_and_names_the_rest() -> None:
    accepted = Scripted().accept({**EVERYTHING, "lora": ("a",)})
    assert accepted.settings == {"context_length": 4096, "slots": 4}
    assert accepted.problems == ('"params.lora": the scripted engine has no model, so it cannot use it',)
    assert len(accepted.warnings) == len(EVERYTHING) - 2


@given(st.integers(16, 100_000), st.integers(1, 256), st.integers(0, 10_000))
def test_a_batch_is_a_multiple_of_the_slots(context_length: int, slots: int, wanted: int) -> None:
    spec = ModelSpec(name="m", context_length=context_length, slots=slots, options={"batch_size": wanted})
    assert batch_size(spec) % slots == 0
    in_use = min(wanted, context_length * slots) if wanted else min(context_length, LARGEST_BATCH)
    assert 0 <= batch_size(spec) - in_use < slots


def test_the_batch_is_the_context_up_to_a_limit_unless_it_is_given() -> None:
    assert batch_size(ModelSpec(name="m", context_length=100)) == 100
    assert batch_size(ModelSpec(name="m", context_length=100_000)) == LARGEST_BATCH
    assert batch_size(ModelSpec(name="m", context_length=100, options={"batch_size": "64"})) == 64
    with pytest.raises(ConfigError, match="takes a whole number"):
        batch_size(ModelSpec(name="m", options={"batch_size": "many"}))
