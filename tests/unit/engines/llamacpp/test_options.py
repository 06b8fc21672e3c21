"""What decides how quickly llama.cpp computes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp import engine
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.llamacpp.options import MICRO_BATCH, micro_batch_size, pinned_cpus
from modelhost.errors import ConfigError

BIG_VOCABULARY = 150_000  # such a model makes no embeddings


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
    ],
)
def test_a_value_that_is_none_is_refused_by_the_name_of_its_option(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f'engine option "{option}" of llamacpp') as caught:
        LlamaCpp().launch(spec(**{option: value}), "key")
    assert caught.value.param == "engine_options"


@pytest.mark.parametrize(("option", "value"), [("flash_attention", "sometimes"), ("speculation", "draft")])
def test_a_choice_that_there_is_not_is_refused_with_the_configuration(option: str, value: str) -> None:
    (problem,) = LlamaCpp().accept({"engine_options": {option: value}}).problems
    assert problem.startswith(f'engine option "{option}" of llamacpp takes ')


def test_options_for_speed_reach_the_worker() -> None:
    options = {"flash_attention": "off", "speculation": "ngram-mod", "threads_batch": 3, "micro_batch_size": 256}
    config = LlamaCpp().launch(spec(**options), "key").config
    assert {name: config[name] for name in options} == options


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, MICRO_BATCH),
        ({"micro_batch_size": 1024}, 1024),
        ({"micro_batch_size": 1024, "batch_size": 256}, 256),
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
