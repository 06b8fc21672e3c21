"""What errors repeat of what a client sent."""

from __future__ import annotations

import pytest

from modelhost import errors
from modelhost.errors import CUT, LONGEST_NAME, LONGEST_REFUSAL, ModelhostError

LONG = "m" * 3_000_000
SPACED = "m " * 1_000_000
KEPT = LONGEST_NAME - len(CUT)
SHORT = "org/name:Q4_K_M"


def test_a_name_of_usual_length_is_repeated_whole() -> None:
    error = errors.ModelNotFound(f'no "{SHORT}" here', param="model", model=SHORT)
    assert (error.message, error.details) == (f'no "{SHORT}" here', {"model": SHORT})


@pytest.mark.parametrize("name", [LONG, SPACED])
@pytest.mark.parametrize("kind", [errors.ModelNotFound, errors.ToolNotFound])
def test_of_a_long_name_only_the_beginning_is_repeated_and_the_way_out_stays(
    kind: type[ModelhostError], name: str
) -> None:
    error = kind(f'no "{name}" here. Take another.', model=name)
    assert error.message == str(error) == f'no "{name[:KEPT]}{CUT}" here. Take another.'
    assert error.details["model"] == f"{name[:KEPT]}{CUT}"


def test_a_long_word_is_shortened_whatever_it_is() -> None:
    error = errors.UnsupportedParameter(f'The field "{LONG}" is not supported.', param=LONG)
    assert len(error.message) < LONGEST_NAME + 100
    assert error.param == f"{LONG[:KEPT]}{CUT}"


def test_a_refusal_has_a_limit_and_keeps_its_end() -> None:
    error = errors.InvalidRequest(f"role: {SPACED} is none. Take user.")
    assert len(error.message) <= LONGEST_REFUSAL + 10
    assert error.message.startswith("role: m m")
    assert error.message.endswith("is none. Take user.")


def test_paths_of_settings_are_whole() -> None:
    path = "/a" * 400
    assert errors.ModelFileMissing(f"there is no {path}", path=path).message == f"there is no {path}"


def test_what_an_engine_says_is_whole() -> None:
    lines = "a line of its log\n" * 1_000
    assert errors.WorkerCrashed(lines, model="m", worker="m/1").message == lines
