"""What decides how quickly llama.cpp computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp import engine
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.llamacpp.options import MICRO_BATCH, micro_batch_size, pinned_cpus
from modelhost.errors import ConfigError

BIG_VOCABULARY = 150_000  # such a model makes no embeddings


def write_file(path: Path) -> Path:
    path.touch()
    return path


def spec(*, env: dict[str, str] | None = None, **options: Any) -> ModelSpec:
    return ModelSpec(name="m", context_length=4096, slots=1, vocab_size=BIG_VOCABULARY, options=options, env=env or {})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("flash_attention", "sometimes"),
        ("speculation", "draft"),
        ("micro_batch_size", -1),
        ("batch_size", -512),
        ("threads_batch", "-2"),
        ("n_cache_reuse", -1),
        ("cache_ram_mib", -7),
        ("micro_batch_size", 100_000_000),
        ("batch_size", 99_999_999_999_999),
        ("pooling", "foo"),
    ],
)
def test_a_value_that_is_none_is_refused_by_the_name_of_its_option(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f'engine option "{option}" of llamacpp') as caught:
        LlamaCpp().launch(spec(**{option: value}), "key")
    assert caught.value.param == "engine_options"


def test_a_cache_without_a_limit_and_no_pooling_of_its_own_are_accepted() -> None:
    config = LlamaCpp().launch(spec(cache_ram_mib=-1, pooling=None), "key").config
    assert (config["cache_ram_mib"], config["pooling"]) == (-1, "mean")


def test_a_step_of_more_than_a_batch_is_refused() -> None:
    with pytest.raises(ConfigError, match="a step of 512 tokens is more than the batch_size, which is 128"):
        LlamaCpp().launch(spec(batch_size=128, micro_batch_size=512), "key")


@pytest.mark.parametrize("kind", ["q8_0", "q4_0", "iq4_nl"])
def test_a_quantized_cache_without_flash_attention_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=f'"flash_attention" of llamacpp: off, and kv_cache_type is {kind}'):
        LlamaCpp().launch(replace(spec(flash_attention="off"), kv_cache_type=kind), "key")
    assert LlamaCpp().launch(replace(spec(flash_attention="off"), kv_cache_type="bf16"), "key")
    assert LlamaCpp().launch(replace(spec(flash_attention="on"), kv_cache_type=kind), "key")


@pytest.mark.parametrize(("cpus", "there"), [({0}, "1 core"), ({3, 5}, "2 cores")])
def test_more_threads_than_cores_are_refused(cpus: set[int], there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "allowed_cpus", lambda: frozenset(cpus))
    too_many = spec(threads_batch=len(cpus) + 1)
    for use in (lambda: LlamaCpp().launch(too_many, "key"), lambda: LlamaCpp().step_tokens(too_many)):
        with pytest.raises(ConfigError, match=f'"threads_batch" of llamacpp: .* is more than the {there} this process'):
            use()
    assert LlamaCpp().launch(spec(threads_batch=len(cpus)), "key").config["threads_batch"] == len(cpus)


def test_a_directory_of_prompt_caches_has_to_be_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none", write_file(tmp_path / "file")):
        with pytest.raises(ConfigError, match=f'"slot_save_path" of llamacpp: {path} is no directory'):
            LlamaCpp().launch(spec(slot_save_path=str(path)), "key")
    assert LlamaCpp().launch(spec(slot_save_path=str(tmp_path)), "key").config["slot_save_path"] == str(tmp_path)


@pytest.mark.parametrize("name", ["kv_cache_type", "context_length", "threads"])
def test_a_setting_among_the_options_is_told_by_its_name(name: str) -> None:
    flag = name.replace("_", "-")
    (problem,) = LlamaCpp().accept({"engine_options": {name: 1}}).problems
    assert problem == f'engine option "{name}" is unknown to llamacpp; it is a setting, {name} (--{flag})'


@pytest.mark.parametrize(("option", "value"), [("flash_attention", "sometimes"), ("speculation", "draft")])
def test_a_choice_that_there_is_not_is_refused_with_the_configuration(option: str, value: str) -> None:
    (problem,) = LlamaCpp().accept({"engine_options": {option: value}}).problems
    assert problem.startswith(f'engine option "{option}" of llamacpp takes ')


def test_options_for_speed_reach_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "allowed_cpus", lambda: frozenset(range(4)))
    options = {"flash_attention": "off", "speculation": "ngram-mod", "threads_batch": 3, "micro_batch_size": 256}
    config = LlamaCpp().launch(spec(**options), "key").config
    assert {name: config[name] for name in options} == options


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, MICRO_BATCH),
        ({"micro_batch_size": 1024}, 1024),
        ({"batch_size": 256}, 256),
        ({"micro_batch_size": 8192}, 2048),
        ({"batch_size": 100_000, "micro_batch_size": 100_000}, 4096),  # which is the context
        ({"micro_batch_size": 64, "embeddings": True}, 2048),  # they need their text in one step
    ],
)
def test_a_step_is_no_larger_than_the_batch(options: dict[str, Any], size: int) -> None:
    assert micro_batch_size(spec(**options)) == size


def test_waiting_threads_sleep_soon_unless_the_user_says_otherwise() -> None:
    assert LlamaCpp().launch(spec(), "key").env["GOMP_SPINCOUNT"] == "3000"
    assert LlamaCpp().launch(spec(env={"GOMP_SPINCOUNT": "5"}), "key").env["GOMP_SPINCOUNT"] == "5"


def test_threads_are_pinned_where_each_cpu_gets_one() -> None:
    assert pinned_cpus(replace(spec(), threads=3), {9, 2, 4}) == (2, 4, 9)
    assert pinned_cpus(replace(spec(threads_batch=3), threads=3, gpus=(0,), gpu_layers=0), {0, 1, 2}) == (0, 1, 2)


@pytest.mark.parametrize(
    ("changes", "options", "allowed"),
    [
        ({"threads": 1}, {}, {0}),  # nothing waits for it
        ({"threads": None}, {}, {0}),
        ({"threads": 2}, {}, {0, 1, 2}),  # the system can move them
        ({"threads": 2}, {}, set()),  # a system without affinity
        ({"threads": 2}, {"threads_batch": 1}, {0, 1}),
        ({"threads": 2}, {"pin_threads": False}, {0, 1}),
        ({"threads": 2, "gpus": (0,)}, {}, {0, 1}),
        ({"threads": 2}, {}, {0, 512}),  # llama.cpp knows 512 CPUs
    ],
)
def test_threads_are_not_pinned(changes: dict[str, Any], options: dict[str, Any], allowed: set[int]) -> None:
    assert pinned_cpus(replace(spec(**options), **changes), allowed) == ()


def test_the_worker_learns_to_which_cpus_its_threads_are_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "allowed_cpus", lambda: frozenset({3, 5}))
    assert LlamaCpp().launch(replace(spec(), threads=2), "key").config["pinned_cpus"] == (3, 5)
    assert LlamaCpp().launch(replace(spec(), threads=1), "key").config["pinned_cpus"] == ()
