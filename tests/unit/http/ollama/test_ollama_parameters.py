"""``parameters`` of Ollama's models as settings and request defaults."""

from __future__ import annotations

import pytest

from modelhost.chat.notes import ON_NOTE
from modelhost.http.ollama.bodies import Options
from modelhost.http.ollama.options import settings_and_defaults


def test_parameters_become_settings_and_request_defaults() -> None:
    given = Options(
        num_ctx=4096.0, num_gpu=0, num_thread=2, temperature=0.5, top_k=40.0, seed=7, num_predict=64, repeat_penalty=1.1
    )
    settings, defaults = settings_and_defaults(given)
    assert settings == {"context_length": 4096, "gpu_layers": 0, "threads": 2}
    assert defaults == {"temperature": 0.5, "top_k": 40, "seed": 7, "max_tokens": 64, "repetition_penalty": 1.1}
    assert [type(defaults[name]) for name in ("top_k", "seed", "max_tokens")] == [int, int, int]


@pytest.mark.parametrize(
    "given", [{"num_predict": -1}, {"num_predict": -2}, {"seed": -1}, {"num_gpu": -1}, {"repeat_penalty": 0}]
)
def test_values_that_leave_the_choice_say_nothing(given: dict[str, int]) -> None:
    assert settings_and_defaults(Options.model_validate(given)) == ({}, {})


@pytest.mark.parametrize("stop", ["END", ["END"]])
def test_a_stop_string_may_stand_alone(stop: str | list[str]) -> None:
    assert settings_and_defaults(Options(stop=stop)) == ({}, {"stop": ["END"]})


def test_what_has_no_effect_is_noted() -> None:
    notes: list[str] = []
    token = ON_NOTE.set(notes.append)
    try:
        assert settings_and_defaults(Options.model_validate({"mirostat": 1, "unheard_of": 2})) == ({}, {})
    finally:
        ON_NOTE.reset(token)
    assert notes == ["ignored=parameters.mirostat", "ignored=parameters.unheard_of"]
