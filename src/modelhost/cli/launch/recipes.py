"""The coding agents that ``modelhost launch`` knows, and how each is pointed at a host.

None of their files are changed: they get variables, arguments, or files in a temporary directory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from modelhost.cli.launch.plan import Agent, ConfigFile, HostKey, InDirectory, Plan, Target, Value, as_json
from modelhost.config.environment import KEY_VARIABLE
from modelhost.config.paths import expand_home
from modelhost.operations.cards import ModelCard

PROVIDER: Final = "modelhost"
"""The name of the host in the configurations of agents."""
DEFAULT_CONTEXT: Final = 32_768
"""The context of a model that does not tell its own."""
MAX_OUTPUT: Final = 32_000
OUTPUT_SHARE: Final = 4
"""An answer may take a quarter of the context."""


def _context_of(model: ModelCard) -> int:
    return model.context_length or DEFAULT_CONTEXT


def _output_of(model: ModelCard) -> int:
    return min(MAX_OUTPUT, _context_of(model) // OUTPUT_SHARE)


def _claude(target: Target, _environment: Mapping[str, str]) -> Plan:
    """Source: https://code.claude.com/docs/en/env-vars and ``llm-gateway``, tried with 2.1.197."""
    name = target.model.id
    names = ("ANTHROPIC_MODEL", *(f"ANTHROPIC_DEFAULT_{kind}_MODEL" for kind in ("OPUS", "SONNET", "HAIKU", "FABLE")))
    variables: dict[str, Value] = {
        "ANTHROPIC_BASE_URL": target.url,
        "ANTHROPIC_AUTH_TOKEN": HostKey(),
        **dict.fromkeys(names, name),
        # It shortens a conversation before this context is full; without it, it expects 200,000 tokens.
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(_context_of(target.model)),
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(_output_of(target.model)),
        # Otherwise its prompt begins with a line that is different in each request.
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    clouds = ("BEDROCK", "VERTEX", "FOUNDRY", "MANTLE", "ANTHROPIC_AWS")
    removed = ("ANTHROPIC_API_KEY", "CLAUDE_CODE_SUBAGENT_MODEL", *(f"CLAUDE_CODE_USE_{each}" for each in clouds))
    return Plan(variables=variables, removed=removed)


def _codex(target: Target, _environment: Mapping[str, str]) -> Plan:
    """Source: https://developers.openai.com/codex/config-reference, tried with 0.171.0."""
    provider = {
        "name": PROVIDER,
        "base_url": target.openai_url,
        "env_key": KEY_VARIABLE,
        "wire_api": "responses",
    }
    settings: dict[str, Any] = {
        "model": target.model.id,
        "model_provider": PROVIDER,
        "model_context_window": _context_of(target.model),
        **{f"model_providers.{PROVIDER}.{key}": value for key, value in provider.items()},
    }
    # A TOML value: strings and numbers are written as in JSON.
    arguments = [word for key, value in settings.items() for word in ("-c", f"{key}={json.dumps(value)}")]
    return Plan(arguments=tuple(arguments), variables={KEY_VARIABLE: HostKey()})


def _opencode(target: Target, _environment: Mapping[str, str]) -> Plan:
    """Source: https://opencode.ai/docs/config, tried with 1.18.33. The variable takes precedence over its files."""
    models = {
        model.id: {"name": model.id, "limit": {"context": _context_of(model), "output": _output_of(model)}}
        for model in target.models
    }
    options = {"baseURL": target.openai_url, "apiKey": f"{{env:{KEY_VARIABLE}}}"}
    chosen = f"{PROVIDER}/{target.model.id}"
    config = {
        "$schema": "https://opencode.ai/config.json",
        "provider": {
            PROVIDER: {"npm": "@ai-sdk/openai-compatible", "name": PROVIDER, "options": options, "models": models}
        },
        "model": chosen,
        "small_model": chosen,
    }
    return Plan(
        variables={
            "OPENCODE_CONFIG_CONTENT": as_json(config),
            # Otherwise it fetches its list of models and newer versions of itself.
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            KEY_VARIABLE: HostKey(),
        }
    )


CRUSH_FILE: Final = "crush.json"


def _crush(target: Target, environment: Mapping[str, str]) -> Plan:
    """Source: https://github.com/charmbracelet/crush, ``internal/config``.

    The file with its latest choice of models takes precedence over the global configuration, and lies in a directory
    that a variable names: the agent gets another one, with a copy of the user's file and the host in it.
    """
    models = [
        {
            "id": model.id,
            "name": model.id,
            "context_window": _context_of(model),
            "default_max_tokens": _output_of(model),
            "supports_attachments": model.sees_images is True,
        }
        for model in target.models
    ]
    provider = {
        "name": PROVIDER,
        "type": "openai-compat",
        "base_url": target.openai_url,
        "api_key": f"${KEY_VARIABLE}",
        "models": models,
    }
    chosen = {"provider": PROVIDER, "model": target.model.id}
    config = {"providers": {PROVIDER: provider}, "models": {"large": chosen, "small": chosen}}
    return Plan(
        variables={
            "CRUSH_GLOBAL_DATA": InDirectory(),
            "CRUSH_DISABLE_PROVIDER_AUTO_UPDATE": "1",
            KEY_VARIABLE: HostKey(),
        },
        files={CRUSH_FILE: ConfigFile(content=config, base=_crush_data(environment) / CRUSH_FILE)},
    )


def _crush_data(environment: Mapping[str, str]) -> Path:
    if named := environment.get("CRUSH_GLOBAL_DATA"):
        return Path(named)
    data_home = environment.get("XDG_DATA_HOME")
    return (Path(data_home) if data_home else expand_home(Path("~/.local/share"))) / "crush"


def _aider(target: Target, _environment: Mapping[str, str]) -> Plan:
    """Source: https://aider.chat/docs/llms/openai-compat.html, tried with 0.86.2.

    What can be an argument is one, since variables of an ``.env`` file take precedence over those of the environment.
    """
    name = f"openai/{target.model.id}"
    metadata = {
        name: {
            "max_input_tokens": _context_of(target.model),
            "max_output_tokens": _output_of(target.model),
            "input_cost_per_token": 0,
            "output_cost_per_token": 0,
            "litellm_provider": "openai",
            "mode": "chat",
        }
    }
    file = "models.json"
    chosen = [word for option in ("--model", "--weak-model", "--editor-model") for word in (option, name)]
    return Plan(
        arguments=(*chosen, "--openai-api-base", target.openai_url, "--model-metadata-file", InDirectory(file)),
        variables={"OPENAI_API_KEY": HostKey()},
        files={file: ConfigFile(content=metadata)},
    )


def _continue(target: Target, _environment: Mapping[str, str]) -> Plan:
    """Source: https://docs.continue.dev/reference. JSON is YAML, too."""
    config = {
        "name": PROVIDER,
        "version": "1.0.0",
        "schema": "v1",
        "models": [
            {
                "name": model.id,
                "provider": "openai",
                "model": model.id,
                "apiBase": target.openai_url,
                "apiKey": f"${{{{ secrets.{KEY_VARIABLE} }}}}",
                "roles": ["chat", "edit", "apply"],
                "capabilities": ["tool_use", *(["image_input"] if model.sees_images else [])],
                "defaultCompletionOptions": {"contextLength": _context_of(model), "maxTokens": _output_of(model)},
            }
            for model in sorted(target.models, key=lambda model: model.id != target.model.id)
        ],
    }
    file = "config.yaml"
    return Plan(
        arguments=("--config", InDirectory(file)),
        variables={KEY_VARIABLE: HostKey()},
        files={file: ConfigFile(content=config)},
    )


AGENTS: Final[Mapping[str, Agent]] = {
    "claude": Agent(
        title="Claude Code",
        program="claude",
        install="npm install -g @anthropic-ai/claude-code",
        plan=_claude,
        api="/v1/messages",
    ),
    "codex": Agent(
        title="Codex", program="codex", install="npm install -g @openai/codex", plan=_codex, api="/v1/responses"
    ),
    "opencode": Agent(title="opencode", program="opencode", install="npm install -g opencode-ai", plan=_opencode),
    "crush": Agent(title="Crush", program="crush", install="npm install -g @charmland/crush", plan=_crush),
    "aider": Agent(title="aider", program="aider", install="pip install aider-chat", plan=_aider),
    "continue": Agent(title="Continue", program="cn", install="npm install -g @continuedev/cli", plan=_continue),
}
"""The agents by the names that people give them."""
