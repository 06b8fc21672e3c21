"""``.env`` in the working directory as a source of settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from modelhost.config.environment import read_dotenv_settings
from modelhost.config.fields import Origin
from modelhost.config.settings import Settings
from modelhost.config.sources import EffectiveConfig, load
from modelhost.errors import ConfigError

Read = Callable[..., EffectiveConfig]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """All sources, with these lines in ``.env``."""

    def run(*lines: str, environ: Mapping[str, str] | None = None, **flags: Any) -> EffectiveConfig:
        (tmp_path / ".env").write_text("\n".join(lines), "utf-8")
        return load(flags, config_path=None, environ=environ or {}, cwd=tmp_path)

    return run


@pytest.mark.promise("candle-vllm.variables.dotenv")
def test_it_wins_over_the_file_and_gives_way_to_the_environment_and_to_flags(read: Read, tmp_path: Path) -> None:
    (tmp_path / "modelhost.yaml").write_text("port: 1\nslots: 1\nqueue_size: 1\nmax_in_flight: 1\n")
    lines = ("MODELHOST_PORT=2", "export MODELHOST_SLOTS='2'", "MODELHOST_QUEUE_SIZE=2  # few", "")
    found = read(*lines, environ={"MODELHOST_SLOTS": "3", "MODELHOST_PORT": "3"}, port="4")
    settings = found.settings
    assert (settings.port, settings.slots, settings.queue_size, settings.max_in_flight) == (4, 3, 2, 1)
    assert found.origins["queue_size"] == Origin(kind=".env", name="MODELHOST_QUEUE_SIZE")
    assert str(found.origins["queue_size"]) == ".env MODELHOST_QUEUE_SIZE"


def test_an_empty_variable_of_the_environment_takes_nothing_away(read: Read) -> None:
    assert read("MODELHOST_API_KEY=sesame", environ={"MODELHOST_API_KEY": ""}).settings.api_keys


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("CANDLE_VLLM_MCP_CONFIG=tools.json", "mcp_config", "tools.json"),
        ("VLLM_MAX_SESSIONS=7", "max_sessions", 7),
        ("KEEP_ALIVE_INTERVAL=500", "keep_alive_interval", 0.5),
        ("RUST_LOG=warn", "log_level", "warning"),
    ],
)
def test_the_other_names_of_settings_count_too(read: Read, line: str, key: str, value: object) -> None:
    assert getattr(read(line).settings, key) == value


def test_the_configuration_file_may_be_named_there(read: Read, tmp_path: Path) -> None:
    for port, name in enumerate(("a.yaml", "b.yaml"), start=1):
        (tmp_path / name).write_text(f"port: {port}\n")
    assert read("MODELHOST_CONFIG=a.yaml").settings.port == 1
    assert read("MODELHOST_CONFIG=a.yaml", environ={"MODELHOST_CONFIG": "b.yaml"}).settings.port == 2


def test_what_is_for_other_programs_is_left_alone(read: Read, tmp_path: Path) -> None:
    found = read("PORT=1", "DATABASE_URL=x", "BRAVE_API_KEY=brave", "LLM_PROMPT='${HOME}'")
    assert (found.settings, found.warnings) == (Settings(), ())
    assert read_dotenv_settings(tmp_path).variables == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("MODELHOST_PORT=abc", '.env: MODELHOST_PORT: expected an integer, got "abc"'),
        ("MODELHOST_PROT=1", '.env: unknown variable MODELHOST_PROT; did you mean "MODELHOST_PORT"?'),
        ('MODELHOST_ALIAS=["a"', ".env: MODELHOST_ALIAS: broken JSON: Expecting ',' delimiter at character 5"),
        ("MODELHOST_WORKER_ENV=sesame", ".env: MODELHOST_WORKER_ENV: expected key=value"),
    ],
)
def test_a_bad_variable_is_one_sentence_that_names_file_and_variable(read: Read, line: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(line)
    assert caught.value.message == message


def test_a_variable_that_resembles_nothing_is_a_warning(read: Read) -> None:
    assert read("MODELHOST_XYZZY=1").warnings == (".env: unknown variable MODELHOST_XYZZY",)


def test_a_file_that_is_no_text_is_a_warning_and_a_folder_of_that_name_is_none(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert load({}, config_path=None, environ={}, cwd=tmp_path).warnings == ()
    (tmp_path / ".env").rmdir()
    (tmp_path / ".env").write_bytes(b"MODELHOST_PORT=\xff\n")
    found = load({}, config_path=None, environ={}, cwd=tmp_path)
    assert found.warnings == (f"{tmp_path / '.env'} is ignored: it is not UTF-8 text",)
    assert found.settings == Settings()


def test_secrets_are_in_no_representation(read: Read, tmp_path: Path) -> None:
    found = read("MODELHOST_API_KEY=sesame-4711", "MODELHOST_REMOTE_API_KEY=sesame-4711")
    assert "4711" not in f"{found!r} {read_dotenv_settings(tmp_path)!r}"
