"""The registry file as a whole: candle-vllm's form, what is refused, and which file is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelhost.config.settings import Settings
from modelhost.errors import ConfigError, ModelFileMissing
from modelhost.models.registry.registry import DEFAULT_NAMES, find_registry, parse_registry, read_registry
from modelhost.models.registry.schema import OTHER_NAMES, EntryFile, Params, ParkingLot
from modelhost.models.resolve.locate import single_entry
from tests.support.registry_files import problem_of, problems_of, registry_of

THERE = "llamacpp, mlx, transformers, vllm, mistralrs, speech, whisper, diffusers, remote, scripted"
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


# The file of candle-vllm.


@pytest.mark.promise("candle-vllm.registry")
def test_a_file_of_candle_vllm_loads(tmp_path: Path) -> None:
    registry = registry_of(tmp_path, CANDLE_VLLM)
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
    warnings = registry_of(tmp_path, CANDLE_VLLM).warnings
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
    (warning,) = registry_of(tmp_path, json.dumps({"models": entries}), name="models.json").warnings
    assert warning.endswith("(m0, m1, m2 and 2 more)")


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
    assert problem_of(tmp_path, keys).startswith(problem)


@pytest.mark.parametrize("key", ["lora", "draft_model", "mmproj", "chat_template"])
def test_the_scripted_engine_has_no_model_and_says_so(tmp_path: Path, key: str) -> None:
    problem = problem_of(tmp_path, f"params: {{{key}: x}}", source="engine: scripted")
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
    (found,) = problems_of(tmp_path, text)
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
    assert problems_of(tmp_path, text) == [
        'models.yaml: models[1] "b": the name "b" is taken by models[0]',
        'models.yaml: models[2] "c": the name "a" is taken by models[0]',
    ]


def test_the_default_may_be_named_by_an_alias(tmp_path: Path) -> None:
    text = "default_model: b\nmodels: [{name: a, hf_id: a/b, aliases: [b]}]"
    assert registry_of(tmp_path, text).default == "a"


def test_all_problems_of_all_entries_are_listed_at_once(tmp_path: Path) -> None:
    text = """
        default_modle: a
        models:
          - {name: a, hf_id: a/b, params: {temperatur: 1, top_p: 2}}
          - {name: b, url: ftp://x, replicas: 2}
          - 3
    """
    with pytest.raises(ConfigError) as caught:
        registry_of(tmp_path, text)
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
