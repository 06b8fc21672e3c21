"""What each engine makes of a configuration that a model is to be loaded with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelhost.engines import ENGINES
from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.load_config import LOAD_FIELDS, LoadBaseline, LoadConfig
from modelhost.engines.vllm.engine import Vllm
from modelhost.errors import ConfigError

GGUF = ModelSpec(name="m", path=Path("/models/m.gguf"), context_length=4096, slots=2)
SAFETENSORS = replace(GGUF, path=Path("/models/m"))
ON_GPUS = (0, 1)
FOR_MEDIA = ("speech", "whisper", "diffusers")
DEFAULTS = LoadConfig(
    max_model_len=4096,
    dtype="auto",
    quantization="none",
    tensor_parallel_size=1,
    pipeline_parallel_size=1,
    enforce_eager=False,
    enable_prefix_caching=True,
)
FILES = {
    "llamacpp": LoadBaseline(spec=GGUF, quantization="Q4_K_M"),
    "scripted": LoadBaseline(spec=GGUF),
    "remote": LoadBaseline(spec=GGUF),
}


def baseline(engine: str, *, gpus: tuple[int, ...] = (), files: str = "BF16", **options: Any) -> LoadBaseline:
    known = FILES.get(engine, LoadBaseline(spec=SAFETENSORS, quantization=files))
    return replace(known, spec=replace(known.spec, options=options, gpus=gpus), gpus=gpus)


@pytest.mark.parametrize("engine", list(ENGINES))
def test_what_an_engine_does_anyway_changes_nothing(engine: str) -> None:
    made = ENGINES[engine].configure_load(DEFAULTS, baseline(engine))
    assert made.overlay.is_empty
    assert made.problems == {}


@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize("field", LOAD_FIELDS)
def test_every_engine_answers_to_every_field(engine: str, field: str) -> None:
    values: dict[str, Any] = {
        "max_model_len": 1024, "dtype": "float32", "quantization": "awq", "tensor_parallel_size": 2,
        "pipeline_parallel_size": 2, "gpu_memory_utilization": 0.5, "enforce_eager": True,
        "enable_prefix_caching": False,
    }  # fmt: skip
    made = ENGINES[engine].configure_load(LoadConfig(**{field: values[field]}), baseline(engine))
    assert made.problems.keys() <= {field}
    assert made.overlay.config.keys() <= {field}


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine not in ("remote", *FOR_MEDIA)])
def test_a_context_is_honoured_where_the_engine_runs_here(engine: str) -> None:
    made = ENGINES[engine].configure_load(LoadConfig(max_model_len=1024), baseline(engine))
    assert (made.overlay.settings, made.overlay.config) == ({"context_length": 1024}, {"max_model_len": 1024})


@pytest.mark.parametrize("engine", FOR_MEDIA)
def test_a_model_for_sound_has_no_context(engine: str) -> None:
    made = ENGINES[engine].configure_load(LoadConfig(max_model_len=1024), baseline(engine))
    assert made.problems == {"max_model_len": "its models have no context"}


def test_the_server_of_a_remote_model_decides_by_itself() -> None:
    made = ENGINES["remote"].configure_load(LoadConfig(max_model_len=1024, dtype="half"), baseline("remote"))
    assert made.overlay.is_empty
    assert {name: "server" in need for name, need in made.problems.items()} == {"max_model_len": True, "dtype": True}


def test_a_script_with_a_context_of_its_own_is_given_another_one() -> None:
    made = ENGINES["scripted"].configure_load(LoadConfig(max_model_len=64), baseline("scripted", context_length=32))
    assert made.overlay.options == {"context_length": 64}


# llama.cpp.


def llamacpp(*, gpus: tuple[int, ...] = ON_GPUS, told: dict[str, Any] | None = None, **config: Any) -> Any:
    return LlamaCpp().configure_load(LoadConfig(**config), baseline("llamacpp", gpus=gpus, **(told or {})))


@pytest.mark.parametrize(
    ("config", "mode"), [({"tensor_parallel_size": 2}, "row"), ({"pipeline_parallel_size": 2}, "layer")]
)
def test_llamacpp_splits_rows_or_layers_over_as_many_gpus(config: dict[str, int], mode: str) -> None:
    made = llamacpp(gpus=(0, 1, 3), **config)
    assert made.overlay.options == config
    launch = LlamaCpp().launch(replace(GGUF, options=made.overlay.options, gpus=(0, 1)), "key")
    assert (launch.config["split_mode"], launch.env["CUDA_VISIBLE_DEVICES"]) == (mode, "0,1")
    assert LlamaCpp().used_gpus(made.overlay.options, (0, 1, 3)) == (0, 1)


def test_llamacpp_lays_layers_out_over_all_gpus_where_nobody_says() -> None:
    launch = LlamaCpp().launch(replace(GGUF, gpus=ON_GPUS), "key")
    assert launch.config["split_mode"] == "layer"
    assert "CUDA_VISIBLE_DEVICES" not in launch.env
    assert LlamaCpp().used_gpus({}, ON_GPUS) == ON_GPUS


@pytest.mark.parametrize(("gpus", "there"), [((), "there is none"), ((0,), "there is one"), ((0, 1), "there are 2")])
def test_llamacpp_says_how_many_gpus_a_split_needs(gpus: tuple[int, ...], there: str) -> None:
    assert llamacpp(gpus=gpus, tensor_parallel_size=3).problems == {
        "tensor_parallel_size": f"it needs 3 GPUs that llama.cpp can use, and {there}"
    }
    with pytest.raises(ConfigError, match=there):
        LlamaCpp().launch(replace(GGUF, options={"pipeline_parallel_size": 3}, gpus=gpus), "key")


def test_llamacpp_does_not_split_by_rows_and_by_layers() -> None:
    problems = llamacpp(gpus=(0, 1, 2, 3), tensor_parallel_size=2, pipeline_parallel_size=2).problems
    assert problems.keys() == {"tensor_parallel_size", "pipeline_parallel_size"}


def test_llamacpp_can_be_told_to_use_no_graphs_and_no_beginnings() -> None:
    made = llamacpp(enforce_eager=True, enable_prefix_caching=False)
    launch = LlamaCpp().launch(replace(GGUF, options=made.overlay.options), "key")
    assert launch.env["GGML_CUDA_DISABLE_GRAPHS"] == "1"
    assert launch.config["enable_prefix_caching"] is False
    assert "GGML_CUDA_DISABLE_GRAPHS" not in LlamaCpp().launch(GGUF, "key").env


@pytest.mark.parametrize(
    ("config", "need"),
    [
        ({"dtype": "bfloat16"}, "this one is Q4_K_M; take a file in that format"),
        ({"quantization": "awq"}, "this one is Q4_K_M; take a file that is quantized so"),
    ],
)
def test_a_gguf_file_decides_its_numbers(config: dict[str, str], need: str) -> None:
    (problem,) = llamacpp(**config).problems.values()
    assert need in problem


def test_the_numbers_of_a_gguf_file_may_be_named() -> None:
    assert llamacpp(quantization="q4_k_m").problems == {}
    unpacked = LoadBaseline(spec=GGUF, quantization="F16", dtype="float16")
    assert LlamaCpp().configure_load(LoadConfig(dtype="half"), unpacked).problems == {}


def test_an_engine_that_takes_what_it_needs_leaves_the_share_of_the_gpus_to_the_host() -> None:
    made = llamacpp(gpu_memory_utilization=0.5)
    assert (made.gpu_share, made.overlay.is_empty) == (0.5, True)


# vLLM.


def vllm(
    *, gpus: tuple[int, ...] = ON_GPUS, files: str = "BF16", told: dict[str, Any] | None = None, **config: Any
) -> Any:
    return Vllm().configure_load(LoadConfig(**config), baseline("vllm", gpus=gpus, files=files, **(told or {})))


def test_vllm_is_started_with_all_of_a_configuration() -> None:
    config: dict[str, Any] = {
        "max_model_len": 1024, "dtype": "half", "tensor_parallel_size": 2, "gpu_memory_utilization": 0.8,
        "quantization": "fp8", "enforce_eager": True, "enable_prefix_caching": False,
    }  # fmt: skip
    made = vllm(**config)
    assert made.problems == {}
    assert made.overlay.config == config
    spec = replace(SAFETENSORS, **made.overlay.settings, options=made.overlay.options, gpus=ON_GPUS)
    launch = Vllm().launch(spec, "key")
    command = " ".join(launch.config["command"])
    for part in (
        "--max-model-len 1024", "--tensor-parallel-size 2", "--gpu-memory-utilization 0.8", "--quantization fp8",
        "--enforce-eager", "--no-enable-prefix-caching",
    ):  # fmt: skip
        assert part in command
    assert launch.config["dtype"] == "float16"


@pytest.mark.parametrize(
    ("told", "config"),
    [
        ({"tensor_parallel_size": 2}, {"tensor_parallel_size": 2}),
        ({"tensor_parallel_size": "2"}, {"tensor_parallel_size": 2}),
        ({"enforce_eager": "true"}, {"enforce_eager": True}),
        ({"dtype": "float16"}, {"dtype": "half"}),
        ({"gpu_memory_utilization": 0.8}, {"gpu_memory_utilization": 0.8}),
    ],
    ids=str,
)
def test_what_the_entry_says_already_changes_nothing(told: dict[str, Any], config: dict[str, Any]) -> None:
    assert vllm(told=told, **config).overlay.is_empty


def test_what_the_entry_says_otherwise_is_changed() -> None:
    told = {"tensor_parallel_size": 2, "enforce_eager": "true", "quantization": "fp8"}
    made = vllm(told=told, tensor_parallel_size=1, enforce_eager=False, quantization="none")
    assert made.overlay.options == {"tensor_parallel_size": 1, "enforce_eager": "false", "quantization": "none"}


def test_on_a_cpu_vllm_is_eager_by_itself_and_takes_nothing_of_a_gpu() -> None:
    made = vllm(gpus=(), enforce_eager=True, gpu_memory_utilization=0.8)
    assert made.overlay.is_empty
    assert made.problems == {}


@pytest.mark.parametrize(
    ("files", "quantization", "need"),
    [
        ("BF16", "awq", "files that are quantized with awq, and these are not quantized"),
        ("gptq-4bit", "awq", "files that are quantized with awq, and these are gptq-4bit"),
        ("awq-4bit", "awq", None),
    ],
)
def test_files_have_to_be_quantized_as_vllm_is_to_read_them(files: str, quantization: str, need: str | None) -> None:
    made = vllm(files=files, quantization=quantization)
    assert made.overlay.is_empty
    assert made.problems.keys() == ({"quantization"} if need else set())
    assert need is None or need in made.problems["quantization"]


def test_vllm_says_how_many_gpus_it_would_need_here() -> None:
    made = vllm(tensor_parallel_size=2, pipeline_parallel_size=2)
    assert made.problems.keys() == {"tensor_parallel_size", "pipeline_parallel_size"}
    assert "need 4 GPUs, and vllm can use 2 here" in made.problems["tensor_parallel_size"]
    elsewhere = {"distributed_executor_backend": "ray"}
    assert vllm(told=elsewhere, tensor_parallel_size=2, pipeline_parallel_size=2).problems == {}


@pytest.mark.parametrize("engine", ["vllm", "transformers", "mlx", "mistralrs"])
def test_a_number_format_that_there_is_not_is_refused_with_those_that_there_are(engine: str) -> None:
    made = ENGINES[engine].configure_load(LoadConfig(dtype="int7"), baseline(engine))
    assert made.problems == {"dtype": "there is no number format int7; there is auto, float16, bfloat16, float32"}


# The engines that are libraries.


@pytest.mark.parametrize(("engine", "cache"), [("transformers", "cache_ram_mib"), ("mistralrs", "prefix_caches")])
def test_a_library_computes_in_the_format_and_keeps_the_beginnings_that_it_is_told(engine: str, cache: str) -> None:
    config = LoadConfig(dtype="bfloat16", enable_prefix_caching=False)
    made = ENGINES[engine].configure_load(config, baseline(engine))
    assert made.overlay.options == {"dtype": "bfloat16", cache: 0}
    again = ENGINES[engine].configure_load(LoadConfig(enable_prefix_caching=True), baseline(engine, **{cache: 0}))
    assert again.overlay.options[cache] > 0


def test_mistralrs_quantizes_while_it_loads() -> None:
    engine = ENGINES["mistralrs"]
    assert engine.configure_load(LoadConfig(quantization="q4k"), baseline("mistralrs")).overlay.options == {
        "isq": "Q4K"
    }
    assert (
        "quantizes to"
        in engine.configure_load(LoadConfig(quantization="awq"), baseline("mistralrs")).problems["quantization"]
    )
    packed = LoadBaseline(spec=GGUF, quantization="Q8_0")
    assert "is Q8_0 already" in engine.configure_load(LoadConfig(quantization="Q4K"), packed).problems["quantization"]
