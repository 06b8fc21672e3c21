"""The rows made from ``Settings``, and the page made from the rows."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from modelhost.config import environment
from modelhost.config.fields import MASK, SETTINGS, display_text, masked
from tools.reference.settings import markdown


def test_every_setting_has_a_panel_and_a_description() -> None:
    assert [key for key, setting in SETTINGS.items() if setting.panel == "Other" or not setting.description] == []


def test_no_two_settings_share_a_flag() -> None:
    flags = [flag for setting in SETTINGS.values() for flag in setting.flags]
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize(
    ("key", "kind", "flags"),
    [
        ("model", "text", ("--model",)),
        ("port", "integer", ("--port", "--p")),
        ("request_timeout", "number", ("--request-timeout",)),
        ("engine", "choice", ("--engine",)),
        ("api_keys", "list", ("--api-key",)),
        ("engine_options", "mapping", ("--engine-option",)),
    ],
)
def test_kind_and_flags_come_from_the_class(key: str, kind: str, flags: tuple[str, ...]) -> None:
    assert (SETTINGS[key].kind, SETTINGS[key].flags) == (kind, flags)


def test_what_may_hold_a_password_is_secret() -> None:
    secret = {key for key, setting in SETTINGS.items() if setting.is_secret}
    assert secret == {"api_keys", "worker_env", "database_url", "remote_api_key", "alert_webhook"}


def test_the_page_has_a_row_for_each_setting_and_each_other_variable() -> None:
    page = markdown()
    for setting in SETTINGS.values():
        assert f"| `{setting.key}` |" in page
        assert f"`{setting.environment}`" in page
    for name in (*environment.OTHER_VARIABLES, *environment.OTHER_NAMES):
        assert f"| `{name}` |" in page


def test_every_row_of_a_table_has_as_many_cells_as_its_header() -> None:
    rows = [line.replace(r"\|", "") for line in markdown().splitlines() if line.startswith("| `")]
    assert {row.count("|") for row in rows} == {7, 3}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ((), "-"),
        ({}, "-"),
        (10.0, "10"),
        (0.5, "0.5"),
        (("a", "b"), "a, b"),
        ({"a": 1}, '{"a": 1}'),
        (True, "true"),
        ((SecretStr("sesame"),), MASK),
        ({"A": SecretStr("sesame")}, f'{{"A": "{MASK}"}}'),
    ],
)
def test_values_are_shown_on_one_line_with_secrets_masked(value: object, shown: str) -> None:
    assert display_text(value) == shown


def test_json_values_keep_their_type_with_secrets_masked() -> None:
    assert masked((SecretStr("a"), SecretStr("b"))) == [MASK, MASK]
    assert masked({"a": 1}) == {"a": 1}
