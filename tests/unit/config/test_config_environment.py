"""Variables: twins of settings, other names, unknown ones."""

from __future__ import annotations

import pytest

from modelhost.config import environment
from modelhost.config.checks import find_problems
from modelhost.config.environment import read_rust_log
from modelhost.config.fields import SETTINGS


def values(environ: dict[str, str]) -> dict[str, object]:
    reading = environment.read(environ)
    assert reading.problems == ()
    return {given.setting.key: given.value for given in reading.given}


@pytest.mark.promise("candle-vllm.variables.mirror")
def test_every_setting_has_a_twin() -> None:
    assert SETTINGS["queue_size"].environment == "MODELHOST_QUEUE_SIZE"
    assert len({setting.environment for setting in SETTINGS.values()}) == len(SETTINGS)


@pytest.mark.parametrize(
    ("text", "items"),
    [("a", ("a",)), ("a, b", ("a", "b")), ('["a", "b,c"]', ("a", "b,c")), ("a,,b", ("a", "", "b"))],
)
def test_a_list_is_comma_separated_or_json(text: str, items: tuple[str, ...]) -> None:
    assert values({"MODELHOST_ALIAS": text}) == {"alias": items}


@pytest.mark.parametrize(
    ("text", "options"),
    [("a=1", {"a": "1"}), ("a=1, b=x", {"a": "1", "b": "x"}), ('{"a": 1, "b": [2]}', {"a": 1, "b": [2]})],
)
def test_engine_options_are_pairs_or_json(text: str, options: dict[str, object]) -> None:
    assert values({"MODELHOST_ENGINE_OPTIONS": text}) == {"engine_options": options}


def test_an_empty_variable_counts_as_not_set_so_that_it_cannot_take_api_keys_away() -> None:
    assert values({"MODELHOST_API_KEYS": "", "MODELHOST_PORT": " "}) == {}


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"MODELHOST_ALIAS": '["a"'}, "MODELHOST_ALIAS: broken JSON: Expecting ',' delimiter at character 5"),
        ({"MODELHOST_ENGINE_OPTIONS": "fast"}, 'MODELHOST_ENGINE_OPTIONS: expected key=value, got "fast"'),
        ({"MODELHOST_PROT": "1"}, 'unknown environment variable MODELHOST_PROT; did you mean "MODELHOST_PORT"?'),
    ],
)
def test_a_bad_variable_is_one_sentence_that_names_it(environ: dict[str, str], message: str) -> None:
    assert environment.read(environ).problems == (message,)


def test_a_variable_that_resembles_nothing_is_a_warning() -> None:
    reading = environment.read({"MODELHOST_XYZZY": "1"})
    assert reading.problems == ()
    assert reading.warnings == ("unknown environment variable MODELHOST_XYZZY",)


@pytest.mark.parametrize("name", sorted(environment.OTHER_VARIABLES))
def test_the_variables_of_commands_are_known(name: str) -> None:
    reading = environment.read({name: "x"})
    assert (reading.problems, reading.warnings) == ((), ())


@pytest.mark.promise("candle-vllm.variables.keep-alive")
def test_keep_alive_interval_of_candle_vllm_is_in_milliseconds_and_gives_way_to_our_own() -> None:
    assert values({"KEEP_ALIVE_INTERVAL": "500"}) == {"keep_alive_interval": 0.5}
    both = {"KEEP_ALIVE_INTERVAL": "500", "MODELHOST_KEEP_ALIVE_INTERVAL": "2"}
    assert values(both) == {"keep_alive_interval": 2.0}


def test_one_api_key_may_hold_a_comma_and_gives_way_to_the_list() -> None:
    assert values({"MODELHOST_API_KEY": "a,b"}) == {"api_keys": ("a,b",)}
    assert values({"MODELHOST_API_KEY": "a", "MODELHOST_API_KEYS": "b"}) == {"api_keys": ("b",)}


def test_what_kubernetes_sets_for_a_service_called_modelhost_is_not_taken_for_settings() -> None:
    reading = environment.read(
        {
            "MODELHOST_PORT": "tcp://10.0.0.1:8000",
            "MODELHOST_PORT_8000_TCP_ADDR": "10.0.0.1",
            "MODELHOST_SERVICE_HOST": "10.0.0.1",
            "MODELHOST_SERVICE_PORT": "8000",
        }
    )
    assert (reading.given, reading.problems) == ((), ())
    assert reading.warnings == (
        'MODELHOST_PORT is ignored: it is what Kubernetes sets for a service called "modelhost"',
    )


def test_the_process_environment_is_read_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELHOST_URL", "http://here")
    assert environment.current()["MODELHOST_URL"] == "http://here"


@pytest.mark.promise("candle-vllm.variables.models-config")
def test_the_registry_of_candle_vllm_is_found_and_gives_way_to_our_own() -> None:
    assert values({"CANDLE_VLLM_MODELS_CONFIG": "a.yaml"}) == {"models_config": "a.yaml"}
    both = {"CANDLE_VLLM_MODELS_CONFIG": "a.yaml", "MODELHOST_MODELS_CONFIG": "b.yaml"}
    assert values(both) == {"models_config": "b.yaml"}


def test_a_wrong_variable_of_a_worker_is_not_repeated() -> None:
    (given,) = environment.read({"MODELHOST_WORKER_ENV": '{"TOKEN": 123456}'}).given
    (problem,) = find_problems(given)
    assert "TOKEN" not in problem
    assert "123456" not in problem


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
