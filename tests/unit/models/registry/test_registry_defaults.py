"""Request defaults: the same ranges as in a request, and a clear word about what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhost.chat.parsing.validation import validate
from modelhost.config.settings import Settings
from modelhost.engines import ENGINES
from modelhost.engines.base import Engine
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.remote.engine import Remote
from modelhost.errors import ConfigError, InvalidRequest
from modelhost.models.registry.registry import read_registry
from modelhost.models.registry.request_defaults import NAMES, check_defaults, default_problems, parse_defaults
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.resolve.locate import single_entry

MESSAGES = [{"role": "user", "content": "x"}]


def test_what_is_given_is_returned_and_null_takes_a_default_away() -> None:
    assert parse_defaults({"temperature": 1, "stop": "END", "seed": None}) == {
        "temperature": 1.0,
        "stop": ["END"],
        "seed": None,
    }
    assert parse_defaults({}) == {}


@pytest.mark.parametrize(
    ("values", "param", "message"),
    [
        ({"temperature": -1}, "temperature", '"temperature": must be at least 0, got -1.'),
        ({"top_k": 1.5}, "top_k", '"top_k": expected an integer, got 1.5.'),
        ({"temperatur": 1}, "temperatur", 'unknown key "temperatur"; did you mean "temperature"?.'),
        ({"stop": ["a", ""]}, "stop", '"stop[1]": must not be empty.'),
        ({"max_tokens": 0, "seed": "x"}, None, '"max_tokens": must be at least 1, got 0; "seed": expected an integer'),
    ],
)
def test_a_wrong_default_names_its_field(values: dict[str, Any], param: str | None, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_defaults(values)
    assert caught.value.param == param
    assert caught.value.message.startswith(message)


@given(
    name=st.sampled_from(sorted(set(NAMES) - {"repetition_penalty", "min_tokens_to_keep"})),
    value=st.integers(-5, 5)
    | st.integers()
    | st.floats(-200, 200)
    | st.text(max_size=2)
    | st.lists(st.text(max_size=2)),
)
def test_a_default_is_valid_exactly_if_it_is_valid_in_a_request(name: str, value: Any) -> None:
    """``repetition_penalty`` and ``min_tokens_to_keep`` are not OpenAI's; in a request the engine checks them."""

    def is_refused(check: Any) -> bool:
        try:
            check()
        except InvalidRequest:
            return True
        return False

    in_request = is_refused(lambda: validate("chat", {"messages": MESSAGES, name: value}))
    assert is_refused(lambda: parse_defaults({name: value})) == in_request


def test_every_default_is_a_field_that_the_engine_or_openai_knows() -> None:
    openai = {"max_tokens", "stop"}
    assert set(NAMES) - openai <= LlamaCpp().fields("chat")


ALL = {
    "max_tokens": 5,
    "temperature": 1.5,
    "top_p": 0.5,
    "top_k": 3,
    "min_p": 0.1,
    "min_tokens_to_keep": 2,
    "repetition_penalty": 1.1,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.1,
    "seed": 3,
    "stop": ["x"],
}


@pytest.mark.parametrize(
    ("engine", "refused"),
    [
        (ENGINES["llamacpp"], []),
        (ENGINES["mlx"], []),
        (ENGINES["transformers"], []),
        (ENGINES["vllm"], ["min_tokens_to_keep"]),
        (ENGINES["mistralrs"], ["min_tokens_to_keep", "seed"]),
        (Remote(), ["top_k", "min_p", "min_tokens_to_keep", "repetition_penalty"]),
        (Remote({"dialect": "llamacpp"}), []),
        (Remote({"fields": "top_k, min_p"}), ["min_tokens_to_keep", "repetition_penalty"]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_defaults_that_an_engine_would_refuse_in_every_request_are_named(engine: Engine, refused: list[str]) -> None:
    assert [problem.split('"')[1] for problem in default_problems(ALL, engine)] == refused
    if refused:
        with pytest.raises(ConfigError, match=f'^m: request default "{refused[0]}": '):
            check_defaults(ALL, engine, model="m")


def test_what_helps_against_a_refused_default_is_said() -> None:
    (temperature,) = default_problems({"temperature": 3.0}, ENGINES["vllm"])
    assert temperature == '"temperature": vllm takes 2 at most, not 3'
    (top_k,) = default_problems({"top_k": 3}, Remote())
    assert 'say so with the engine option "fields" or "dialect"' in top_k
    assert default_problems({"seed": 3, "temperature": 0.0}, ENGINES["mistralrs"]) == []
    assert default_problems({"seed": -1}, ENGINES["mistralrs"]) == []


def test_a_default_that_is_off_is_not_sent_to_an_engine_without_it() -> None:
    off = {"top_k": -1, "min_p": 0.0, "min_tokens_to_keep": 1, "repetition_penalty": 1.0, "temperature": 0.0}
    far = Settings(model="http://a:1/v1", alias=("m",), request_defaults=off)
    assert default_problems(off, Remote()) == []
    assert HostedModel(single_entry(far)).defaults == {"temperature": 0.0}
    assert HostedModel(single_entry(Settings(request_defaults=off))).defaults == off


def test_an_engine_that_is_a_guess_is_told_with_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("models: [{name: a, hf_id: org/m, params: {tensor_parallel_size: 2, enforce_eager: true}}]")
    with pytest.raises(ConfigError, match=r'not for llamacpp .*name the "engine" if it has safetensors'):
        read_registry(file, Settings())
    file.write_text("models: [{name: a, hf_id: org/m, params: {min_tokens_to_keep: 2}, engine: vllm}]")
    with pytest.raises(ConfigError, match='request default "min_tokens_to_keep": vllm has no such parameter'):
        read_registry(file, Settings())
    file.write_text("models: [{name: a, hf_id: org/m, params: {min_tokens_to_keep: 2}}]")  # the hub will tell
    assert read_registry(file, Settings()).entries[0].defaults == {"min_tokens_to_keep": 2}


def test_a_registry_with_such_a_default_is_refused_when_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("models: [{name: far, url: 'http://a:1/v1', params: {top_k: 3, temperature: 0.5}}]")
    with pytest.raises(ConfigError, match=r'models\[0\] "far": request default "top_k": .*"fields" or "dialect"'):
        read_registry(file, Settings())
    file.write_text(
        "models: [{name: far, url: 'http://a:1/v1', params: {top_k: 3, engine_options: {dialect: llamacpp}}}]"
    )
    assert read_registry(file, Settings()).entries[0].defaults == {"top_k": 3}
