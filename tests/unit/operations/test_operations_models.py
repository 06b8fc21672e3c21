"""The operations on models, against a host in memory."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from modelhost.engines.load_config import LOAD_FIELDS, LoadConfig
from modelhost.errors import InvalidRequest, ModelBusy, ModelNotAllowed, ModelNotFound, UnsupportedParameter
from modelhost.models.hub.progress import DownloadProgress
from modelhost.models.residency.status import ModelStatus, State
from modelhost.operations import reports
from modelhost.operations.model_loading import CONFIGURE, LOAD, PULL, SELECT, UNLOAD
from modelhost.operations.models import INFO, LIST, STATUS
from modelhost.operations.operation import AnyOperation, NoParameters, Progress
from modelhost.operations.reports import HostReport, ModelReport
from modelhost.operations.table import MODEL_OPERATIONS
from tests.unit.operations.fake_host import FakeHost, Found, model_status, ready

SEED_FIELDS = {
    "list-models": {"models"},
    "load-model": {"success", "model_id", "status", "estimated_load_time", "memory_required_mb"},
    "unload-model": {"success", "model_id", "status", "memory_freed_mb"},
    "get-model-info": {"model_id", "name", "status", "config", "performance", "capabilities"},
    "set-model-config": {"success", "model_id", "updated_config"},
}
SEED_PARAMETERS = {
    "list-models": set(),
    "load-model": {
        "model_id",
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "gpu_memory_utilization",
        "max_model_len",
        "quantization",
        "dtype",
        "enforce_eager",
        "enable_prefix_caching",
    },
    "unload-model": {"model_id", "force"},
    "get-model-info": {"model_id"},
    "set-model-config": {"model_id", "config"},
}


async def run(host: FakeHost, operation: AnyOperation, **values: Any) -> Any:
    return await operation.run(host, operation.parse(values))


@pytest.mark.parametrize("operation", MODEL_OPERATIONS, ids=lambda operation: operation.name)
def test_the_examples_of_an_operation_are_what_it_takes_and_gives(operation: AnyOperation) -> None:
    operation.parse(operation.example)
    answer = operation.result.model_validate(operation.example_answer)
    assert answer.model_dump(mode="json") == operation.example_answer


@pytest.mark.parametrize("name", SEED_FIELDS)
def test_the_names_that_clients_of_the_model_manager_know_are_all_there(name: str) -> None:
    (operation,) = [each for each in MODEL_OPERATIONS if each.name == name]
    assert SEED_FIELDS[name] <= set(operation.result.model_json_schema(mode="serialization")["properties"])
    assert SEED_PARAMETERS[name] <= set(operation.parameters.model_json_schema().get("properties", {}))


def test_names_and_routes_are_unique() -> None:
    assert len({operation.name for operation in MODEL_OPERATIONS}) == len(MODEL_OPERATIONS)
    routes = [operation.route for operation in MODEL_OPERATIONS if operation.route]
    assert len(set(routes)) == len(routes)


def test_only_what_changes_nothing_is_read_with_get() -> None:
    for operation in MODEL_OPERATIONS:
        if operation.route:
            assert operation.is_read_only == (operation.route.method == "GET")


@pytest.mark.promise("vllm-crush.list-models", "vllm-crush.list-models.before")
async def test_the_list_holds_models_that_are_not_loaded_and_begins_with_the_active_one() -> None:
    host = FakeHost(model_status("cold"), ready("warm", max_tokens=9))
    host.active = "warm"
    warm, cold = (await run(host, LIST)).models
    assert (warm.id, warm.status, warm.state, warm.created, warm.memory_usage_mb) == (
        "warm", "loaded", "ready", 1_767_225_600, 150,
    )  # fmt: skip
    assert (warm.context_window, warm.max_model_len, warm.max_tokens) == (2048, 2048, 9)
    assert (cold.id, cold.status, cold.created, cold.memory_usage_mb, cold.memory_required_mb) == (
        "cold", "unloaded", 0, None, 121,
    )  # fmt: skip


def test_a_report_of_a_model_leaves_nothing_out() -> None:
    assert set(ModelStatus.__struct_fields__) <= set(ModelReport.model_fields)


async def test_the_status_adds_up_what_the_models_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "time", SimpleNamespace(time=lambda: 1002.0))
    host = FakeHost(ready("a", in_flight=2, last_error="once"), model_status("b", State.LOADING, queue_length=3))
    host.switch_requested_at = 1000.0
    report: HostReport = await run(host, STATUS)
    assert (report.active_model, report.status, report.last_error) == ("a", "ready", "once")
    assert (report.in_flight_requests, report.queue_lengths) == (2, {"a": 0, "b": 3})
    assert report.switch_requested_at == 2000
    assert report.memory["ram"].model_dump() == {
        "budget_bytes": 1_000_000_000, "budget_mb": 1000, "used_bytes": 120_000_001, "used_mb": 121,
    }  # fmt: skip
    assert (report.models[1].need_mb, report.models[1].memory_mb) == (121, None)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State.UNLOADED, "switching"),
        (State.QUEUED, "switching"),
        (State.LOADING, "loading"),
        (State.READY, "ready"),
        (State.BUSY, "ready"),
        (State.STOPPING, "switching"),
        (State.FAILED, "error"),
    ],
)
async def test_the_hosts_status_is_that_of_the_model_that_was_selected(state: State, expected: str) -> None:
    host = FakeHost(model_status("a", state))
    host.switch_requested_at = time.time()
    assert (await run(host, STATUS)).status == expected


async def test_a_host_whose_active_model_is_asleep_is_idle() -> None:
    assert (await run(FakeHost(model_status("a")), STATUS)).status == "idle"


@pytest.mark.promise("vllm-crush.get-model-info.performance")
async def test_info_tells_what_was_measured_of_late() -> None:
    host = FakeHost(ready("measured", tokens_per_second=50.04, latency_seconds=0.05))
    host.gpu_utilizations = {"measured": 0.755}
    info = await run(host, INFO, model_id="measured")
    assert (info.performance.latency_ms, info.performance.throughput_tokens_per_second) == (50.0, 50.0)
    assert info.performance.gpu_utilization == 0.76
    assert (info.performance.memory_usage_mb, info.config.context_window) == (150, 2048)
    assert (info.capabilities.supports_streaming, info.capabilities.supports_embeddings) == (True, False)


@pytest.mark.promise("vllm-crush.get-model-info.capabilities")
async def test_info_of_a_model_that_was_never_loaded_does_not_guess() -> None:
    info = await run(FakeHost(model_status("cold")), INFO, model_id="cold")
    assert set(info.capabilities.model_dump().values()) == {None}
    assert (info.performance.latency_ms, info.performance.throughput_tokens_per_second) == (None, None)
    assert info.performance.gpu_utilization is None


@pytest.mark.parametrize("operation", [LIST, STATUS, INFO], ids=lambda operation: operation.name)
async def test_what_tells_of_models_looks_at_the_files_of_those_that_are_not_loaded(operation: AnyOperation) -> None:
    host = FakeHost(model_status("cold"))
    await run(host, operation, **({"model_id": "cold"} if operation is INFO else {}))
    assert host.looks == 1


async def test_a_model_that_cannot_be_loaded_is_an_error_before_somebody_tries() -> None:
    host = FakeHost(model_status("lost", obstacle="There is no such file.", last_error="It ended."))
    (card,) = (await run(host, LIST)).models
    info = await run(host, INFO, model_id="lost")
    report: HostReport = await run(host, STATUS)
    assert (card.status, card.state, info.status) == ("error", "unloaded", "error")
    assert (info.last_error, report.last_error, report.status) == (*["There is no such file."] * 2, "error")


@pytest.mark.promise("vllm-crush.load-model")
async def test_load_finds_a_model_by_its_alias_and_tells_the_estimate() -> None:
    host = FakeHost(model_status("cold", aliases=("c",)))
    answer = await run(host, LOAD, model="c")
    assert host.asked == [("load", "cold", False)]
    assert answer.model_dump(mode="json") == {
        "success": True,
        "model_id": "cold",
        "status": "loading",
        "state": "loading",
        "estimated_load_time": 1.23,
        "memory_required_mb": 121,
        "memory_required_bytes": {"ram": 120_000_001},
        "position": None,
    }


@pytest.mark.promise("vllm-crush.load-model.config")
async def test_load_hands_the_whole_configuration_to_the_host() -> None:
    config: dict[str, Any] = {
        "max_model_len": 1024, "dtype": "half", "quantization": "awq", "tensor_parallel_size": 2,
        "pipeline_parallel_size": 2, "gpu_memory_utilization": 0.8, "enforce_eager": True,
        "enable_prefix_caching": False,
    }  # fmt: skip
    host = FakeHost(ready("a"))
    await run(host, LOAD, model_id="a", **config, persist=True, force=True)
    assert host.configs == [(LoadConfig(**config), True, True)]


@pytest.mark.promise("vllm-crush.load-model.config")
async def test_load_without_a_configuration_is_a_plain_one() -> None:
    host = FakeHost(ready("a"))
    await run(host, LOAD, model_id="a", max_model_len=None)
    assert host.configs == [(LoadConfig(), False, False)]


@pytest.mark.promise("vllm-crush.load-model.config")
def test_all_of_a_configuration_is_audited() -> None:
    assert set(LOAD_FIELDS) | {"persist", "force"} <= set(LOAD.audited)
    assert set(LOAD_FIELDS) <= set(LOAD.parameters.model_fields)


async def test_cards_and_info_tell_a_configuration_and_whether_it_is_temporary() -> None:
    host = FakeHost(ready("a", load_config={"max_model_len": 1024}, is_config_temporary=True))
    (card,) = (await run(host, LIST)).models
    info = await run(host, INFO, model_id="a")
    for shown in (card, info.config):
        assert (shown.load_config, shown.is_config_temporary) == ({"max_model_len": 1024}, True)


async def test_unload_tells_what_came_back() -> None:
    answer = await run(FakeHost(ready("a")), UNLOAD, model_id="a")
    assert (answer.status, answer.memory_freed_mb) == ("unloaded", 150)
    assert answer.memory_freed_bytes == {"ram": 100_000_000, "gpu:0": 50_000_000}


@pytest.mark.promise("vllm-crush.unload-model")
async def test_a_busy_model_is_unloaded_by_force_only() -> None:
    host = FakeHost(ready("a", in_flight=1))
    with pytest.raises(ModelBusy):
        await run(host, UNLOAD, model_id="a")
    assert (await run(host, UNLOAD, model_id="a", force=True)).success


@pytest.mark.promise("candle-vllm.endpoints.select")
async def test_select_says_whether_there_is_something_to_wait_for() -> None:
    host = FakeHost(ready("a"), model_status("b"))
    assert (await run(host, SELECT, model_id="b")).model_dump() == {
        "status": "switching", "model": "b", "queue_length": 2,
    }  # fmt: skip
    assert (await run(host, SELECT, model="b")).status == "already_active"


@pytest.mark.promise("vllm-crush.set-model-config")
async def test_set_config_overlays_and_null_takes_away() -> None:
    host = FakeHost(ready("a", defaults={"max_tokens": 5, "top_k": 3}))
    answer = await run(host, CONFIGURE, model_id="a", config={"top_k": None, "min_p": 0.1})
    assert answer.updated_config == {"max_tokens": 5, "min_p": 0.1}


async def test_load_of_a_model_that_the_host_does_not_have_adds_it_first_and_tells_how_far_it_is() -> None:
    told: list[Progress] = []
    host = FakeHost(ready("a"))
    answer = await LOAD.run(host, LOAD.parse({"model_id": "org/name"}), told.append)
    assert (answer.model_id, answer.status) == ("org/name", "loading")
    assert host.asked == [("add", "org/name"), ("load", "org/name", False)]
    assert told == [Progress(fraction=share, message="downloading a.gguf") for share in (0, 0.5, 1)]


async def test_load_of_a_model_that_may_not_be_added_is_refused_under_its_parameter() -> None:
    class Closed(FakeHost):
        async def find_or_add(self, name: str, *, on_progress: DownloadProgress) -> Found:
            raise ModelNotAllowed(f"{name} may not be added.", param="model")

    with pytest.raises(ModelNotAllowed) as caught:
        await run(Closed(), LOAD, model="org/name")
    assert caught.value.param == "model_id"


async def test_pull_tells_how_far_it_is() -> None:
    told: list[Progress] = []
    answer = await PULL.run(FakeHost(), PULL.parse({"model": "org/name"}), told.append)
    assert (answer.model, answer.model_id, answer.path) == ("org/name", "org/name", "/models/a.gguf")
    assert [step.fraction for step in told] == [0, 0.5, 1]
    assert told[0].message == "downloading a.gguf (1 of 2)"


@pytest.mark.promise("vllm-crush.get-model-info.config")
async def test_cards_show_the_numbers_in_force() -> None:
    spread = {"tensor_parallel_size": 2, "pipeline_parallel_size": 4, "dtype": "bfloat16"}
    host = FakeHost(
        ready("spread", engine_options=spread, dtype="bfloat16", quantization="awq-4bit"),
        model_status("wrong", engine_options={"tensor_parallel_size": "two"}),
    )
    cards = {card.id: card for card in (await run(host, LIST)).models}
    info = await run(host, INFO, model_id="spread")
    for shown in (cards["spread"], info.config):
        assert (shown.tensor_parallel_size, shown.pipeline_parallel_size) == (2, 4)
        assert (shown.dtype, shown.quantization) == ("bfloat16", "awq-4bit")
    assert (cards["wrong"].tensor_parallel_size, cards["wrong"].dtype) == (1, None)


@pytest.mark.parametrize("operation", [INFO, LOAD, UNLOAD, SELECT], ids=lambda operation: operation.name)
async def test_an_unknown_model_is_reported_under_the_parameter_that_named_it(operation: AnyOperation) -> None:
    with pytest.raises(ModelNotFound) as caught:
        await run(FakeHost(), operation, model_id="nobody")
    assert caught.value.param == "model_id"


def test_a_parameter_that_is_unknown_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UnsupportedParameter, match=r'load-model has no parameter "wiat". Did you mean "wait"\?'):
        LOAD.parse({"model_id": "a", "wiat": True})
    with pytest.raises(UnsupportedParameter, match="It takes none"):
        LIST.parse({"zzz": 1})


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({}, "model_id"),
        ({"model_id": 5}, "model_id"),
        ({"model_id": ""}, "model_id"),
        ({"model_id": "a", "wait": "yes"}, "wait"),
    ],
    ids=str,
)
def test_a_parameter_that_is_wrong_is_named(values: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        LOAD.parse(values)
    assert caught.value.param == param


def test_a_field_that_cannot_have_a_default_is_refused_with_those_that_can() -> None:
    with pytest.raises(UnsupportedParameter, match=r'"config.top_q". Did you mean "top_p"\?') as caught:
        CONFIGURE.parse({"model_id": "a", "config": {"top_q": 1}})
    assert caught.value.param == "config.top_q"


def test_nothing_is_a_parameter_set_too() -> None:
    assert LIST.parse({}) == NoParameters()
