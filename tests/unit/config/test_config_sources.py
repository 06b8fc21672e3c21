"""Precedence, origins and the wording of problems."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from modelhost.config.fields import Origin
from modelhost.config.settings import Settings
from modelhost.config.sources import EffectiveConfig, load
from modelhost.errors import ConfigError


def effective(
    cwd: Path, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, text: str | None = None
) -> EffectiveConfig:
    if text is not None:
        (cwd / "modelhost.yaml").write_text(text)
    return load(flags or {}, config_path=None, environ=environ or {}, cwd=cwd)


def problem(
    cwd: Path, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, text: str | None = None
) -> str:
    with pytest.raises(ConfigError) as caught:
        effective(cwd, flags, environ, text)
    return caught.value.message


def test_without_any_source_every_setting_has_its_default(tmp_path: Path) -> None:
    found = effective(tmp_path)
    assert found.settings == Settings()
    assert found.file is None
    assert set(found.origins) == set(Settings.model_fields)
    assert {str(origin) for origin in found.origins.values()} == {"default"}


def test_a_flag_wins_over_the_environment_which_wins_over_the_file_which_wins_over_the_default(tmp_path: Path) -> None:
    found = effective(
        tmp_path,
        {"port": "3"},
        {"MODELHOST_PORT": "2", "MODELHOST_SLOTS": "2"},
        "port: 1\nslots: 1\nqueue_size: 1\n",
    )
    settings = found.settings
    assert (settings.port, settings.slots, settings.queue_size, settings.max_in_flight) == (3, 2, 1, 256)
    assert found.origins["port"] == Origin(kind="flag", name="--port")
    assert found.origins["slots"] == Origin(kind="environment", name="MODELHOST_SLOTS")
    assert found.origins["queue_size"] == Origin(kind="file", name="modelhost.yaml")
    assert found.origins["max_in_flight"] == Origin(kind="default")


def test_a_list_of_a_stronger_source_replaces_the_weaker_one(tmp_path: Path) -> None:
    assert effective(tmp_path, {"alias": ["c"]}, {}, "alias: [a, b]").settings.alias == ("c",)


def test_flags_that_are_not_given_are_none_and_count_as_absent(tmp_path: Path) -> None:
    assert effective(tmp_path, {"port": None}).origins["port"].kind == "default"


def test_flags_may_hold_typed_values_as_a_program_gives_them(tmp_path: Path) -> None:
    flags = {"model": tmp_path / "a.gguf", "port": 0, "alias": "one", "engine_options": {"n": 1}, "api_keys": ("k",)}
    settings = effective(tmp_path, flags).settings
    assert settings.model == str(tmp_path / "a.gguf")
    assert (settings.port, settings.alias, settings.engine_options) == (0, ("one",), {"n": 1})
    assert [key.get_secret_value() for key in settings.api_keys] == ["k"]


@pytest.mark.parametrize(
    ("given", "found"),
    [(True, "ready"), (False, "never"), ("true", "ready"), ("No", "never"), ("1", "ready"), ("requests", "requests")],
)
def test_who_waits_for_tools_may_still_be_said_as_a_boolean(tmp_path: Path, given: bool | str, found: str) -> None:
    assert effective(tmp_path, {"wait_for_tools": given}).settings.wait_for_tools == found
    assert effective(tmp_path, environ={"MODELHOST_WAIT_FOR_TOOLS": str(given)}).settings.wait_for_tools == found


@pytest.mark.parametrize(("given", "found"), [("true", "ready"), ("false", "never"), ("requests", "requests")])
def test_a_file_may_say_who_waits_for_tools_as_a_boolean_too(tmp_path: Path, given: str, found: str) -> None:
    assert effective(tmp_path, text=f"wait_for_tools: {given}").settings.wait_for_tools == found


def test_an_engine_option_flag_is_split_at_its_first_equals_sign(tmp_path: Path) -> None:
    assert effective(tmp_path, {"engine_options": ["a=1", "b=x=y"]}).settings.engine_options == {"a": "1", "b": "x=y"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"wait_for_tools": "request"},
            '--wait-for-tools: expected one of never, requests, ready, got "request"; did you mean "requests"?',
        ),
        ({"port": "abc"}, '--port: expected an integer, got "abc"'),
        ({"port": "70000"}, "--port: must be at most 65535, got 70000"),
        ({"slots": "0"}, "--slots: must be at least 1, got 0"),
        ({"request_timeout": "0"}, "--request-timeout: must be greater than 0, got 0.0"),
        ({"request_timeout": "inf"}, "--request-timeout: expected a finite number, got Infinity"),
        ({"alias": ["a", ""]}, "--alias, item 2: must not be empty"),
        ({"model": ""}, "--model: must not be empty"),
        ({"engine_options": ["fast"]}, '--engine-option: expected key=value, got "fast"'),
        (
            {"log_level": "warn"},
            '--log-level: expected one of debug, info, warning, error, got "warn"; did you mean "warning"?',
        ),
        ({"prot": "1"}, 'unknown setting "prot"; did you mean "port"?'),
    ],
)
def test_a_bad_flag_is_one_sentence_that_names_it(tmp_path: Path, flags: dict[str, Any], message: str) -> None:
    assert problem(tmp_path, flags) == message


def test_all_problems_of_all_sources_are_listed_at_once(tmp_path: Path) -> None:
    text = problem(tmp_path, {"slots": "x"}, {"MODELHOST_THREADS": "y"}, "prot: 1\nqueue_size: z\n")
    assert text.splitlines() == [
        "the configuration has 4 problems:",
        '  modelhost.yaml: unknown key "prot"; did you mean "port"?',
        '  modelhost.yaml: "queue_size": expected an integer, got "z"',
        '  MODELHOST_THREADS: expected an integer, got "y"',
        '  --slots: expected an integer, got "x"',
    ]


def test_a_bad_value_is_a_problem_even_where_a_stronger_source_overrides_it(tmp_path: Path) -> None:
    assert problem(tmp_path, {"port": "1"}, {}, "port: abc") == 'modelhost.yaml: "port": expected an integer, got "abc"'


def test_a_wrong_secret_is_not_repeated_in_the_message(tmp_path: Path) -> None:
    assert problem(tmp_path, text="api_keys: [123456]") == 'modelhost.yaml: "api_keys", item 1: expected text'


def test_api_keys_are_masked_where_settings_are_printed(tmp_path: Path) -> None:
    assert "sesame" not in repr(effective(tmp_path, {"api_keys": ["sesame"]}))
