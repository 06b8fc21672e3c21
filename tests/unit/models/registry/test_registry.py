"""The registry file: what becomes of each key, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelhost.config.settings import Settings
from modelhost.errors import ConfigError, ModelFileMissing
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.registry.registry import DEFAULT_NAMES, Registry, find_registry, parse_registry, read_registry
from modelhost.models.registry.schema import OTHER_NAMES, EntryFile, Params, ParkingLot
from modelhost.models.resolve.locate import single_entry
from modelhost.models.resolve.resolve import resolve
from modelhost.workers.cores import allowed_cores
from tests.support.gguf_files import write_model

THERE = "llamacpp, mlx, transformers, vllm, mistralrs, remote, scripted"
CANDLE_VLLM = """
    # As candle-vllm has it: every part of its file, with models that llama.cpp can serve.
    idle_unload_secs: 3600
    default_model: small-gguf
    parking_lot:
      pool: {worker_threads: 1}
      limits: {max_units: 4096, max_queue_depth: 100, timeout_secs: 300}
      queue: {backend: memory, persistence: false}
      mailbox: {backend: memory, retention_secs: 3600}
    models:
      - name: small-gguf
        hf_id: someone/Small-GGUF
        weight_file: Small-Q4_K_M.gguf
        params:
          dtype: f16
          mem: 2048  # MB
          max_num_seqs: 16
          block_size: 64
          device_ids: [0]
          multithread: false
          temperature: 0.7
          top_p: 0.9
          top_k: 40
          frequency_penalty: 0.0
          presence_penalty: 0.0
          prefill_chunk_size: 1024
        capabilities: {vision_mode: disabled}
        parking_lot:
          pool: {worker_threads: 1}
          limits: {max_units: 1024, max_queue_depth: 50, timeout_secs: 180}
          queue: {backend: memory, persistence: false}
          mailbox: {backend: memory, retention_secs: 3600}
        notes: "the default"
      - name: on-cpu
        hf_id: someone/Other-GGUF
        params:
          dtype: f32
          quantization: q4k
          kvcache_mem_cpu: 4096
          device_ids: []
          kvcache_compression: {bits: 3, policy: disabled}
      - name: several-gpus
        local_path: ./models/large.gguf
        params:
          device_ids: [0, 1]
          max_num_seqs: 512
          multithread: true
          prompt_cache: {enabled: true, backend: memory, max_cached_prefixes: 5000, min_prefix_length: 8}
"""


def _read(tmp_path: Path, text: str, base: Settings | None = None, name: str = "models.yaml") -> Registry:
    path = tmp_path / name
    path.write_text(dedent(text))
    return read_registry(path, base or Settings())


def _entry(tmp_path: Path, keys: str = "", base: Settings | None = None, *, source: str = "hf_id: a/b") -> ModelEntry:
    """The one entry ``x`` with ``keys``, lines of YAML."""
    lines = "".join(f"    {line}\n" for line in dedent(keys).strip().splitlines())
    return _read(tmp_path, f"models:\n  - name: x\n    {source}\n{lines}", base).entries[0]


def _problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _read(tmp_path, text)
    return list(caught.value.details.get("problems", [caught.value.message]))


def _problem(tmp_path: Path, keys: str, *, source: str = "hf_id: a/b") -> str:
    """What is wrong with the entry ``x`` that has ``keys``."""
    with pytest.raises(ConfigError) as caught:
        _entry(tmp_path, keys, source=source)
    (problem,) = caught.value.details["problems"]
    return str(problem).removeprefix('models.yaml: models[0] "x": ')


# The file of candle-vllm.


@pytest.mark.promise("candle-vllm.registry")
def test_a_file_of_candle_vllm_loads(tmp_path: Path) -> None:
    registry = _read(tmp_path, CANDLE_VLLM)
    assert [entry.name for entry in registry.entries] == ["small-gguf", "on-cpu", "several-gpus"]
    assert registry.default == "small-gguf"
    small, on_cpu, large = registry.entries
    assert small.settings.model == "hf://someone/Small-GGUF:Small-Q4_K_M.gguf"
    assert small.settings.alias == ("small-gguf",)
    assert small.defaults == {
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 40,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
    }
    assert (small.settings.max_slots, small.settings.kv_cache_memory) == (16, "2048MiB")
    assert small.settings.engine_options == {"batch_size": 1024}
    assert (small.settings.queue_size, small.settings.request_timeout, small.settings.threads) == (50, 180, 1)
    assert (small.idle_unload_seconds, small.notes) == (3600, "the default")
    assert on_cpu.settings.model == "hf://someone/Other-GGUF:Q4_K_M"
    assert (on_cpu.settings.gpu_layers, on_cpu.settings.kv_cache_memory) == (0, "4096MiB")
    assert (on_cpu.settings.queue_size, on_cpu.settings.request_timeout) == (100, 300)
    assert large.settings.model == str(tmp_path / "models" / "large.gguf")
    assert large.settings.max_slots == 256


@pytest.mark.promise("candle-vllm.registry")
def test_what_has_no_effect_is_a_warning_that_names_what_does_its_job_and_the_models(tmp_path: Path) -> None:
    warnings = _read(tmp_path, CANDLE_VLLM).warnings
    assert all(warning.startswith("models.yaml: ") for warning in warnings)
    for words, models in (
        ('max_units" has no effect: max_num_seqs', "(small-gguf, on-cpu, several-gpus)"),
        ('retention_secs" has no effect: an answer goes to its client', "(small-gguf, on-cpu, several-gpus)"),
        ('dtype" has no effect with llama.cpp: the GGUF file decides', "(small-gguf, on-cpu)"),
        ('block_size" has no effect with llama.cpp: the key-value cache has no blocks', "(small-gguf)"),
        ('multithread" has no effect with llama.cpp: several GPUs', "(several-gpus)"),
        ('prompt_cache" has no effect with llama.cpp: llama.cpp keeps', "(several-gpus)"),
        ("large.gguf yet", "(several-gpus)"),
    ):
        (found,) = [warning for warning in warnings if words in warning]
        assert found.endswith(models)
    assert len(warnings) == 7


def test_a_warning_about_many_models_names_the_first_ones(tmp_path: Path) -> None:
    entries = [{"name": f"m{number}", "hf_id": "a/b", "params": {"block_size": 16}} for number in range(5)]
    (warning,) = _read(tmp_path, json.dumps({"models": entries}), name="models.json").warnings
    assert warning.endswith("(m0, m1, m2 and 2 more)")


# Where the model is.


def test_yaml_and_json_give_the_same_registry(tmp_path: Path) -> None:
    as_yaml = _read(tmp_path, "models:\n  - {name: x, hf_id: a/b, aliases: y, pinned: true}\n")
    as_json = _read(
        tmp_path, '{"models": [{"name": "x", "hf_id": "a/b", "aliases": ["y"], "pinned": true}]}', name="models.json"
    )
    assert as_yaml.entries == as_json.entries
    assert as_yaml.digest != as_json.digest
    (entry,) = as_yaml.entries
    assert (entry.name, entry.aliases, entry.is_pinned) == ("x", ("y",), True)
    assert entry.settings.alias == ("x", "y")


@pytest.mark.parametrize(
    ("keys", "model"),
    [
        ("hf_id: org/name", "hf://org/name"),
        ("hf_id: org/name:Q8_0", "hf://org/name:Q8_0"),
        ("hf_id: https://huggingface.co/org/name", "hf://org/name"),
        ("hf_id: org/name\n    weight_file: sub/m-Q4_0.gguf", "hf://org/name:sub/m-Q4_0.gguf"),
        ("hf_id: org/name\n    params: {quantization: Q5_K_M}", "hf://org/name:Q5_K_M"),
        ("hf_id: org/name\n    params: {quantization: q8_0}", "hf://org/name:Q8_0"),
        ("hf_id: org/name\n    params: {quantization: q4k}", "hf://org/name:Q4_K_M"),
        ("hf_id: org/name\n    params: {quantization: UD-Q4_K_XL}", "hf://org/name:UD-Q4_K_XL"),
    ],
)
def test_the_quantization_or_the_weight_file_picks_the_file_of_a_repository(
    tmp_path: Path, keys: str, model: str
) -> None:
    assert _entry(tmp_path, source=keys).settings.model == model


def test_the_address_of_a_file_picks_the_file_and_the_revision(tmp_path: Path) -> None:
    source = "hf_id: https://huggingface.co/org/name/resolve/v1/sub/m-Q4_0.gguf"
    found = _entry(tmp_path, source=source).settings
    assert (found.model, found.revision) == ("hf://org/name:sub/m-Q4_0.gguf", "v1")
    assert _entry(tmp_path, source=f"{source}\n    revision: mine").settings.revision == "mine"


def test_a_repository_is_not_taken_for_a_directory_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert _entry(tmp_path).settings.model == "hf://a/b"


def test_paths_begin_at_the_registry_s_directory_or_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    keys = """
        params:
          draft_model: draft.gguf
          mmproj: eyes.gguf
          lora: [one.gguf, "two.gguf:0.5", ~/three.gguf]
          chat_template: template.jinja
    """
    found = _entry(tmp_path, keys, source="local_path: sub\n    weight_file: m.gguf").settings
    assert found.model == str(tmp_path / "sub" / "m.gguf")
    assert found.draft_model == str(tmp_path / "draft.gguf")
    assert found.mmproj == str(tmp_path / "eyes.gguf")
    assert _entry(tmp_path, "params: {mmproj: none}").settings.mmproj == "none"
    assert found.lora == (
        str(tmp_path / "one.gguf"),
        str(tmp_path / "two.gguf:0.5"),
        str(tmp_path / "home" / "three.gguf"),
    )
    assert found.chat_template == str(tmp_path / "template.jinja")
    assert _entry(tmp_path, source="local_path: ~/m.gguf").settings.model == str(tmp_path / "home" / "m.gguf")


def test_every_path_may_hold_variables_and_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / ".env").write_text("MODELS_OF_THE_TEST=models\n")
    keys = """
        weight_file: "${NOT_SET_ANYWHERE:-m}.gguf"
        python: ${HOME}/bin/python
        params:
          draft_model: ${MODELS_OF_THE_TEST}/draft.gguf
          mmproj: "{env:HOME}/eyes.gguf"
          lora: ["${HOME}/one.gguf:0.5", ~/two.gguf]
          chat_template: ~/${env:MODELS_OF_THE_TEST}.jinja
    """
    found = _entry(tmp_path, keys, source="local_path: ${HOME}/models").settings
    assert found.model == str(home / "models" / "m.gguf")
    assert found.worker_python == str(home / "bin" / "python")
    assert found.draft_model == str(tmp_path / "models" / "draft.gguf")
    assert found.mmproj == str(home / "eyes.gguf")
    assert found.lora == (str(home / "one.gguf:0.5"), str(home / "two.gguf"))
    assert found.chat_template == str(home / "models.jinja")
    beside = _entry(tmp_path, "weight_file: ~/other.gguf", source="local_path: models").settings
    assert beside.model == str(home / "other.gguf")
    assert _entry(tmp_path, source="local_path: ~nobody-of-that-name/m.gguf").settings.model == str(
        tmp_path / "~nobody-of-that-name" / "m.gguf"
    )


@pytest.mark.parametrize("key", ["lora", "adapters"])
def test_adapters_may_have_names(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    keys = f"""
        params:
          {key}:
            pirate: pirate.gguf
            legal: {{path: ~/legal.gguf, scale: 1}}
            short: "${{HOME}}/short.gguf:0.5"
    """
    assert _entry(tmp_path, keys).settings.lora == (
        f"pirate={tmp_path / 'pirate.gguf'}",
        f"legal={tmp_path / 'home' / 'legal.gguf'}:1.0",
        f"short={tmp_path / 'home' / 'short.gguf'}:0.5",
    )
    beside = _entry(tmp_path, 'params: {lora: [always.gguf, "pirate=./a=b.gguf"]}').settings
    assert beside.lora == (str(tmp_path / "always.gguf"), f"pirate={tmp_path / 'a=b.gguf'}")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("{'a b': x.gguf}", '"params.lora.a b": the name of an adapter has letters, digits'),
        ("{'a:b': x.gguf}", '"params.lora.a:b": the name of an adapter has letters, digits'),
        ("{a: {scale: 1}}", '"params.lora.a": "path" is missing, or no text'),
        ("{a: {path: x.gguf, scale: strong}}", '"params.lora.a": "scale" has to be a number'),
        ("{a: {path: x.gguf, scales: 1}}", '"params.lora.a": unknown key "scales"; there are path and scale'),
        ("{a: [x.gguf]}", '"params.lora.a": expected a file, or its path and scale'),
    ],
)
def test_an_adapter_that_is_none_is_a_problem(value: str, says: str, tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, f"models: [{{name: x, local_path: m.gguf, params: {{lora: {value}}}}}]")
    assert says in problem


@pytest.mark.parametrize("engine", ["mlx", "transformers", "mistralrs", "scripted"])
def test_an_engine_that_has_no_adapters_says_so(engine: str, tmp_path: Path) -> None:
    text = f"models: [{{name: x, hf_id: a/b, engine: {engine}, params: {{adapters: {{a: x.gguf}}}}}}]"
    assert any('"params.lora": ' in problem for problem in _problems(tmp_path, text))


def test_a_path_with_a_variable_that_is_not_set_is_a_problem_of_its_key(tmp_path: Path) -> None:
    text = """
        models:
          - name: x
            local_path: ${NOT_SET_ANYWHERE}/m.gguf
            params: {lora: [a.gguf, "${NOR_THIS}"], chat_template: "{{ '${THIS_IS_TEXT}' }}"}
    """
    not_set = "is not set, nor is it in .env"
    assert _problems(tmp_path, text) == [
        f'models.yaml: models[0] "x": "local_path": the environment variable NOT_SET_ANYWHERE {not_set}',
        f'models.yaml: models[0] "x": "params.lora"[1]: the environment variable NOR_THIS {not_set}',
    ]


def test_one_adapter_and_a_template_s_own_text_are_taken_as_they_are(tmp_path: Path) -> None:
    found = _entry(tmp_path, 'params: {lora: "a.gguf:0.5", chat_template: "{{ messages }}"}').settings
    assert (found.lora, found.chat_template) == ((str(tmp_path / "a.gguf:0.5"),), "{{ messages }}")


def test_a_chat_template_may_be_one_that_comes_with_modelhost(tmp_path: Path) -> None:
    assert _entry(tmp_path, "params: {chat_template: llama3}").settings.chat_template == "llama3"
    assert _entry(tmp_path, "params: {chat_template: lama3}").settings.chat_template == str(tmp_path / "lama3")
    (tmp_path / "llama3").write_text("{{ messages }}")
    assert _entry(tmp_path, "params: {chat_template: llama3}").settings.chat_template == str(tmp_path / "llama3")


def test_an_entry_resolves_to_its_file_under_its_names(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny.gguf", context_length=512)
    entry = _entry(
        tmp_path, "aliases: [y]\nparams: {max_model_len: 256, max_num_seqs: 2}", source="local_path: tiny.gguf"
    )
    resolved = resolve(entry.settings)
    assert (resolved.spec.name, resolved.spec.aliases) == ("x", ("y",))
    assert (resolved.spec.context_length, resolved.spec.slots) == (256, 2)
    assert resolved.spec.path == tmp_path / "tiny.gguf"


def test_a_scripted_entry_needs_no_file(tmp_path: Path) -> None:
    keys = "params: {engine_options: {text: hello}, max_num_seqs: 3, max_model_len: 100}"
    entry = _entry(tmp_path, keys, source="engine: scripted")
    spec = resolve(entry.settings).spec
    assert (spec.name, spec.slots, spec.context_length, spec.options) == ("x", 3, 100, {"text": "hello"})


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("notes: none", 'it has no model: give "hf_id", "local_path" or "url"'),
        ("weight_file: a.gguf", '"weight_file" is a file of "hf_id" or of "local_path", and neither is given'),
        ("hf_id: a/b\n    local_path: c", "hf_id and local_path are both given; keep one"),
        ("url: http://there\n    local_path: c", "local_path and url are both given; keep one"),
        ("hf_id: b", '"hf_id": expected org/name, got "b"'),
        ("hf_id: a/b:Q4_0\n    weight_file: c.gguf", '"hf_id" names a file or a quantization already; remove'),
        ("hf_id: a/b\n    weight_file: c d.gguf", '"weight_file": no file is called "c d.gguf"'),
        ("hf_id: a/b\n    weight_file: model.safetensors", '"weight_file": model.safetensors: a model in safetensors'),
        ("local_path: models.yaml\n    weight_file: c.gguf", '"weight_file" is a file in the directory "local_path"'),
        ("local_path: x\n    revision: main", '"revision" is of a model from the hub, and "local_path" is given'),
    ],
)
def test_an_entry_has_exactly_one_source(tmp_path: Path, source: str, problem: str) -> None:
    assert _problem(tmp_path, "", source=source).startswith(problem)


# Settings of its own.


def test_an_entry_has_the_host_s_settings_but_not_those_of_another_model(tmp_path: Path) -> None:
    base = Settings(
        model="other.gguf",
        alias=("other",),
        revision="r",
        lora=("a",),
        draft_model="d",
        mmproj="m",
        chat_template="t",
        context_length=100,
        request_timeout=7,
        engine_options={"mmap": False, "cache_ram_mib": 1},
    )
    found = _entry(tmp_path, "params: {slots: 2, engine_options: {cache_ram_mib: 2}}", base).settings
    assert (found.context_length, found.request_timeout, found.slots) == (100, 7, 2)
    assert found.engine_options == {"mmap": False, "cache_ram_mib": 2}
    assert (found.alias, found.revision, found.lora) == (("x",), None, ())
    assert (found.draft_model, found.mmproj, found.chat_template) == (None, None, None)


def test_the_bound_of_an_entry_is_stronger_than_slots_of_the_host(tmp_path: Path) -> None:
    found = _entry(tmp_path, "params: {max_num_seqs: 2}", Settings(slots=8)).settings
    assert (found.slots, found.max_slots) == (None, 2)


def test_options_of_the_host_s_engine_are_not_given_to_another_one(tmp_path: Path) -> None:
    base = Settings(engine_options={"mmap": False})
    assert _entry(tmp_path, base=base, source="engine: scripted").settings.engine_options == {}


def test_the_entry_s_own_keys_win_over_its_parking_lot(tmp_path: Path) -> None:
    keys = """
        queue_size: 1
        request_timeout: 2
        load_timeout: 3
        max_in_flight: 4
        stall_timeout: 5
        revision: v1
        params: {threads: 1, parking_lot: {limits: {max_queue_depth: 9}}}
        parking_lot: {pool: {worker_threads: 1, max_queue_depth: 8, timeout_secs: 8}}
    """
    found = _entry(tmp_path, keys).settings
    assert (found.queue_size, found.request_timeout, found.load_timeout) == (1, 2, 3)
    assert (found.max_in_flight, found.stall_timeout, found.revision) == (4, 5, "v1")


def test_more_worker_threads_than_cores_are_bounded_and_more_threads_refused(tmp_path: Path) -> None:
    cores = allowed_cores()
    registry = _read(
        tmp_path,
        "parking_lot: {pool: {worker_threads: 9999}}\nmodels: [{name: x, hf_id: a/b}]",
    )
    assert registry.entries[0].settings.threads == cores
    assert f"9999 is more than the {cores} cores" in registry.warnings[0]
    assert _problem(tmp_path, "params: {threads: 9999}").startswith(f'"params.threads": 9999 is more than the {cores}')


@pytest.mark.parametrize(
    ("top", "own", "seconds"),
    [("", "", 9), ("60", "", 60), ("60", "30", 30), ("null", "", None), ("60", "null", None)],
)
def test_idle_seconds_are_the_entry_s_then_the_file_s_then_the_host_s_and_null_is_never(
    tmp_path: Path, top: str, own: str, seconds: float | None
) -> None:
    head = f"idle_unload_secs: {top}\n" if top else ""
    tail = f", idle_unload_secs: {own}" if own else ""
    text = f"{head}models: [{{name: x, hf_id: a/b{tail}}}]"
    (entry,) = _read(tmp_path, text, Settings(idle_unload_secs=9)).entries
    assert entry.idle_unload_seconds == entry.settings.idle_unload_secs == seconds


def test_the_python_is_a_path_beside_the_file_or_a_name_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "venv" / "bin" / "python"
    link.parent.mkdir(parents=True)
    link.symlink_to(sys.executable)
    # Not what the link leads to: that one does not know the virtual environment.
    assert _entry(tmp_path, "python: venv/bin/python").settings.worker_python == str(link)
    monkeypatch.setenv("PATH", str(link.parent))
    assert _entry(tmp_path, "python: python").settings.worker_python == str(link)
    assert _problem(tmp_path, "python: pythn") == '"python": there is no program pythn'
    assert _problem(tmp_path, "python: ./python") == '"python": there is no program ./python'
    assert _problem(tmp_path, "python: models.yaml") == '"python": there is no program models.yaml'


def test_variables_are_added_to_the_host_s_and_not_expanded(tmp_path: Path) -> None:
    base = Settings.model_validate({"worker_env": {"A": "1", "B": "1"}})
    found = _entry(tmp_path, 'env: {B: 2, C: "${HOME}", D: ""}', base).settings.worker_env
    assert {name: value.get_secret_value() for name, value in found.items()} == {
        "A": "1",
        "B": "2",
        "C": "${HOME}",
        "D": "",
    }
    assert _problem(tmp_path, 'env: {"A B": x}') == '"env": "A B" is no name of a variable'
    assert _problem(tmp_path, "env: {A: [1]}") == '"env.A": expected text, got [1]'


@pytest.mark.promise("mistralrs.models.devices")
def test_the_gpus_of_an_entry_are_variables_of_its_worker(tmp_path: Path) -> None:
    def env(keys: str) -> dict[str, str]:
        found = _entry(tmp_path, keys).settings.worker_env
        return {name: value.get_secret_value() for name, value in found.items()}

    assert env("params: {device_ids: [1, 0]}") == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1,0"}
    assert env("params: {device_ids: []}") == {"CUDA_VISIBLE_DEVICES": ""}
    assert _problem(tmp_path, 'params: {device_ids: [1]}\nenv: {CUDA_VISIBLE_DEVICES: "0"}') == (
        '"env": "params.device_ids" sets CUDA_VISIBLE_DEVICES already; keep one'
    )


def test_defaults_are_only_what_is_given(tmp_path: Path) -> None:
    keys = "params: {temperature: 0, top_k: -1, stop: END, seed: 7, max_tokens: 5, repeat_penalty: 1.1, min_p: null}"
    assert _entry(tmp_path, keys).defaults == {
        "temperature": 0,
        "top_k": -1,
        "stop": ["END"],
        "seed": 7,
        "max_tokens": 5,
        "repetition_penalty": 1.1,
    }


# What is refused.


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("params: {temperatur: 1}", 'unknown key "temperatur" in "params"; did you mean "temperature"?'),
        ("temperature: 1", 'unknown key "temperature"; it belongs in "params"'),
        ("weightfile: x", 'unknown key "weightfile"; did you mean "weight_file"?'),
        ("parking_lot: {limits: {queue: 1}}", 'unknown key "queue" in "parking_lot.limits"'),
        ("params: {temperature: 101}", '"params.temperature": must be at most 100, got 101'),
        ('params: {temperature: "1"}', '"params.temperature": expected a number, got "1"'),
        ("params: {top_p: .nan}", '"params.top_p": expected a finite number, got NaN'),
        ("params: {stop: [a, 1]}", '"params.stop[1]": expected text, got 1'),
        ("params: {device_ids: 0}", '"params.device_ids": expected a list, got 0'),
        ("params: {device_ids: [0, 0]}", '"params.device_ids": a GPU is there twice in [0, 0]'),
        ("params: {slots: 0}", '"params.slots": must be at least 1, got 0'),
        ("params: {max_num_seqs: 0}", '"params.max_num_seqs": must be at least 1, got 0'),
        ("params: {kv_cache_type: q8}", '"params.kv_cache_type": expected one of f32, f16, bf16, q8_0, '),
        ("params: {engine_options: 3}", '"params.engine_options": expected keys and values, got 3'),
        ("params: {engine_options: {mmp: 1}}", 'engine option "mmp" is unknown to llamacpp; did you mean "mmap"?'),
        (
            "params: {engine_options: {isq: Q4K}}",
            'engine option "isq": llama.cpp does not quantize while it loads; take a file that is quantized already',
        ),
        (
            "params: {mem: 1, kvcache_mem_gpu: 1}",
            '"params": "mem" and "kvcache_mem_gpu" are two names of one parameter',
        ),
        ("params: {slots: 1, max_num_seqs: 2}", '"params.max_num_seqs" and "params.slots" are both given'),
        (
            "params: {mem: 1, kv_cache_memory: 1GB}",
            '"params.kvcache_mem_gpu" and "params.kv_cache_memory" bound the same',
        ),
        ("params: {kv_cache_memory: lots}", '"params.kv_cache_memory": expected a size such as 24GB'),
        ("params: {isq: q4k}", '"params.isq": llama.cpp does not quantize while it loads; take a file'),
        ("params: {dtype: f17}", '"params.dtype": expected one of auto, f16, '),
        ("params: {tensor_parallel_size: 2}", '"params.tensor_parallel_size": llama.cpp does not split tensors'),
        ("params: {device_ids: [], gpu_layers: 9}", '"params.device_ids": [] is the CPU alone'),
        (
            "params: {kvcache_compression: {bits: 3, policy: {threshold_tokens: 4}}}",
            '"params.kvcache_compression" is not part of llama.cpp; "kv_cache_type: q8_0" takes half',
        ),
        (
            "params: {prefill_chunk_size: 9, engine_options: {batch_size: 9}}",
            '"params.prefill_chunk_size" is the engine option batch_size, which is given too',
        ),
        (
            "capabilities: {vision_mode: proxy}",
            '"capabilities.vision_mode": "proxy" is not part of this version',
        ),
        ("replicas: 2", '"replicas": 2 workers of one model are not part of this version'),
        ("replicas: 0", '"replicas": must be at least 1, got 0'),
        ("pinned: 1", '"pinned": expected true or false, got 1'),
        ("idle_unload_secs: 0", '"idle_unload_secs": must be greater than 0, got 0'),
        (
            "engine: lamacpp",
            f'"engine": expected one of {THERE}, got "lamacpp"; did you mean "llamacpp"?',
        ),
        ("aliases: [' y']", "a name begins or ends with a blank"),
        (
            "parking_lot: {queue: {backend: postgres}}",
            '"parking_lot.queue.backend": "postgres" is not part of this version',
        ),
        ("parking_lot: {queue: {persistence: true}}", '"parking_lot.queue.persistence" is not part of this version'),
        ("parking_lot: {mailbox: {webhook: {enabled: true}}}", '"parking_lot.mailbox.webhook" is not part of this'),
    ],
)
def test_what_is_wrong_with_an_entry_is_one_sentence_that_names_it(tmp_path: Path, keys: str, problem: str) -> None:
    assert _problem(tmp_path, keys).startswith(problem)


@pytest.mark.parametrize("key", ["lora", "draft_model", "mmproj", "chat_template"])
def test_the_scripted_engine_has_no_model_and_says_so(tmp_path: Path, key: str) -> None:
    problem = _problem(tmp_path, f"params: {{{key}: x}}", source="engine: scripted")
    assert problem == f'"params.{key}": the scripted engine has no model, so it cannot use it'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", 'models.yaml: "models" is missing or empty'),
        ("models: []", 'models.yaml: "models" is missing or empty'),
        ("models: 3", 'models.yaml: "models": expected a list, got 3'),
        ("models: [3]", "models.yaml: models[0]: expected keys and values, got 3"),
        ("models: [{hf_id: a/b}]", 'models.yaml: models[0]: "name" is missing'),
        ("models: [{name: '', hf_id: a/b}]", 'models.yaml: models[0] "": "name": must not be empty'),
        ("models: [{name: 7, hf_id: a/b}]", 'models.yaml: models[0]: "name": expected text, got 7'),
        ("- a", 'models.yaml: expected keys and values, such as "models: [...]"'),
        ("models: []\nmodels: []", 'models.yaml: "models" is given twice'),
        ("models: [{name: a, name: b}]", 'models.yaml: "name" is given twice'),
        ("models:\n  - name: a\n   hf_id: b", "models.yaml: line 3, column 4: did not find expected '-' indicator"),
        ("modles: []\nmodels: [{name: x, hf_id: a/b}]", 'models.yaml: unknown key "modles"; did you mean "models"?'),
        ("default_model: y\nmodels: [{name: x, hf_id: a/b}]", 'models.yaml: "default_model": there is no entry "y"'),
    ],
)
def test_what_is_wrong_with_the_file_is_one_sentence(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = _problems(tmp_path, text)
    if "expected '-'" in problem:
        assert found.startswith("models.yaml: line 3, column 4: ")
    else:
        assert found.startswith(problem)


def test_names_and_aliases_are_given_once(tmp_path: Path) -> None:
    text = """
        models:
          - {name: a, hf_id: a/b, aliases: [b]}
          - {name: b, hf_id: a/b}
          - {name: c, hf_id: a/b, aliases: [a, c]}
    """
    assert _problems(tmp_path, text) == [
        'models.yaml: models[1] "b": the name "b" is taken by models[0]',
        'models.yaml: models[2] "c": the name "a" is taken by models[0]',
    ]


def test_the_default_may_be_named_by_an_alias(tmp_path: Path) -> None:
    text = "default_model: b\nmodels: [{name: a, hf_id: a/b, aliases: [b]}]"
    assert _read(tmp_path, text).default == "a"


def test_all_problems_of_all_entries_are_listed_at_once(tmp_path: Path) -> None:
    text = """
        default_modle: a
        models:
          - {name: a, hf_id: a/b, params: {temperatur: 1, top_p: 2}}
          - {name: b, url: ftp://x, replicas: 2}
          - 3
    """
    with pytest.raises(ConfigError) as caught:
        _read(tmp_path, text)
    assert caught.value.message.splitlines() == [
        "models.yaml has 6 problems:",
        '  models.yaml: unknown key "default_modle"; did you mean "default_model"?',
        '  models.yaml: models[0] "a": "params.top_p": must be at most 1, got 2',
        '  models.yaml: models[0] "a": unknown key "temperatur" in "params"; did you mean "temperature"?',
        (
            '  models.yaml: models[1] "b": "replicas": 2 workers of one model are not part of this version; slots '
            "serve several requests at once"
        ),
        '  models.yaml: models[1] "b": "url": "ftp://x" is not the URL of a server, such as http://there:8000/v1',
        "  models.yaml: models[2]: expected keys and values, got 3",
    ]


def test_a_file_that_cannot_be_read_is_an_error_of_the_registry(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^models\.yaml: No such file or directory$"):
        read_registry(tmp_path / "models.yaml", Settings())
    (tmp_path / "models.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"^models\.yaml: not UTF-8 text$"):
        read_registry(tmp_path / "models.yaml", Settings())


_LEAVES = st.none() | st.booleans() | st.integers(-2, 300) | st.floats() | st.text(max_size=4) | st.builds(list)
_KEYS = st.sampled_from([*EntryFile.model_fields, *Params.model_fields, *ParkingLot.model_fields, *OTHER_NAMES])
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _LEAVES,
    # Never empty: hypothesis takes a strategy that happens not to draw `inner` for one that forgot it.
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(_KEYS, inner, min_size=1, max_size=5),
    max_leaves=15,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.fixed_dictionaries(
        {"models": st.lists(_VALUES | st.dictionaries(_KEYS, _VALUES, max_size=6), max_size=3)},
        optional={"default_model": _VALUES, "parking_lot": _VALUES, "idle_unload_secs": _VALUES},
    )
)
def test_any_content_is_a_registry_or_a_configuration_error(content: dict[str, Any]) -> None:
    try:
        registry = parse_registry(json.dumps(content).encode(), Path("models.json"), Settings())
    except ConfigError:
        return
    assert len(registry.entries) == len(content["models"]) > 0


# Which file, and hosts without one.


@pytest.mark.parametrize("name", DEFAULT_NAMES)
def test_a_registry_with_a_default_name_is_found(tmp_path: Path, name: str) -> None:
    assert find_registry(None, tmp_path) is None
    (tmp_path / name).touch()
    assert find_registry(None, tmp_path) == tmp_path / name


def test_a_named_registry_wins_over_a_default_name(tmp_path: Path) -> None:
    for name in ("models.yaml", "mine.yaml"):
        (tmp_path / name).touch()
    assert find_registry("mine.yaml", tmp_path) == tmp_path / "mine.yaml"
    assert find_registry(tmp_path / "mine.yaml", Path("/")) == tmp_path / "mine.yaml"


def test_two_default_names_or_a_named_one_that_is_not_there_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^models_config: there is no file mine\.yaml$"):
        find_registry("mine.yaml", tmp_path)
    for name in ("models.yaml", "models.json"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"models\.yaml and models\.json are both here; keep one"):
        find_registry(None, tmp_path)


def test_without_a_registry_the_one_model_is_an_entry(tmp_path: Path) -> None:
    entry = single_entry(Settings(idle_unload_secs=5))
    assert (entry.name, entry.settings.alias, entry.idle_unload_seconds) == ("modelhost-nano", ("modelhost-nano",), 5)
    assert single_entry(Settings(model="org/name:Q4_0")).name == "org/name"
    named = single_entry(Settings(model="org/name", alias=("a", "b")))
    assert (named.name, named.aliases) == ("a", ("b",))
    renamed = single_entry(Settings(model="org/name", alias=("a", "b")), "b")
    assert (renamed.name, renamed.aliases, renamed.settings.alias) == ("b", ("a",), ("b", "a"))
    with pytest.raises(ModelFileMissing):
        single_entry(Settings(model=str(tmp_path / "no.gguf")))
