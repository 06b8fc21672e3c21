"""Every setting of a host, declared once: its type, its default and its meaning.

The command-line flags, the environment twins (``MODELHOST_PORT``), the keys of ``modelhost.yaml`` and the reference
page are all made from this class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic.config import JsonDict

from modelhost.config import request_defaults
from modelhost.config.databases import DatabaseUrl
from modelhost.config.engines import ENGINE_PACKAGES
from modelhost.config.value_types import SizeText, WaitForTools, url_path

if TYPE_CHECKING:
    EngineName = str
else:
    EngineName = Literal[tuple(ENGINE_PACKAGES)]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "console", "json"]
SpecialTokens = Literal["text", "raw"]
SessionEviction = Literal["fifo", "lru"]
AllowedModels = Literal["registry", "hub", "any"]
KvCacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]

Text = Annotated[str, Field(min_length=1)]
UrlPath = Annotated[str, AfterValidator(url_path)]
RequestDefaults = Annotated[dict[str, Any], AfterValidator(request_defaults.checked)]
Secret = Annotated[SecretStr, Field(min_length=1)]


def _setting(*, panel: str, description: str, default: Any = None, flags: Sequence[str] = (), **limits: Any) -> Any:
    """A field of :class:`Settings`: ``panel`` groups it in the help and on the reference page.

    ``flags`` are its flags where they are not made from its name.
    """
    extra: JsonDict = {"panel": panel, **({"flags": list(flags)} if flags else {})}
    return Field(default=default, description=description, json_schema_extra=extra, **limits)


class Settings(BaseModel):
    """One frozen object that holds the effective configuration of a host."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: Text | None = _setting(
        description="What to serve: nothing (the bundled modelhost-nano), a GGUF file, a Hugging Face directory, "
        "a hub id `org/name[:file-or-quant]`, or the base URL of an OpenAI-compatible server (several: with commas).",
        panel="Model",
    )
    alias: tuple[Text, ...] = _setting(
        default=(),
        description="Names under which the model answers; the first is its main name. Default: from the file's name.",
        panel="Model",
    )
    revision: Text | None = _setting(description="Branch, tag or commit of a model from the hub.", panel="Model")
    engine: EngineName | None = _setting(
        description="The engine that runs the model. Default: chosen by the model's format and the machine.",
        panel="Model",
    )
    engine_options: dict[str, Any] = _setting(
        default={},
        description="Options of the engine, as `key=value`; the engine checks them.",
        panel="Engine",
        flags=("--engine-option",),
    )
    remote_api_key: Secret | None = _setting(description="API key for the server of a remote model.", panel="Model")

    worker_python: Text | None = _setting(
        description="Python that runs the engine, such as that of another virtual environment with modelhost "
        "installed. Default: the host's own.",
        panel="Engine",
    )
    worker_env: dict[str, SecretStr] = _setting(
        default={}, description="Environment variables of the worker, as `KEY=value`.", panel="Engine"
    )

    models_config: Text | None = _setting(
        description="Registry of models, YAML or JSON; the running host applies changes to it. Default: "
        "`models.yaml`, `models.yml` or `models.json`, if it exists.",
        panel="Several models",
    )
    memory_budget: SizeText | None = _setting(
        description="Memory that all models together may use: bytes, `24GB`, `24GiB` or `80%` of the machine's "
        "memory. Default: 90%.",
        panel="Several models",
    )
    gpu_memory_budget: SizeText | None = _setting(
        description="The same for each GPU. Default: 90%.", panel="Several models"
    )
    max_models: int | None = _setting(
        ge=1,
        description="Maximum number of models loaded at the same time. Default: as many as fit.",
        panel="Several models",
    )
    model_patterns: dict[str, str] = _setting(
        default={"claude-*": "*"},
        description="Which model answers to names that no model has, as `PATTERN=MODEL` with `*` for any characters; "
        "the model `*` is the active one. Default: the active one to `claude-*`, as coding agents ask for it.",
        panel="Several models",
        flags=("--model-pattern",),
    )
    allow_models: AllowedModels | None = _setting(
        description="Which models clients may load in addition to the host's: `registry` (none), `hub` (models "
        "on the hub, by id) or `any` (also files on this machine, by path). Default: `hub` with API keys, or if the "
        "host listens only on this machine; otherwise `registry`.",
        panel="Several models",
    )
    idle_unload_secs: float | None = _setting(
        gt=0,
        description="Seconds without a request after which a model is unloaded. Default: never.",
        panel="Several models",
    )
    burst_requests: int = _setting(
        default=32,
        ge=1,
        description="How many more requests a loaded model may start while another waits for its memory.",
        panel="Several models",
    )
    burst_seconds: float = _setting(
        default=5.0,
        gt=0,
        description="How long a loaded model may start requests while another waits for its memory, in seconds.",
        panel="Several models",
    )
    stall_timeout: float = _setting(
        default=300.0,
        gt=0,
        description="Seconds without progress after which a request fails, or a worker that has work is restarted.",
        panel="Waiting and limits",
    )

    host: Text = _setting(default="127.0.0.1", description="Address to listen on.", panel="Listening")
    port: int = _setting(
        default=8000,
        ge=0,
        le=65535,
        description="Port to listen on; 0 picks a free one.",
        panel="Listening",
        flags=("--port", "--p"),
    )
    api_keys: tuple[Secret, ...] = _setting(
        default=(),
        description="API keys; each request must contain one (`Authorization: Bearer KEY`). With `NAME=KEY`, the "
        "audit log shows the name. Default: no key is required.",
        panel="Listening",
        flags=("--api-key",),
    )
    allow_origin: tuple[Text, ...] = _setting(
        default=(),
        description="Origins of other web pages that may use this host, such as `http://localhost:3000`, or `*`: "
        "they receive CORS headers, and may use a host without keys. Default: none.",
        panel="Listening",
    )
    allowed_host: tuple[Text, ...] = _setting(
        default=(),
        description="Host names that a host without keys accepts in addition to its addresses, `localhost` and "
        "the machine's own names, such as `llm.example`, `*.example`, or `*`.",
        panel="Listening",
    )
    max_body_mb: float = _setting(
        default=10.0, gt=0, description="Largest request body, in MB of 1,000,000 bytes.", panel="Waiting and limits"
    )
    max_connections: int = _setting(
        default=1024,
        ge=1,
        description="Maximum number of simultaneous client connections; further ones are answered with 503 and closed.",
        panel="Waiting and limits",
    )
    header_timeout: float = _setting(
        default=10.0,
        gt=0,
        description="Time limit for a client to send the head of a request, in seconds.",
        panel="Waiting and limits",
    )
    body_timeout: float = _setting(
        default=30.0,
        gt=0,
        description="How long the body of a request may pause while it arrives, in seconds.",
        panel="Waiting and limits",
    )
    idle_timeout: int = _setting(
        default=75,
        ge=1,
        description="Seconds after which a connection without a request is closed.",
        panel="Waiting and limits",
    )
    slow_reader_timeout: float = _setting(
        default=60.0,
        gt=0,
        description="How long a client may read nothing of its answer before it is disconnected, in seconds.",
        panel="Waiting and limits",
    )

    context_length: int | None = _setting(
        ge=16,
        description="Context length: maximum tokens per conversation. Default: the model's own, as memory permits.",
        panel="Engine",
    )
    slots: int | None = _setting(
        ge=1,
        le=256,
        description="Conversations that the engine processes at the same time. Default: as memory permits, up to 8.",
        panel="Engine",
    )
    max_slots: int | None = _setting(
        ge=1,
        le=256,
        description="Maximum number of slots if `slots` is not set. Default: 8.",
        panel="Engine",
    )
    threads: int | None = _setting(
        ge=1,
        description="CPU threads for the model, at most the cores of the machine or container. Default: for "
        "llama.cpp one per fast core, for other engines one less than there are cores.",
        panel="Engine",
    )
    gpu_layers: int | None = _setting(
        ge=0,
        description="Layers to place on the GPUs, whether they fit or not; 0 keeps the model off the GPUs. "
        "Default: as many as fit into the free memory; none without a GPU.",
        panel="Engine",
    )
    kv_cache_type: KvCacheType = _setting(
        default="f16", description="Number format of the key-value cache.", panel="Engine"
    )
    kv_cache_memory: SizeText | None = _setting(
        description="Memory that the key-value cache of a model may use: bytes, `4GB`, `4GiB`, or `40%` of the "
        "free memory. The number of slots and a default context are reduced to fit. Default: 25%, and no limit for "
        "slots and a context that are set.",
        panel="Engine",
    )
    lora: tuple[Text, ...] = _setting(
        default=(),
        description="LoRA adapter: `FILE` or `FILE:SCALE` for every answer, or `NAME=FILE` for requests that "
        "choose it; can be repeated.",
        panel="Engine",
    )
    draft_model: Text | None = _setting(
        description="Small GGUF model with the same vocabulary, for speculative decoding.", panel="Engine"
    )
    mmproj: Text | None = _setting(
        description="GGUF file with the vision encoder of the model, for images; `none` serves the model without "
        "one. Default: the `mmproj*.gguf` beside the model, if it exists.",
        panel="Engine",
    )
    chat_template: Text | None = _setting(
        description="Jinja chat template to use instead of the model's own: a file, the text itself, or the name "
        "of one included with modelhost: alpaca, chatml, gemma, llama2, llama3, mistral, phi3, plain, vicuna, zephyr.",
        panel="Model",
    )

    special_tokens: SpecialTokens = _setting(
        default="text",
        description="How to read names of special tokens, such as `<|im_end|>`, in messages of users and tools: "
        "as `text`, or `raw`, as the tokens themselves, which can forge turns.",
        panel="Model",
    )
    special_token_list: tuple[Text, ...] = _setting(
        default=(),
        description="Special token of a remote model, whose vocabulary the host cannot read; can be repeated. "
        "For other models: a name to neutralise in addition to those of the vocabulary.",
        panel="Model",
        flags=("--special-token",),
    )

    request_defaults: RequestDefaults = _setting(
        default={},
        description="Request defaults: values for requests that do not set them, such as `temperature=0.7`. "
        "Those of a registry entry take precedence.",
        panel="Model",
        flags=("--request-default",),
    )

    request_timeout: float = _setting(
        default=30.0,
        gt=0,
        description="How long a request may wait for its model to be ready, in seconds.",
        panel="Waiting and limits",
    )
    load_timeout: float | None = _setting(
        gt=0,
        description="Time limit for loading a model, in seconds. Default: 60, plus 1 for every 50 MB.",
        panel="Waiting and limits",
    )
    queue_size: int = _setting(
        default=10,
        ge=0,
        description="Maximum number of requests that wait for a model that is not ready; further ones are refused.",
        panel="Waiting and limits",
    )
    max_in_flight: int = _setting(
        default=256,
        ge=1,
        le=4096,
        description="Maximum number of requests that a ready model processes at the same time; its engine "
        "batches them.",
        panel="Waiting and limits",
    )
    keep_alive_interval: float = _setting(
        default=15.0,
        gt=0,
        description="Seconds of silence after which a waiting stream receives a comment line.",
        panel="Waiting and limits",
    )
    shutdown_timeout: float = _setting(
        default=30.0,
        ge=0,
        description="How long requests at work may continue when the host is stopped, in seconds.",
        panel="Waiting and limits",
    )

    mcp_config: Text | None = _setting(
        description="File with the MCP servers whose tools the models can use, as JSON or YAML; the running host "
        "applies changes to it. Default: `mcp.json`, if it exists.",
        panel="Tools",
    )
    max_tool_turns: int = _setting(
        default=10,
        ge=1,
        le=100,
        description="Maximum number of turns in one answer with tool calls.",
        panel="Tools",
    )
    max_tool_depth: int = _setting(
        default=5,
        ge=1,
        le=100,
        description="Maximum depth of nested tool calls, if a tool sends requests to the host that called it.",
        panel="Tools",
    )
    tool_loop_timeout: float = _setting(
        default=600.0, gt=0, description="Time limit for one answer with tool calls, in seconds.", panel="Tools"
    )
    question_timeout: float = _setting(
        default=120.0,
        gt=0,
        description="How long a request for approval or for input (elicitation) waits for an answer, in seconds.",
        panel="Tools",
    )
    wait_for_tools: WaitForTools = _setting(
        default="requests",
        description="What waits for MCP servers that are still starting: `requests` for their tools, once per "
        "server, for its `connect_timeout_seconds` but at most 15 s; with `ready`, also the host before it loads the "
        "model and listens; with `never`, nothing. `true` is `ready`, `false` is `never`.",
        panel="Tools",
    )
    stable_prompts: bool = _setting(
        default=True,
        description="Remove lines of system prompts that are different in each request of a coding agent, so that the "
        "engine reuses the prompt that it has computed. They come over Anthropic's API, from Claude Code.",
        panel="Engine",
    )
    mcp_port: int | None = _setting(
        ge=0,
        le=65535,
        description="Port of the host's own MCP servers (`/mcp`), on the same address; 0 picks a free one. "
        "Default: the host's port.",
        panel="Tools",
    )
    insecure: bool = _setting(
        default=False,
        description="Listen beyond this machine without an API key even though tools are configured.",
        panel="Tools",
    )

    data_dir: Text | None = _setting(
        description="Directory for the host's database and saved prompt caches. Default: `modelhost` in the "
        "user's data directory.",
        panel="State",
    )
    database_url: DatabaseUrl | None = _setting(
        description="Database for sessions, saved states and the audit log: `sqlite:///PATH`, or "
        "`postgresql://USER:PASSWORD@HOST/NAME`. Default: SQLite, `modelhost.db` in `data_dir`.",
        panel="State",
    )
    max_sessions: int = _setting(
        default=100,
        ge=1,
        description="Maximum number of sessions; beyond it, an unused one is dropped: see `session_eviction`.",
        panel="State",
    )
    session_eviction: SessionEviction = _setting(
        default="fifo",
        description="Which session is dropped: `fifo`, the one that was created first; or `lru`, the least "
        "recently used one.",
        panel="State",
    )
    max_session_messages: int = _setting(
        default=50,
        ge=2,
        description="Maximum number of messages in a session; the oldest are removed first, and the system "
        "message stays.",
        panel="State",
    )
    session_timeout: float = _setting(
        default=60.0,
        gt=0,
        description="How long a request waits for a session that another host is using, in seconds.",
        panel="State",
    )
    audit_retention_days: int = _setting(
        default=90, ge=1, description="How long the audit log keeps its entries, in days.", panel="State"
    )

    system_prompt: str | None = _setting(
        description="System message before each prompt of `POST /`; chat completions contain their own.",
        panel="Prompts (POST /)",
    )
    prompt_path: tuple[UrlPath, ...] = _setting(
        default=(),
        description="Additional path that accepts prompts like `/`, such as `/ask`; can be repeated.",
        panel="Prompts (POST /)",
    )
    only_prompt: bool = _setting(
        default=False,
        description="Serve only prompts, without any other endpoint.",
        panel="Prompts (POST /)",
    )
    strict_prompts: bool = _setting(
        default=False,
        description="Answer prompts only with LLM-Server's statuses (200, 400, 405, 413, 500), and use its "
        "`Error` format also for requests that are refused before their path is known.",
        panel="Prompts (POST /)",
    )

    log_level: LogLevel = _setting(default="info", description="Lowest level that is logged.", panel="Logging")
    log_format: LogFormat = _setting(
        default="auto",
        description="`console`, `json`, or `auto`: console on a terminal, JSON otherwise.",
        panel="Logging",
    )
    log_file: Text | None = _setting(
        description="File for the log in addition to standard error, including the output of workers and MCP "
        "servers. At midnight it is renamed to `NAME-YYYYMMDD`; files are never deleted.",
        panel="Logging",
    )
    log_prompts: bool = _setting(
        default=False,
        description="Write the prompts and responses of `POST /`, and the output of workers and MCP servers, to "
        "`log_file` at every `log_level`. No other log contains them.",
        panel="Logging",
    )
