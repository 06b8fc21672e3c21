"""LLM-Server's config.json as settings of a host."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from modelhost.config.llm_server import REQUIRED, LlmServerFile
from modelhost.config.settings import Settings
from modelhost.config.sources import EffectiveConfig, load
from modelhost.errors import ConfigError
from modelhost.tools.entry import StdioTransport
from modelhost.tools.servers_file import read_servers

SEED: Mapping[str, Any] = {
    "model name": "mlx-community/Qwen3-4B-4bit",
    "listening port": 8123,
    "servers": {
        "filesystem": {
            "type": "stdio",
            "command": "npx",
            "args": ["-y", "@modelcontextprotocol/server-filesystem@latest", "/srv/files"],
        },
        "brave-search": {
            "type": "stdio",
            "command": "npx",
            "args": ["-y", "brave-search-mcp"],
            "env": {"BRAVE_API_KEY": "${BRAVE_API_KEY}"},
        },
    },
    "system prompt": "You are helpful.",
    "temperature": 0.7,
    "top_p": 0.9,
    "min_p": 0.05,
    "min_tokens_to_keep": 2,
    "log level": "trace",
    "log filename": "/var/log/llm-server.log",
}
KEY = {"BRAVE_API_KEY": "brave-4711-key"}
Read = Callable[..., EffectiveConfig]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a ``config.json`` with these keys; one that is ``...`` is left out."""

    def run(
        changes: Mapping[str, Any] | None = None, *, environ: Mapping[str, str] = KEY, **flags: Any
    ) -> EffectiveConfig:
        document = {key: value for key, value in {**SEED, **(changes or {})}.items() if value is not ...}
        (tmp_path / "config.json").write_text(json.dumps(document))
        return load(flags, config_path=LlmServerFile(), environ=environ, cwd=tmp_path)

    return run


def refusal(read: Read, changes: Mapping[str, Any], **options: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(changes, **options)
    return caught.value


def test_the_config_may_have_comments_and_trailing_commas(read: Read, tmp_path: Path) -> None:
    expected = read().settings
    path = tmp_path / "config.json"
    path.write_text("\N{BYTE ORDER MARK}// ours\n" + path.read_text().replace("}}", "},}"))
    effective = load({}, config_path=LlmServerFile(), environ=KEY, cwd=tmp_path)
    assert effective.settings == expected
    assert [server.name for server in read_servers(path, KEY).servers] == ["filesystem", "brave-search"]


@pytest.mark.promise(
    "llm-server.config.model",
    "llm-server.config.port",
    "llm-server.config.system-prompt",
    "llm-server.config.temperature",
    "llm-server.config.top-p",
    "llm-server.config.min-p",
    "llm-server.config.log-filename",
)
def test_the_config_of_the_seed_becomes_settings(read: Read) -> None:
    settings = read().settings
    assert (settings.model, settings.port) == ("mlx-community/Qwen3-4B-4bit", 8123)
    assert settings.system_prompt == "You are helpful."
    assert settings.request_defaults == {"temperature": 0.7, "top_p": 0.9, "min_p": 0.05, "min_tokens_to_keep": 2}
    assert (settings.log_level, settings.log_file) == ("debug", "/var/log/llm-server.log")
    assert settings.mcp_config == "config.json"


@pytest.mark.promise("llm-server.config.min-tokens-to-keep")
def test_one_token_is_kept_by_every_engine_and_is_asked_of_none(read: Read) -> None:
    assert "min_tokens_to_keep" not in read({"min_tokens_to_keep": 1}).settings.request_defaults


def test_what_the_contract_wants_beyond_its_keys_is_set_and_can_be_overridden(read: Read) -> None:
    settings = read().settings
    assert (settings.wait_for_tools, settings.log_prompts, settings.shutdown_timeout) == ("ready", True, 600.0)
    assert settings.strict_prompts is True
    assert read({"log_prompts": False}).settings.log_prompts is False
    assert read(shutdown_timeout="5").settings.shutdown_timeout == 5.0


@pytest.mark.promise("llm-server.config.servers")
def test_the_servers_are_read_from_the_file_itself_without_a_warning(read: Read, tmp_path: Path) -> None:
    read()
    found = read_servers(tmp_path / "config.json", KEY)
    assert found.warnings == ()
    filesystem, brave = found.servers
    assert (filesystem.name, brave.name) == ("filesystem", "brave-search")
    assert isinstance(brave.transport, StdioTransport)
    assert brave.transport.env == KEY
    assert found.secrets == frozenset(KEY.values())


@pytest.mark.promise("llm-server.config.no-servers")
def test_without_servers_no_file_of_servers_is_read_and_none_is_looked_for(read: Read, tmp_path: Path) -> None:
    (tmp_path / "mcp.json").write_text("{}")
    (tmp_path / "models.yaml").write_text("{}")
    settings = read({"servers": {}}).settings
    assert (settings.mcp_config, settings.models_config) == (None, None)


def test_every_key_may_be_written_with_underscores(read: Read) -> None:
    written = {key.replace(" ", "_"): value for key, value in SEED.items()}
    assert read({**dict.fromkeys(SEED, ...), **written}).settings == read().settings


@pytest.mark.promise("llm-server.config.required")
@pytest.mark.parametrize("key", REQUIRED)
@pytest.mark.parametrize("value", [..., None], ids=["left out", "null"])
def test_a_missing_value_is_an_error_that_names_it(read: Read, key: str, value: Any) -> None:
    error = refusal(read, {key: value})
    assert error.message.startswith(f'config.json: "{key}" is missing')
    assert error.details["log_file"] == (None if key == "log filename" else "/var/log/llm-server.log")


def test_all_that_is_missing_is_named_at_once(read: Read) -> None:
    error = refusal(read, dict.fromkeys(SEED, ...))
    assert [key for key in REQUIRED if f'"{key}" is missing' not in error.message] == []


def test_two_spellings_of_one_key_are_refused(read: Read) -> None:
    error = refusal(read, {"model_name": "other"})
    assert '"model name" and "model_name" are two spellings of one key' in error.message


def test_an_unknown_key_is_refused_with_the_nearest_one(read: Read) -> None:
    assert 'unknown key "temprature"; did you mean "temperature"?' in refusal(read, {"temprature": 1}).message


def test_other_settings_may_stand_in_the_file_under_their_own_names(read: Read) -> None:
    settings = read({"engine": "scripted", "prompt_path": ["/ask"], "alias": "a"}).settings
    assert (settings.engine, settings.prompt_path, settings.alias) == ("scripted", ("/ask",), ("a",))


@pytest.mark.parametrize(("key", "own"), [("port", '"listening port"'), ("request_defaults", '"temperature"')])
def test_a_setting_that_has_a_key_of_its_own_is_refused_under_its_other_name(read: Read, key: str, own: str) -> None:
    message = refusal(read, {key: 1}).message
    assert f'"{key}" has another name in this file' in message
    assert own in message


@pytest.mark.promise("llm-server.config.log-level", "llm-server.log.level")
@pytest.mark.parametrize(
    ("given", "level"),
    [("trace", "debug"), ("debug", "debug"), ("info", "info"), ("WARNING", "warning"), ("error", "error")],
)
def test_log_levels(read: Read, given: str, level: str) -> None:
    assert read({"log level": given}).settings.log_level == level


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"listening port": "8080"}, '"listening port": expected an integer, got "8080"'),
        ({"listening port": 70000}, '"listening port": must be at most 65535, got 70000'),
        ({"model name": ""}, '"model name": must not be empty'),
        ({"temperature": "hot"}, '"temperature": expected a number, got "hot"'),
        ({"top_p": 1.5}, '"top_p": must be at most 1, got 1.5'),
        ({"min_tokens_to_keep": 0}, '"min_tokens_to_keep": must be at least 1, got 0'),
        (
            {"log level": "loud"},
            '"log level": expected one of trace, debug, info, warning, error, critical; got "loud"',
        ),
        ({"log level": 3}, '"log level": expected one of trace, debug, info, warning, error, critical; got 3'),
        ({"prompt_path": "ask"}, '"prompt_path", item 1: '),
    ],
)
def test_a_value_that_does_not_fit_is_named_as_it_is_written(read: Read, changes: Mapping[str, Any], said: str) -> None:
    assert refusal(read, changes).message.startswith(f"config.json: {said}")


@pytest.mark.promise("llm-server.secrets")
def test_a_variable_comes_from_the_environment_before_the_dotenv_file(read: Read, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PROMPT=from the file\nPORT=9000\n")
    changes = {"system prompt": "${PROMPT}", "listening port": "${PORT}"}
    assert read(changes).settings.system_prompt == "from the file"
    assert read(changes).settings.port == 9000
    assert read(changes, environ={**KEY, "PROMPT": "from outside"}).settings.system_prompt == "from outside"


def test_a_variable_that_is_set_nowhere_is_an_error_that_names_it(read: Read, tmp_path: Path) -> None:
    error = refusal(read, {}, environ={})
    assert error.message == (
        'config.json: "servers".brave-search.env.BRAVE_API_KEY: '
        "the environment variable BRAVE_API_KEY is not set, nor is it in .env"
    )
    assert error.details["log_file"] == "/var/log/llm-server.log"
    (tmp_path / ".env").write_text("BRAVE_API_KEY=brave-4711-key\n")
    assert read(environ={}).settings.mcp_config == "config.json"


@pytest.mark.parametrize("key", ["listening port", "temperature"])
def test_the_content_of_a_variable_is_not_repeated(read: Read, key: str) -> None:
    message = refusal(read, {key: "${BRAVE_API_KEY}"}).message
    assert f'"{key}"' in message
    assert "brave-4711-key" not in message


def test_the_file_is_known_by_its_keys(tmp_path: Path) -> None:
    (tmp_path / "any.json").write_text(json.dumps({**SEED, "servers": {}}))
    effective = load({}, config_path=Path("any.json"), environ={}, cwd=tmp_path)
    assert effective.settings.port == 8123


def test_an_ordinary_file_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "modelhost.json").write_text('{"port": 9}')
    assert load({}, config_path=None, environ={}, cwd=tmp_path).settings == Settings(port=9)


def test_without_a_config_json_it_is_said_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--llm-server: there is no config\.json here; name the file with --config"):
        load({}, config_path=LlmServerFile(), environ={}, cwd=tmp_path)


def test_flags_and_environment_win_over_the_file(read: Read) -> None:
    assert read(environ={**KEY, "MODELHOST_PORT": "1"}).settings.port == 1
    assert read(environ={**KEY, "MODELHOST_PORT": "1"}, port="2").settings.port == 2
