"""How many layers go to which GPU, on machines as NVML has described them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from modelhost.config.settings import Settings
from modelhost.models.files.gguf import GgufHeader, read_header
from modelhost.models.files.gguf_needs import GpuShare, need_bytes
from modelhost.models.resolve.runtime import Headroom, gpu_budget, headroom_of_empty_machine
from modelhost.models.resolve.sizing import Layers, Offload, memory_for_size, spread
from modelhost.workers.gpus import Gpu
from tests.support.recorded_gpus import (
    FOUR_OF_80_GB,
    GB,
    GIB,
    LLAMA_2_7B,
    LLAMA_3_70B,
    NEARLY_FULL,
    ONE_OF_8_GB,
    ONE_OF_24_GB,
    UNEQUAL,
)

NANO = read_header(Path(str(files("modelhost"))) / "assets" / "nano" / "modelhost-nano.gguf")


def rooms_on(gpus: tuple[Gpu, ...]) -> Mapping[int, int]:
    return Headroom(limits=gpu_budget(Settings(), gpus)).on(gpus)


def offload(header: GgufHeader, gpus: tuple[Gpu, ...] = (), **more: Any) -> Offload:
    given: dict[str, Any] = {
        "rooms": rooms_on(gpus),
        "requested_layers": None,
        "context_length": 4096,
        "slots": 1,
        "kv_cache_type": "f16",
        "batch_size": 512,
        **more,
    }
    return Offload(header=header, **given)


@pytest.mark.parametrize(
    ("header", "gpus", "split"),
    [
        (LLAMA_2_7B, ONE_OF_8_GB, (33,)),
        (LLAMA_2_7B, ONE_OF_24_GB, (33,)),
        (LLAMA_2_7B, UNEQUAL, (25, 8)),
        (LLAMA_2_7B, FOUR_OF_80_GB, (9, 8, 8, 8)),
        (LLAMA_2_7B, NEARLY_FULL, (0,)),
        (LLAMA_3_70B, ONE_OF_8_GB, (12,)),
        (LLAMA_3_70B, ONE_OF_24_GB, (41,)),
        (LLAMA_3_70B, UNEQUAL, (41, 12)),
        (LLAMA_3_70B, FOUR_OF_80_GB, (21, 20, 20, 20)),
        (LLAMA_3_70B, NEARLY_FULL, (0,)),
        (NANO, ONE_OF_8_GB, (NANO.block_count + 1,)),
        (NANO, NEARLY_FULL, (0,)),
    ],
)
def test_layers_go_where_they_fit_and_what_is_booked_says_the_same(
    header: GgufHeader, gpus: tuple[Gpu, ...], split: tuple[int, ...]
) -> None:
    model = offload(header, gpus)
    layers = model.layers()
    assert layers == Layers(count=sum(split), split=split)
    need, rooms = model.need(layers), rooms_on(gpus)
    assert {pool for pool in need if pool != "ram"} == {f"gpu:{gpu}" for gpu, count in enumerate(split) if count}
    for gpu, room in rooms.items():
        assert need.get(f"gpu:{gpu}", 0) <= room
    in_ram = header.size_bytes * (1 - sum(split) / model.total)
    assert need["ram"] >= in_ram
    if sum(split) == model.total:
        assert need["ram"] < offload(header).need(Layers(count=0))["ram"] or header is NANO


def test_one_more_layer_than_fits_would_be_too_much() -> None:
    model = offload(LLAMA_3_70B, ONE_OF_24_GB)
    part = GpuShare.of(LLAMA_3_70B, context_length=4096, slots=1, kv_cache_type="f16", batch_size=512)
    assert model.need(model.layers())["gpu:0"] + part.layer_bytes > rooms_on(ONE_OF_24_GB)[0]


def test_a_longer_context_leaves_room_for_fewer_layers() -> None:
    short, long = offload(LLAMA_3_70B, ONE_OF_24_GB), offload(LLAMA_3_70B, ONE_OF_24_GB, context_length=32_768)
    assert (short.layers().count, long.layers().count) == (41, 33)


def test_layers_that_are_asked_for_are_put_there_whether_they_fit_or_not() -> None:
    assert offload(LLAMA_3_70B, ONE_OF_8_GB, requested_layers=81).layers().split == (81,)
    assert offload(LLAMA_3_70B, ONE_OF_8_GB, requested_layers=500).layers().count == 81
    assert offload(LLAMA_3_70B, UNEQUAL, requested_layers=20).layers().split == (15, 5)
    assert offload(LLAMA_3_70B, NEARLY_FULL, requested_layers=3).layers().split == (3,)
    assert offload(LLAMA_2_7B, UNEQUAL, requested_layers=0).layers() == Layers(count=0, split=(0, 0))


def test_the_gpus_that_the_host_does_not_see_are_left_to_the_engine() -> None:
    assert offload(LLAMA_2_7B).layers() == Layers(count=None)
    assert offload(LLAMA_2_7B).layers(24) == Layers(count=24)
    assert offload(LLAMA_2_7B, requested_layers=7).layers() == Layers(count=7)


def test_a_gpu_without_room_for_a_layer_is_not_used_at_all() -> None:
    model = offload(LLAMA_2_7B, rooms={**rooms_on(ONE_OF_24_GB), 1: 800_000_000})
    assert model.layers().split == (33, 0)
    assert set(model.need(model.layers())) == {"ram", "gpu:0"}


def test_the_vision_encoder_and_the_draft_model_have_their_place_first() -> None:
    alone = offload(LLAMA_3_70B, UNEQUAL)
    seeing = offload(LLAMA_3_70B, UNEQUAL, encoder_bytes=2 * GB)
    assert alone.layers().split == (41, 12)
    assert seeing.layers().split == (37, 12)
    both = offload(LLAMA_3_70B, UNEQUAL, draft=LLAMA_2_7B)
    need, rooms = both.need(both.layers()), rooms_on(UNEQUAL)
    assert both.layers().count < 53
    assert all(need.get(f"gpu:{gpu}", 0) <= room for gpu, room in rooms.items())
    on_cpu = offload(LLAMA_2_7B, requested_layers=0, encoder_bytes=GB, adapter_bytes=7)
    assert on_cpu.need(on_cpu.layers())["ram"] == offload(LLAMA_2_7B).need(Layers(count=0))["ram"] + GB + 7


@pytest.mark.parametrize(
    ("wanted", "room", "fits", "counts"),
    [
        (10, [100, 100], True, (5, 5)),
        (10, [100, 50], True, (7, 3)),
        (10, [30, 25], True, (3, 2)),
        (10, [9, 95], True, (0, 9)),
        (3, [0, 0], True, (0, 0)),
        (3, [0, 0], False, (2, 1)),
        (3, [-5, 10], False, (0, 3)),
    ],
)
def test_layers_are_spread_by_room(wanted: int, room: list[float], fits: bool, counts: tuple[int, ...]) -> None:
    assert spread(wanted, room, 10, fits=fits) == counts


def test_what_comes_back_counts_as_free_and_what_stays_does_not() -> None:
    (gpu,) = ONE_OF_8_GB
    taken = (Gpu(index=0, name=gpu.name, total_bytes=gpu.total_bytes, free_bytes=2 * GB),)
    assert Headroom().on(taken) == {0: 2 * GB - (256 << 20)}
    assert Headroom(freed={"gpu:0": 5 * GB}).on(taken) == {0: 7 * GB - (256 << 20)}
    assert Headroom(freed={"gpu:0": 90 * GB}).on(taken) == {0: gpu.total_bytes - (256 << 20)}
    assert Headroom(freed={"gpu:0": 5 * GB}, limits={"gpu:0": 3 * GB}).on(taken) == {0: 3 * GB}
    assert headroom_of_empty_machine(Settings(gpu_memory_budget="50%"), taken).on(taken) == {0: 4 * GIB}
    assert Headroom().on(NEARLY_FULL) == {0: 0}


def test_the_context_is_decided_by_the_memory_that_it_will_be_in() -> None:
    small, large, none = rooms_on(ONE_OF_8_GB), rooms_on(FOUR_OF_80_GB), rooms_on(NEARLY_FULL)
    assert memory_for_size(LLAMA_2_7B, {}, 64 * GB) == 64 * GB
    assert memory_for_size(LLAMA_2_7B, none, 64 * GB) == 64 * GB
    assert memory_for_size(LLAMA_2_7B, small, 64 * GB) < 8 * GB
    assert memory_for_size(LLAMA_2_7B, large, 8 * GB) > 300 * GB
    assert memory_for_size(LLAMA_3_70B, small, 4 * GB) == 4 * GB


def test_a_split_is_booked_as_it_is() -> None:
    requested_layers: dict[str, Any] = {"context_length": 4096, "slots": 1, "kv_cache_type": "f16", "gpu_layers": 30}
    need = need_bytes(LLAMA_2_7B, **requested_layers, gpus=(0, 3), split=(20, 10))
    fixed = GpuShare.of(LLAMA_2_7B, context_length=4096, slots=1, kv_cache_type="f16").fixed_bytes
    assert need["gpu:0"] - fixed == pytest.approx(2 * (need["gpu:3"] - fixed), abs=2)
