"""Each agent is pointed at the host, with the model, its context and the key, by what the agent documents."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from modelhost.cli.launch.command import AgentName
from modelhost.cli.launch.plan import HostKey, InDirectory, Plan, Target
from modelhost.cli.launch.recipes import AGENTS
from modelhost.operations.cards import ModelCard

URL = "http://gpu-box:8000"


def card(name: str, **fields: Any) -> ModelCard:
    given = {
        "created": 0,
        "name": name,
        "aliases": [],
        "engine": "llamacpp",
        "state": "ready",
        "status": "loaded",
        "max_model_len": None,
        "context_window": None,
        "max_tokens": None,
        "memory_usage_mb": None,
        "memory_required_mb": None,
        "slots": 1,
        "operations": ["chat"],
        "context_length": 65_536,
        **fields,
    }
    return ModelCard(id=name, **given)


QWEN, EYES = card("qwen"), card("eyes", sees_images=True, context_length=None)


def plan_of(agent: str, model: ModelCard = QWEN, **environment: str) -> Plan:
    return AGENTS[agent].plan(Target(url=URL, model=model, models=(QWEN, EYES)), environment)


def file_of(plan: Plan, name: str) -> Any:
    return json.loads(plan.files[name].text())


def test_the_command_names_every_agent_that_there_is() -> None:
    assert list(get_args(AgentName)) == list(AGENTS)


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_gets_the_key_as_a_variable_and_never_in_an_argument_or_a_file(name: str) -> None:
    plan = plan_of(name)
    assert HostKey() in plan.variables.values()
    assert HostKey() not in plan.arguments


def test_claude_code_uses_one_model_for_everything_and_knows_its_context() -> None:
    variables = plan_of("claude").variables
    assert (variables["ANTHROPIC_BASE_URL"], variables["ANTHROPIC_AUTH_TOKEN"]) == (URL, HostKey())
    assert {text for name, text in variables.items() if name.endswith("_MODEL")} == {"qwen"}
    assert variables["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "65536"
    assert variables["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == "16384"


def test_claude_code_does_not_get_what_would_send_it_elsewhere() -> None:
    assert {"ANTHROPIC_API_KEY", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"} <= set(plan_of("claude").removed)


def test_codex_gets_a_provider_by_options() -> None:
    arguments = plan_of("codex").arguments
    assert set(arguments[::2]) == {"-c"}
    settings = tomllib.loads("\n".join(map(str, arguments[1::2])))
    assert settings == {
        "model": "qwen",
        "model_provider": "modelhost",
        "model_context_window": 65536,
        "model_providers": {
            "modelhost": {
                "name": "modelhost",
                "base_url": f"{URL}/v1",
                "env_key": "MODELHOST_API_KEY",
                "wire_api": "responses",
            }
        },
    }
    assert AGENTS["codex"].api == "/v1/responses"


def test_opencode_gets_all_models_in_a_variable() -> None:
    config = json.loads(str(plan_of("opencode", EYES).variables["OPENCODE_CONFIG_CONTENT"]))
    provider = config["provider"]["modelhost"]
    assert config["model"] == config["small_model"] == "modelhost/eyes"
    assert provider["options"] == {"baseURL": f"{URL}/v1", "apiKey": "{env:MODELHOST_API_KEY}"}
    assert {name: model["limit"]["context"] for name, model in provider["models"].items()} == {
        "qwen": 65_536,
        "eyes": 32_768,
    }


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ({"CRUSH_GLOBAL_DATA": "/data/crush"}, "/data/crush"),
        ({"XDG_DATA_HOME": "/data"}, "/data/crush"),
        ({}, "~/.local/share/crush"),
    ],
)
def test_crush_gets_a_copy_of_the_users_file_with_the_host_in_it(environment: dict[str, str], directory: str) -> None:
    plan = plan_of("crush", **environment)
    file = plan.files["crush.json"]
    assert plan.variables["CRUSH_GLOBAL_DATA"] == InDirectory()
    assert file.base == Path(directory).expanduser() / "crush.json"
    provider = file.content["providers"]["modelhost"]
    assert (provider["type"], provider["base_url"]) == ("openai-compat", f"{URL}/v1")
    assert provider["api_key"] == "$MODELHOST_API_KEY"
    assert [model["supports_attachments"] for model in provider["models"]] == [False, True]
    assert set(file.content["models"]) == {"large", "small"}


def test_aider_gets_options_and_a_file_with_the_context() -> None:
    plan = plan_of("aider")
    arguments = list(plan.arguments)
    assert arguments[arguments.index("--model") + 1] == "openai/qwen"
    assert arguments[arguments.index("--openai-api-base") + 1] == f"{URL}/v1"
    assert arguments[arguments.index("--model-metadata-file") + 1] == InDirectory("models.json")
    assert file_of(plan, "models.json")["openai/qwen"]["max_input_tokens"] == 65_536


def test_continue_gets_a_file_in_which_the_chosen_model_is_the_first() -> None:
    plan = plan_of("continue", EYES)
    assert plan.arguments == ("--config", InDirectory("config.yaml"))
    config = yaml.safe_load(plan.files["config.yaml"].text())
    assert [model["name"] for model in config["models"]] == ["eyes", "qwen"]
    assert config["models"][0]["apiKey"] == "${{ secrets.MODELHOST_API_KEY }}"
    assert config["models"][0]["capabilities"] == ["tool_use", "image_input"]
