"""From settings to what an engine can start."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from modelhost.config.settings import Settings
from modelhost.engines.adapters import Adapter
from modelhost.engines.prompting import bundled_template
from modelhost.errors import ConfigError, ModelFileInvalid, ModelFileMissing
from modelhost.models.files.model_files import are_unchanged
from modelhost.models.resolve.resolve import resolve
from modelhost.models.resolve.resolved import Resolved
from modelhost.workers.machine import allowed_cores, computing_cores
from tests.support.adapter_files import write_peft_adapter
from tests.support.gguf_files import write_embedding_model, write_model, write_reranker_model
from tests.support.nano_hf import NANO_HF


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny.gguf", context_length=512)


def _resolve(**settings: Any) -> Resolved:
    return resolve(Settings.model_validate({key: str(v) if isinstance(v, Path) else v for key, v in settings.items()}))


@pytest.mark.promise("vllm-mcp.variables.model")
def test_nothing_is_the_bundled_model() -> None:
    resolved = _resolve()
    assert resolved.spec.name == "modelhost-nano"
    assert resolved.engine.name == "llamacpp"
    assert resolved.spec.context_length == 2048


def test_a_file_is_called_after_itself_and_keeps_its_own_context(model: Path) -> None:
    spec = _resolve(model=model).spec
    assert (spec.name, spec.aliases, spec.path) == ("tiny", (), model)
    assert spec.context_length == 512


def test_aliases_replace_the_name_and_the_first_is_the_main_one(model: Path) -> None:
    spec = _resolve(model=model, alias=["main", "other"]).spec
    assert (spec.name, spec.aliases) == ("main", ("other",))


def test_wishes_win_over_what_the_file_says(model: Path) -> None:
    spec = _resolve(model=model, context_length=64, slots=3).spec
    assert (spec.context_length, spec.slots) == (64, 3)


def test_the_scripted_engine_needs_no_file() -> None:
    resolved = _resolve(engine="scripted", engine_options={"text": "hello"})
    assert resolved.engine.name == "scripted"
    assert resolved.spec.options == {"text": "hello"}


def test_llamacpp_computes_on_every_core_that_is_good_for_it(model: Path) -> None:
    assert _resolve(model=model).spec.threads == computing_cores()
    assert _resolve(model=model, threads=allowed_cores()).spec.threads == allowed_cores()


def test_other_engines_leave_a_core_to_the_host() -> None:
    assert _resolve(engine="scripted").spec.threads == max(1, allowed_cores() - 1)


@pytest.mark.parametrize(("cores", "there"), [(1, "1 core"), (2, "2 cores")])
def test_more_threads_than_cores_are_refused(
    model: Path, cores: int, there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelhost.models.resolve.resolve.allowed_cores", lambda: cores)
    with pytest.raises(ConfigError, match=f"threads: {cores + 1} is more than the {there} this process may use"):
        _resolve(model=model, threads=cores + 1)


def test_a_reranker_and_an_embedder_are_recognised(tmp_path: Path) -> None:
    assert _resolve(model=write_reranker_model(tmp_path / "reranker.gguf")).spec.pooling == "rank"
    assert _resolve(model=write_embedding_model(tmp_path / "embedder.gguf")).spec.embedding_only


def test_the_files_are_counted_and_the_need_is_estimated_by_pool(model: Path) -> None:
    resolved = _resolve(model=model)
    assert resolved.size_bytes == model.stat().st_size
    assert set(resolved.need_bytes) == {"ram"}
    assert resolved.need_bytes["ram"] > model.stat().st_size


def test_the_numbers_of_its_files_are_known(model: Path) -> None:
    resolved = _resolve(model=model)
    assert (resolved.quantization, resolved.dtype) == ("F32", "float32")
    nothing = _resolve(engine="scripted")
    assert (nothing.quantization, nothing.dtype) == (None, None)


def test_a_draft_model_is_part_of_the_size_and_of_the_need(model: Path) -> None:
    alone, both = _resolve(model=model), _resolve(model=model, draft_model=model)
    assert both.size_bytes == 2 * alone.size_bytes
    assert both.need_bytes["ram"] >= alone.need_bytes["ram"] + model.stat().st_size


def test_an_engine_without_files_needs_nothing_that_could_be_estimated() -> None:
    resolved = _resolve(engine="scripted")
    assert (resolved.size_bytes, resolved.need_bytes) == (0, {})


def test_only_the_gpus_that_the_worker_sees_are_counted(model: Path) -> None:
    def pools(**settings: Any) -> set[str]:
        given = Settings.model_validate({"model": str(model), **settings})
        return {
            pool for pool, need in resolve(given, gpus=dict.fromkeys((0, 1, 2), 80 * 10**9)).need_bytes.items() if need
        }

    assert pools() == {"ram", "gpu:0", "gpu:1", "gpu:2"}
    assert pools(worker_env={"CUDA_VISIBLE_DEVICES": "1, 7"}) == {"ram", "gpu:1"}
    assert pools(worker_env={"CUDA_VISIBLE_DEVICES": ""}) == {"ram"}


def test_the_memory_that_sizes_are_decided_by_may_be_said(model: Path) -> None:
    given = Settings(model=str(model))
    assert resolve(given, available_bytes=0).spec.slots == 1
    assert resolve(given, available_bytes=1 << 40).spec.slots == 8


def test_the_cache_may_be_bounded(model: Path) -> None:
    # 2 layers of 2 heads of 32, keys and values in 2 bytes: 512 bytes a token.
    assert _resolve(model=model, kv_cache_memory="1MiB").spec.slots == 4
    assert _resolve(model=model, max_slots=2).spec.slots == 2
    with pytest.raises(ConfigError, match="kv_cache_memory: 1 conversation of 4,096 tokens"):
        _resolve(model=model, kv_cache_memory="1MiB", context_length=4096)


@pytest.mark.parametrize("engine", ["llamacpp", "scripted"])
def test_the_python_and_the_variables_of_the_worker_reach_its_launch(model: Path, engine: str) -> None:
    resolved = _resolve(model=model, engine=engine, worker_python="/opt/python", worker_env={"TOKEN": "secret"})
    launch = resolved.engine.launch(resolved.spec, "key")
    assert launch.argv[0] == "/opt/python"
    assert launch.env["TOKEN"] == "secret"  # noqa: S105
    assert "secret" not in repr(resolved)


def test_a_load_timeout_that_is_given_is_used(model: Path) -> None:
    assert _resolve(model=model, load_timeout=7).load_timeout_seconds == 7
    assert _resolve(model=model).load_timeout_seconds >= 60


@pytest.mark.parametrize(("suffix", "scale"), [("", 1.0), (":0.5", 0.5), (":-1", -1.0)])
def test_an_adapter_may_have_a_scale(suffix: str, scale: float, model: Path) -> None:
    assert _resolve(model=model, lora=[f"{model}{suffix}"]).spec.lora == (Adapter(path=model, scale=scale),)


def test_an_adapter_whose_name_has_a_colon_is_found(model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter:2.gguf"
    adapter.touch()
    assert _resolve(model=model, lora=[str(adapter)]).spec.lora == (Adapter(path=adapter),)
    assert _resolve(model=model, lora=[f"{adapter}:0.25"]).spec.lora == (Adapter(path=adapter, scale=0.25),)


def test_adapters_with_names_are_for_requests_to_choose(model: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a=b.gguf"
    odd.touch()
    found = _resolve(model=model, lora=[f"pirate={model}", f"legal-2.0={odd}:0.5", str(odd)])
    assert found.spec.lora == (
        Adapter(path=model, name="pirate"),
        Adapter(path=odd, scale=0.5, name="legal-2.0"),
        Adapter(path=odd),
    )
    with pytest.raises(ConfigError, match='two adapters called "pirate"'):
        _resolve(model=model, lora=[f"pirate={model}", f"pirate={odd}"])
    with pytest.raises(ModelFileMissing, match=r"lora: there is no file nowhere\.gguf"):
        _resolve(model=model, lora=["pirate=nowhere.gguf:0.5"])


def test_an_adapter_is_in_the_form_that_the_engine_reads(model: Path, tmp_path: Path) -> None:
    adapter = write_peft_adapter(tmp_path / "adapter", seed=1)
    served = {"model": NANO_HF, "engine": "vllm", "worker_python": sys.executable}
    with pytest.raises(ConfigError, match=r"llama.cpp reads adapters in GGUF: its convert_lora_to_gguf.py"):
        _resolve(model=model, lora=[f"a={adapter}"])
    plain, found = (_resolve(**served, lora=lora) for lora in ([], [f"a={adapter}"]))
    assert found.spec.lora == (Adapter(path=adapter, name="a"),)
    added = sum(file.stat().st_size for file in adapter.iterdir())
    assert found.size_bytes - plain.size_bytes == added
    assert sum(found.need_bytes.values()) - sum(plain.need_bytes.values()) == added
    assert are_unchanged(found.stamps)
    (adapter / "adapter_config.json").unlink()
    assert not are_unchanged(found.stamps)
    with pytest.raises(ConfigError, match=r"adapters as PEFT saves them, and .* no directory with adapter_config.json"):
        _resolve(**served, lora=[f"a={adapter}"])


def test_an_adapter_that_is_wrong_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileMissing, match="lora: there is no file /no/such"):
        _resolve(model=model, lora=["/no/such"])
    with pytest.raises(ConfigError, match="neither FILE nor FILE:SCALE"):
        _resolve(model=model, lora=[f"{model}:strong"])
    with pytest.raises(ConfigError, match="neither FILE nor FILE:SCALE"):
        _resolve(model=model, lora=[f"{model}:nan"])


def test_a_draft_model_is_checked(model: Path, tmp_path: Path) -> None:
    assert _resolve(model=model, draft_model=model).spec.draft_path == model
    with pytest.raises(ModelFileMissing, match="draft_model: there is no file"):
        _resolve(model=model, draft_model="/no/such.gguf")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"nonsense")
    with pytest.raises(ModelFileInvalid):
        _resolve(model=model, draft_model=broken)


@pytest.mark.promise("mistralrs.models.templates")
def test_a_chat_template_is_a_file_or_the_text_itself(model: Path, tmp_path: Path) -> None:
    text = "{% for m in messages %}{{ m.content }}{% endfor %}"
    file = tmp_path / "template.jinja"
    file.write_text(text)
    assert _resolve(model=model, chat_template=file).spec.chat_template == text
    assert _resolve(model=model, chat_template=text).spec.chat_template == text
    file.write_text(f"\N{BYTE ORDER MARK}{text}", encoding="utf-8")
    assert _resolve(model=model, chat_template=file).spec.chat_template == text
    with pytest.raises(ModelFileMissing, match="chat_template: there is no file"):
        _resolve(model=model, chat_template="/no/such.jinja")


@pytest.mark.promise("mistralrs.models.templates")
def test_a_chat_template_may_be_one_that_comes_with_modelhost(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _resolve(model=model, chat_template="chatml").spec.chat_template == bundled_template("chatml")
    with pytest.raises(ModelFileMissing) as unknown:
        _resolve(model=model, chat_template="lama3")
    assert unknown.value.message == (
        'chat_template: there is no file lama3 (did you mean "llama3"?); templates that come with modelhost: '
        "alpaca, chatml, gemma, llama2, llama3, mistral, phi3, phi4, plain, vicuna, zephyr"
    )
    (tmp_path / "chatml").write_text("{{ messages }}")
    assert _resolve(model=model, chat_template="chatml").spec.chat_template == "{{ messages }}"


def test_a_model_is_current_until_any_of_its_files_is_another(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.gguf", context_length=512)
    draft = write_model(tmp_path / "draft.gguf", context_length=512)
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages }}")
    resolved = _resolve(model=model, draft_model=draft, chat_template=template)
    assert are_unchanged(resolved.stamps)
    for file in (model, draft, template):
        content = file.read_bytes()
        file.write_bytes(content + b" ")
        assert not are_unchanged(resolved.stamps)
        file.unlink()
        assert not are_unchanged(resolved.stamps)
        file.write_bytes(content)
        resolved = _resolve(model=model, draft_model=draft, chat_template=template)
        assert are_unchanged(resolved.stamps)


def test_a_directory_is_current_until_a_file_of_it_is_another_or_comes(tmp_path: Path) -> None:
    folder = tmp_path / "nano"
    shutil.copytree(NANO_HF, folder)
    resolved = _resolve(model=folder, engine="transformers")
    assert are_unchanged(resolved.stamps)
    (folder / "adapter.json").write_text("{}")
    assert not are_unchanged(resolved.stamps)
    resolved = _resolve(model=folder, engine="transformers")
    (folder / "config.json").write_text(f"{(folder / 'config.json').read_text()}\n")
    assert not are_unchanged(resolved.stamps)


def test_a_chat_template_that_is_no_text_is_refused(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "template.jinja"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"chat_template: .*template\.jinja is not UTF-8"):
        _resolve(model=model, chat_template=file)
