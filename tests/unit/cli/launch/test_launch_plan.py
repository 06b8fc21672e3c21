"""How an agent is started: variables, files that take over those of the user, and the script."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from modelhost.cli.launch.plan import Agent, ConfigFile, HostKey, InDirectory, Plan, environment_of, script_of
from modelhost.errors import ConfigError

KEY = "sk-do-not-show"


def agent_of(plan: Plan, program: str = "agent") -> Agent:
    return Agent(title="The agent", program=program, install="install it", plan=lambda *_: plan)


def script(plan: Plan, *extra: str, has_key: bool = True) -> str:
    return script_of(agent_of(plan), plan, extra, has_key=has_key)


def test_the_environment_is_the_inherited_one_with_changes(tmp_path: Path) -> None:
    plan = Plan(
        variables={"URL": "http://a", "KEY": HostKey(), "FOLDER": InDirectory(), "FILE": InDirectory("f.json")},
        removed=("OTHER",),
    )
    found = environment_of(plan, {"PATH": "/bin", "URL": "before", "OTHER": "x"}, KEY, tmp_path)
    assert found == {
        "PATH": "/bin",
        "URL": "http://a",
        "KEY": KEY,
        "FOLDER": str(tmp_path),
        "FILE": str(tmp_path / "f.json"),
    }


def test_without_a_key_agents_send_the_word_none(tmp_path: Path) -> None:
    plan = Plan(variables={"KEY": HostKey()})
    assert environment_of(plan, {}, None, tmp_path) == {"KEY": "none"}
    assert script(plan, has_key=False) == "export KEY=none\nagent"


def test_a_script_names_the_variable_of_the_key() -> None:
    plan = Plan(variables={"KEY": HostKey(), "MODELHOST_API_KEY": HostKey()}, arguments=("--key", HostKey()))
    assert script(plan) == (
        'export KEY="$MODELHOST_API_KEY"\nexport MODELHOST_API_KEY\nagent --key "$MODELHOST_API_KEY"'
    )


def test_a_script_does_what_the_command_does(tmp_path: Path) -> None:
    content = {"text": "it's $HOME\n`echo no`"}
    plan = Plan(
        arguments=("--config", InDirectory("a.json")),
        variables={"QUOTED": "it's $HOME", "FOLDER": InDirectory()},
        removed=("GONE",),
        files={"a.json": ConfigFile(content=content)},
    )
    agent = tmp_path / "agent"
    agent.write_text('#!/bin/sh\ncat "$2"; printf "\\n%s|%s|%s" "$QUOTED" "${GONE-gone}" "$3"\n', "utf-8")
    agent.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TMPDIR": str(tmp_path), "GONE": "still here"}
    said = subprocess.run(
        ["sh", "-c", script(plan, "two words")], env=environment, capture_output=True, text=True, check=True
    ).stdout
    written, _, told = said.rpartition("\n")
    assert json.loads(written) == content
    assert told == "it's $HOME|gone|two words"


def test_a_file_takes_over_the_settings_of_the_users_own(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text('{"providers": {"a": {"key": "x"}}, "theme": "dark", "models": 1}', "utf-8")
    file = ConfigFile(content={"providers": {"b": {}}, "models": {"large": "b"}}, base=own)
    assert json.loads(file.text()) == {
        "providers": {"a": {"key": "x"}, "b": {}},
        "theme": "dark",
        "models": {"large": "b"},
    }


def test_without_a_file_of_the_user_there_is_nothing_to_take_over(tmp_path: Path) -> None:
    assert json.loads(ConfigFile(content={"a": 1}, base=tmp_path / "none.json").text()) == {"a": 1}


@pytest.mark.parametrize(("text", "said"), [("{", "is not JSON"), ("[]", "is not a JSON object")])
def test_a_file_of_the_user_that_cannot_be_read_is_an_error(tmp_path: Path, text: str, said: str) -> None:
    own = tmp_path / "own.json"
    own.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=said):
        ConfigFile(content={}, base=own).text()


def test_a_script_does_not_show_the_users_own_file(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"key": KEY}), "utf-8")
    found = script(Plan(files={"a.json": ConfigFile(content={"b": 1}, base=own)}))
    assert str(own) in found
    assert KEY not in found
