"""Loads that end for want of GPU memory: fewer layers go there until it works, and the next load begins with those."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from modelhost.engines.launch import Launch, ModelSpec
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.errors import ModelFailed, WorkerStartFailed
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.scheduler import Scheduler
from modelhost.models.resolve.resolved import LayerLimit, Resolved, fewer_layers, within_limit
from modelhost.models.resolve.runtime import UnusedGpu
from modelhost.models.resolve.sizing import Offload
from modelhost.workers.gpus import Gpu
from modelhost.workers.process import ProgressCallback, WorkerProcess
from tests.support.fake_workers import FakeFiles, FakeStarts, end, fake_entry, fake_scheduler, lease_once
from tests.support.recorded_gpus import GB, LLAMA_2_7B, ONE_OF_8_GB, UNEQUAL

pytestmark = pytest.mark.usefixtures("virtual_time")


class Files(FakeFiles):
    """What finds models of llama.cpp on a machine with ``gpus``."""

    def __init__(self, gpus: tuple[Gpu, ...]) -> None:
        super().__init__()
        self.gpus = gpus
        self.unused_gpu: UnusedGpu | None = None

    def resolved(self, entry: ModelEntry) -> Resolved:
        context_length = entry.settings.context_length or 4096
        offload = Offload(
            header=LLAMA_2_7B,
            rooms=self.headroom.on(self.gpus),
            requested_layers=entry.settings.gpu_layers,
            context_length=context_length,
            slots=1,
            kv_cache_type="f16",
            batch_size=512,
        )
        layers = offload.layers()
        spec = ModelSpec(
            name=entry.name,
            path=Path("model.gguf"),
            context_length=context_length,
            slots=1,
            gpu_layers=layers.count,
            gpu_split=layers.split,
            gpus=tuple(offload.rooms),
        )
        return Resolved(
            spec=spec,
            engine=LlamaCpp(),
            load_timeout_seconds=60.0,
            need_bytes=offload.need(layers),
            offload=offload,
            unused_gpu=self.unused_gpu,
        )


class Starts(FakeStarts):
    """What starts workers for which the GPUs have memory for so many layers."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = layers

    async def __call__(
        self, launch: Launch, *, model: str, timeout_seconds: float, on_progress: ProgressCallback | None = None
    ) -> WorkerProcess:
        requested_layers = launch.config["gpu_layers"]
        self.failures = int(requested_layers is None or requested_layers > self.layers)
        self.error = lambda: WorkerStartFailed(
            "cudaMalloc failed", model=model, worker="w", out_of_memory=True, out_of_gpu_memory=True
        )
        return await super().__call__(launch, model=model, timeout_seconds=timeout_seconds, on_progress=on_progress)

    @property
    def tried(self) -> list[int | None]:
        return [launch.config["gpu_layers"] for launch in self.launches]


def host(starts: FakeStarts, files: Files, *entries: ModelEntry) -> tuple[Scheduler, HostedModel]:
    budget = {f"gpu:{gpu.index}": int(gpu.total_bytes * 0.9) for gpu in files.gpus}
    scheduler = fake_scheduler(starts, *(entries or (entry(),)), files=files, budget=budget)
    return scheduler, scheduler.models["fake"]


def entry(name: str = "fake", **settings: Any) -> ModelEntry:
    return fake_entry(name, **{"engine": "llamacpp", **settings})


async def test_fewer_layers_are_tried_until_they_fit_and_the_next_load_begins_with_those() -> None:
    starts = Starts(layers=20)
    scheduler, model = host(starts, Files(ONE_OF_8_GB))
    with capture_logs() as events:
        await lease_once(scheduler, model)
    assert starts.tried == [33, 24, 18]
    assert {launch.config["context_length"] for launch in starts.launches} == {4096}
    told = [event for event in events if event["event"] == "gpu_layers_reduced"]
    assert [(event["failed_with"], event["gpu_layers"]) for event in told] == [(33, 24), (24, 18)]
    assert {event["log_level"] for event in told} == {"warning"}
    record = scheduler.ledger.record("fake")
    assert model.resolved is not None
    assert record.charge == model.resolved.need_bytes
    assert record.charge["gpu:0"] < 5 * GB < 6 * GB < record.charge["ram"] + record.charge["gpu:0"]
    assert record.last_error is None
    await scheduler.unload(model)
    await lease_once(scheduler, model)
    assert starts.tried == [33, 24, 18, 18]
    await end(scheduler, starts)


async def test_in_the_end_nothing_is_on_the_gpus_and_they_are_hidden() -> None:
    starts = Starts(layers=0)
    scheduler, model = host(starts, Files(UNEQUAL))
    await lease_once(scheduler, model)
    assert starts.tried == [33, 24, 18, 13, 6, 0]
    assert [len(launch.config["tensor_split"]) for launch in starts.launches] == [2, 2, 2, 2, 2, 0]
    assert starts.launches[0].env["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert starts.launches[-1].env["CUDA_VISIBLE_DEVICES"] == ""
    assert set(scheduler.ledger.record("fake").charge) == {"ram"}
    await end(scheduler, starts)


async def test_gpus_that_the_host_does_not_see_get_fewer_layers_too() -> None:
    starts = Starts(layers=24)
    scheduler, model = host(starts, Files(()))
    await lease_once(scheduler, model)
    assert starts.tried == [None, 24]
    await end(scheduler, starts)


async def test_layers_that_were_asked_for_are_never_fewer_and_the_failure_says_the_way_out() -> None:
    starts = Starts(layers=20)
    scheduler, model = host(starts, Files(ONE_OF_8_GB), entry(gpu_layers=30))
    with pytest.raises(ModelFailed, match=r"for 30 layers: ask for fewer with --gpu-layers, or leave it out"):
        await lease_once(scheduler, model)
    assert set(starts.tried) == {30}
    await end(scheduler, starts)


async def test_a_new_entry_begins_anew() -> None:
    starts = Starts(layers=20)
    scheduler, model = host(starts, Files(ONE_OF_8_GB))
    await lease_once(scheduler, model)
    scheduler.add(entry(context_length=2048))
    starts.layers = 33
    await scheduler.load(model, wait=True)
    assert starts.tried == [33, 24, 18, 33]
    await end(scheduler, starts)


async def test_the_memory_of_models_that_go_for_it_counts_as_free() -> None:
    starts, files = Starts(layers=33), Files(ONE_OF_8_GB)
    scheduler, first = host(starts, files, entry("fake"), entry("other"))
    await lease_once(scheduler, first)
    (gpu,) = ONE_OF_8_GB
    files.gpus = (replace(gpu, free_bytes=gpu.free_bytes - scheduler.ledger.record("fake").charge["gpu:0"]),)
    await lease_once(scheduler, scheduler.models["other"])
    assert starts.tried == [33, 33]
    assert not starts.alive("fake")
    await end(scheduler, starts)


async def test_what_a_pinned_model_holds_does_not_count_as_free() -> None:
    starts, files = Starts(layers=33), Files(ONE_OF_8_GB)
    pinned = fake_entry("pinned", engine="llamacpp", gpu_layers=10, is_pinned=True)
    scheduler, model = host(starts, files, pinned, entry())
    await scheduler.load(scheduler.models["pinned"], wait=True)
    await lease_once(scheduler, model)
    first, second = starts.tried
    assert first == 10
    assert second is not None
    assert 15 <= second <= 25
    assert starts.alive("pinned")
    await end(scheduler, starts)


async def test_a_model_that_had_little_room_is_laid_out_anew_the_next_time() -> None:
    starts, files = Starts(layers=33), Files(ONE_OF_8_GB)
    (gpu,) = ONE_OF_8_GB
    files.gpus = (replace(gpu, free_bytes=4 * GB),)
    scheduler, model = host(starts, files)
    await lease_once(scheduler, model)
    files.gpus = ONE_OF_8_GB
    await scheduler.unload(model)
    await lease_once(scheduler, model)
    some, all_of_them = starts.tried
    assert some is not None
    assert 0 < some < 33 == all_of_them
    await scheduler.unload(model)
    await lease_once(scheduler, model)
    assert len(files.looked_for) == 2
    await end(scheduler, starts)


async def test_a_gpu_that_is_not_used_is_told_once_a_model() -> None:
    starts, files = FakeStarts(), Files(())
    files.unused_gpu = UnusedGpu(name="NVIDIA L4", engine="llamacpp", way_out="modelhost engines install ...")
    scheduler, model = host(starts, files)
    with capture_logs() as events:
        for _ in range(3):
            await lease_once(scheduler, model)
            await scheduler.unload(model)
    (told,) = [event for event in events if event["event"] == "gpu_not_used"]
    assert (told["log_level"], told["model"], told["gpu"]) == ("warning", "fake", "NVIDIA L4")
    assert told["way_out"] == "modelhost engines install ..."
    await end(scheduler, starts)


def test_a_limit_says_nothing_of_a_model_with_a_smaller_cache() -> None:
    files = Files(ONE_OF_8_GB)
    small, large = (files.resolved(entry(context_length=length)) for length in (2048, 4096))
    limit = LayerLimit(layers=5, cells=4096)
    assert within_limit(small, limit) is small
    assert within_limit(large, limit).spec.gpu_split == (5,)
    assert within_limit(large, None) is large


def test_layers_become_none_in_a_few_steps() -> None:
    tried = [81]
    while tried[-1]:
        tried.append(fewer_layers(tried[-1], 81))
    assert tried == [81, 60, 45, 33, 16, 0]
    assert fewer_layers(1, 1) == fewer_layers(1, 6) == 0
