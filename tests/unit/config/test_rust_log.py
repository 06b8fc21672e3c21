"""``RUST_LOG`` as the log level of a host."""

from __future__ import annotations

import pytest

from modelhost.config import environment
from modelhost.config.rust_log import read_rust_log


@pytest.mark.promise("candle-vllm.variables.rust-log")
@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("error", "error"),
        ("warn", "warning"),
        ("warning", "warning"),
        ("info", "info"),
        ("DEBUG", "debug"),
        ("trace", "debug"),
        ("off", "error"),
        (" info , ", "info"),
        ("warn,debug", "debug"),
    ],
)
def test_a_bare_level_counts_and_the_last_one_of_several(text: str, level: str) -> None:
    assert read_rust_log(text) == (level, None)


@pytest.mark.parametrize(
    ("text", "level", "ignored"),
    [
        ("info,candle_vllm=debug,hyper=off", "info", "candle_vllm=debug, hyper=off is ignored"),
        ("mistralrs_core=trace", None, "mistralrs_core=trace is ignored"),
        ("mistralrs_core", None, "mistralrs_core is ignored"),
        ("debug/load.*", "debug", "/load.* is ignored"),
    ],
)
def test_directives_for_modules_are_named_and_ignored(text: str, level: str | None, ignored: str) -> None:
    found, warning = read_rust_log(text)
    assert found == level
    assert warning is not None
    assert warning.startswith(ignored)
    assert ("a level by itself counts" in warning) is (level is None)


@pytest.mark.promise("candle-vllm.variables.rust-log")
def test_it_is_a_name_of_the_log_level_that_gives_way_to_our_own() -> None:
    (given,) = environment.read({"RUST_LOG": "warn,tower=info"}).given
    assert (given.setting.key, given.value, given.origin.name) == ("log_level", "warning", "RUST_LOG")
    both = environment.read({"RUST_LOG": "warn,tower=info", "MODELHOST_LOG_LEVEL": "debug"})
    assert ([given.value for given in both.given], both.warnings) == (["debug"], ())


def test_a_warning_names_the_variable() -> None:
    reading = environment.read({"RUST_LOG": "tower=info"})
    assert (reading.given, reading.problems) == ((), ())
    (warning,) = reading.warnings
    assert warning.startswith("RUST_LOG: tower=info is ignored: modules and filters are those of programs in Rust;")
