"""Which engine a model gets."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from modelhost.config.settings import Settings
from modelhost.engines import ENGINES, TRAITS, installed
from modelhost.engines.installed import with_environment
from modelhost.errors import ConfigError, EngineMissing, ModelFileInvalid
from modelhost.models.files.directory_needs import directory_need
from modelhost.models.files.hf_directory import read_hf_directory
from modelhost.models.registry.likely_engine import likely_engine
from modelhost.models.registry.registry import read_registry
from modelhost.models.resolve.engine_choice import better_engine, engine_for, engine_reason, with_params
from modelhost.models.resolve.inventory import scan
from modelhost.models.resolve.locate import Located, locate
from modelhost.models.resolve.resolve import resolve
from tests.support.engine_environments import pretend_installed
from tests.support.gguf_files import write_model

NANO_HF = Path(__file__).parents[3] / "assets" / "nano-hf"


def _chosen(model: str | None, **settings: object) -> str:
    chosen = Settings.model_validate({"model": model, **settings})
    return engine_for(locate(chosen.model, engine=chosen.engine), chosen)


def _have(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    monkeypatch.setattr("modelhost.engines.installed.find_spec", lambda name: name if name in modules else None)


@pytest.mark.promise("vllm-mcp.trouble.slow", "llm-server.mlx", "mistralrs.models.gguf")
def test_gguf_is_llamacpps(tmp_path: Path) -> None:
    assert _chosen(None) == "llamacpp"
    assert _chosen(str(write_model(tmp_path / "a.gguf"))) == "llamacpp"


@pytest.mark.promise("vllm-mcp.models.any", "llm-server.mlx", "mistralrs.models.safetensors")
@pytest.mark.parametrize(
    ("is_apple", "modules", "engine"),
    [
        (False, ("mlx", "mlx_lm", "torch", "transformers", "llguidance"), "transformers"),
        (True, ("mlx", "mlx_lm", "torch", "transformers", "llguidance"), "mlx"),
        (True, ("torch", "transformers", "llguidance"), "transformers"),
        (False, ("mlx", "mlx_lm", "llguidance"), "mlx"),
    ],
)
def test_safetensors_get_what_suits_the_machine_and_is_installed(
    monkeypatch: pytest.MonkeyPatch, is_apple: bool, modules: tuple[str, ...], engine: str
) -> None:
    _have(monkeypatch, *modules)
    monkeypatch.setattr(installed, "is_apple_silicon", lambda: is_apple)
    assert _chosen(str(NANO_HF)) == engine
    assert likely_engine(Settings(model=str(NANO_HF))) == engine


def test_without_an_engine_the_error_names_every_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _have(monkeypatch, "transformers")
    monkeypatch.setattr(installed, "is_apple_silicon", lambda: False)
    with pytest.raises(EngineMissing) as caught:
        _chosen(str(NANO_HF), data_dir=str(tmp_path))
    ways = [f"pip install 'modelhost[{extra}]'" for extra in ("transformers", "mlx")]
    ways += [f"modelhost engines install {engine}" for engine in ("mistralrs", "vllm")]
    assert f"Install one: {' or '.join(ways)}. Or take the model in GGUF" in caught.value.message
    with pytest.raises(EngineMissing, match=r"mlx is not installed \(mlx, mlx_lm, llguidance\)"):
        _chosen(str(NANO_HF), engine="mlx")


@pytest.mark.parametrize("engine", [engine for engine in with_environment() if TRAITS[engine].formats])
def test_an_engine_in_an_environment_of_its_own_is_better_than_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: str
) -> None:
    _have(monkeypatch)
    pretend_installed(tmp_path, engine)
    settings = Settings(model=str(NANO_HF), data_dir=str(tmp_path))
    located = locate(settings.model)
    assert engine_for(located, settings) == likely_engine(settings) == engine
    assert better_engine(engine, located, settings) == "transformers"
    assert better_engine(engine, located, settings.model_copy(update={"engine": engine})) is None
    (entry,) = scan([NANO_HF], data_dir=tmp_path).entries
    assert (entry.is_usable, entry.why_not) == (True, None)
    (elsewhere,) = scan([NANO_HF], data_dir=tmp_path / "other").entries
    assert not elsewhere.is_usable


def test_vllm_on_a_gpu_is_the_first_choice_and_its_lack_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("modelhost.models.registry.likely_engine.has_driver", lambda: True)
    settings = Settings(model=str(NANO_HF), data_dir=str(tmp_path))
    located = locate(settings.model)
    assert (engine_for(located, settings), better_engine("transformers", located, settings)) == ("transformers", "vllm")
    pretend_installed(tmp_path, "vllm")
    assert engine_for(located, settings) == "vllm"
    assert better_engine("vllm", located, settings) is None


def test_what_another_python_has_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    _have(monkeypatch)
    assert _chosen(str(NANO_HF), engine="mlx", worker_python="/elsewhere/bin/python") == "mlx"


def test_an_engine_that_does_not_read_the_format_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="which MLX does not read"):
        _chosen(str(write_model(tmp_path / "a.gguf")), engine="mlx")
    with pytest.raises(ConfigError, match=r"which llama\.cpp does not read"):
        _chosen(str(NANO_HF), engine="llamacpp")


def test_a_registry_entry_is_checked_by_the_engine_of_its_directory(tmp_path: Path) -> None:
    shutil.copytree(NANO_HF, tmp_path / "nano-hf")
    file = tmp_path / "models.yaml"
    file.write_text(
        "models:\n"
        "  - {name: a, local_path: nano-hf, params: {max_num_seqs: 3, prefill_chunk_size: 64, dtype: bf16}}\n"
        "  - {name: b, local_path: nano-hf, engine: mlx, params: {context_length: 512}}\n"
    )
    registry = read_registry(file, Settings())
    first, second = (entry.settings for entry in registry.entries)
    assert (first.max_slots, first.engine_options) == (3, {"batch_size": 64, "dtype": "bfloat16"})
    assert (second.engine, second.context_length) == ("mlx", 512)
    assert resolve(first).engine.name == likely_engine(first)
    file.write_text("models: [{name: a, local_path: nano-hf, params: {isq: q4k}}]")
    with pytest.raises(ConfigError, match="take a model that is quantized already"):
        read_registry(file, Settings())


def test_a_directory_is_sized_by_the_memory_that_is_free() -> None:
    settings = Settings(model=str(NANO_HF), engine="transformers", threads=1)
    assert resolve(settings, available_bytes=10**9).spec.slots == 8
    small = resolve(settings, available_bytes=200_000_000)
    assert (small.spec.context_length, small.spec.slots) == (2048, 1)
    assert small.need_bytes["ram"] < resolve(settings, available_bytes=10**9).need_bytes["ram"]
    with pytest.raises(ConfigError, match="kv_cache_memory"):
        resolve(settings.model_copy(update={"kv_cache_memory": "1MB"}))


def test_what_writes_no_text_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "vectors"
    shutil.copytree(NANO_HF, directory)
    config = directory / "config.json"
    config.write_text(config.read_text().replace("Qwen3ForCausalLM", "BertModel"))
    with pytest.raises(ModelFileInvalid, match="BertModel, which writes no text"):
        resolve(Settings(model=str(directory), threads=1))


def test_a_component_of_a_pipeline_is_refused_with_the_name_of_that(tmp_path: Path) -> None:
    pipeline, component = tmp_path / "painter", tmp_path / "painter" / "unet"
    shutil.copytree(NANO_HF, component)
    (component / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    (pipeline / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(ModelFileInvalid, match=f"a component of the pipeline {pipeline}, which diffusers serves"):
        resolve(Settings(model=str(component), threads=1))


def test_weights_are_counted_as_they_are_computed_with() -> None:
    model = read_hf_directory(NANO_HF)

    def need(engine: str, **options: str) -> int:
        return directory_need(model, engine=engine, options=options, context_length=128, slots=1)["ram"]

    assert need("transformers") - need("transformers", dtype="bfloat16") > model.weights.parameters * 2
    assert need("mlx") < need("transformers")
    on_gpu = directory_need(model, engine="transformers", options={}, context_length=128, slots=1, gpus=(1, 2))
    assert on_gpu.keys() == {"ram", "gpu:1"}


def test_weights_that_are_quantized_while_they_are_loaded_take_less() -> None:
    model = read_hf_directory(NANO_HF)

    def need(**options: str) -> int:
        return directory_need(model, engine="mistralrs", options=options, context_length=128, slots=1)["ram"]

    assert need(isq="Q4K") < need(isq="Q8_0") < need() == need(isq="none")


def test_launch_parameters_become_options_of_the_engine_and_what_it_cannot_do_is_told() -> None:
    wanted = {"tensor_parallel_size": 2, "dtype": "half"}
    spread, nothing = with_params(Settings(), wanted, ENGINES["vllm"])
    assert (spread.engine_options, nothing) == ({"tensor_parallel_size": 2, "dtype": "float16"}, ())
    own, _ = with_params(Settings(engine_options={"dtype": "float32"}), wanted, ENGINES["vllm"])
    assert own.engine_options == {"tensor_parallel_size": 2, "dtype": "float32"}
    as_before, told = with_params(Settings(), wanted, ENGINES["llamacpp"])
    assert as_before == Settings()
    assert ["tensor_parallel_size" in told[0], "dtype" in told[1]] == [True, True]


@pytest.mark.parametrize(
    ("kind", "given", "reason"),
    [
        ("engine", {"engine": "scripted"}, "the model is one of its own"),
        ("server", {}, "the model is one of its own"),
        ("gguf", {"engine": "llamacpp"}, "it was requested"),
        ("gguf", {}, "it reads GGUF"),
        ("safetensors", {"engine_options": {"isq": "4"}}, "isq was requested"),
        ("safetensors", {"worker_python": "/usr/bin/python3"}, "of another Python"),
        ("safetensors", {}, "it is the best that is installed"),
    ],
)
def test_the_log_says_why_an_engine_was_chosen(kind: Any, given: dict[str, Any], reason: str) -> None:
    located = Located(path=Path("model"), kind=kind, name="model")
    assert engine_reason(located, Settings.model_validate(given)) == reason
