"""Every setting of a host, declared once: its type, its default and its meaning.

The command-line flags, the environment twins (``MODELHOST_PORT``), the keys of ``modelhost.yaml`` and the reference
page are all made from this class.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic.config import JsonDict

from modelhost.config import request_defaults, value_types
from modelhost.config.alerts import AlertRules, Webhook
from modelhost.config.databases import DatabaseUrl
from modelhost.config.engines import ENGINE_PACKAGES
from modelhost.config.value_types import HostName, HttpUrl, MetricLevels, SizeText, UrlPath, WaitForTools

if TYPE_CHECKING:
    EngineName = str
else:
    EngineName = Literal[tuple(ENGINE_PACKAGES)]

Text = Annotated[str, Field(min_length=1)]
RequestDefaults = Annotated[dict[str, Any], AfterValidator(request_defaults.checked)]
Secret = Annotated[SecretStr, Field(min_length=1)]


def _setting(description: str, *, panel: str, default: Any = None, flags: Sequence[str] = (), **limits: Any) -> Any:
    """A field of :class:`Settings`; ``panel`` groups it in the help, ``flags`` replace those made from its name."""
    extra: JsonDict = {"panel": panel, **({"flags": list(flags)} if flags else {})}
    return Field(default=default, description=description, json_schema_extra=extra, **limits)


_model = partial(_setting, panel="Model")
_engine = partial(_setting, panel="Engine")
_several_models = partial(_setting, panel="Several models")
_limit = partial(_setting, panel="Waiting and limits")
_listening = partial(_setting, panel="Listening")
_tools = partial(_setting, panel="Tools")
_connections = partial(_setting, panel="Connections for clients")
_state = partial(_setting, panel="State")
_prompts = partial(_setting, panel="Prompts (POST /)")
_monitoring = partial(_setting, panel="Monitoring")
_logging = partial(_setting, panel="Logging")


class Settings(BaseModel):
    """One frozen object that holds the effective configuration of a host."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: Text | None = _model(
        "What to serve: nothing (the bundled modelhost-nano), a GGUF file, a Hugging Face directory, "
        "a hub id `org/name[:file-or-quant]`, or the base URL of an OpenAI-compatible server (several: with commas)."
    )
    alias: tuple[Text, ...] = _model(
        "Names under which the model answers; the first is its main name. Default: from the file's name.", default=()
    )
    revision: Text | None = _model("Branch, tag or commit of a model from the hub.")
    engine: EngineName | None = _model(
        "The engine that runs the model. Default: chosen by the model's format and the machine."
    )
    engine_options: dict[str, Any] = _engine(
        "Options of the engine, as `key=value`; the engine checks them.", default={}, flags=("--engine-option",)
    )
    remote_api_key: Secret | None = _model("API key for the server of a remote model.")

    worker_python: Text | None = _engine(
        "Python that runs the engine, such as that of another virtual environment with modelhost "
        "installed. Default: the host's own."
    )
    worker_env: dict[str, SecretStr] = _engine("Environment variables of the worker, as `KEY=value`.", default={})

    models_config: Text | None = _several_models(
        "Registry of models, YAML or JSON; the running host applies changes to it. Default: "
        "`models.yaml`, `models.yml` or `models.json`, if it exists."
    )
    memory_budget: SizeText | None = _several_models(
        "Memory that all models together may use: bytes, `24GB`, `24GiB` or `80%` of the machine's "
        "memory. Default: 90%."
    )
    gpu_memory_budget: SizeText | None = _several_models("The same for each GPU. Default: 90%.")
    max_models: int | None = _several_models(
        "Maximum number of models loaded at the same time. Default: as many as fit.", ge=1
    )
    chat_speech_model: Text | None = _several_models(
        "Model that speaks the answers to chats with `modalities` of text and audio. Default: none."
    )
    model_patterns: dict[str, str] = _several_models(
        "Which model answers to names that no model has, as `PATTERN=MODEL` with `*` for any characters; "
        "the model `*` is the active one. Default: the active one to `claude-*`, as coding agents ask for it.",
        default={"claude-*": "*"},
        flags=("--model-pattern",),
    )
    require_model: bool = _several_models("Refuse requests of OpenAI's APIs without `model`.", default=False)
    allow_models: value_types.AllowedModels | None = _several_models(
        "Which models clients may load in addition to the host's: `registry` (none), `hub` (models "
        "on the hub, by id) or `any` (also files on this machine, by path). Default: `hub` with API keys, or if the "
        "host listens only on this machine; otherwise `registry`."
    )
    idle_unload_secs: float | None = _several_models(
        "Seconds without a request after which a model is unloaded. Default: never.", gt=0
    )
    burst_requests: int = _several_models(
        "How many more requests a loaded model may start while another waits for its memory.", default=32, ge=1
    )
    burst_seconds: float = _several_models(
        "How long a loaded model may start requests while another waits for its memory, in seconds.", default=5.0, gt=0
    )
    stall_timeout: float = _limit(
        "Seconds without progress after which a request fails, or a worker that has work is restarted.",
        default=300.0,
        gt=0,
    )

    host: Text = _listening("Address to listen on.", default="127.0.0.1")
    port: int = _listening(
        "Port to listen on; 0 picks a free one.", default=8000, ge=0, le=65535, flags=("--port", "--p")
    )
    ollama: bool = _listening(
        "Also listen where Ollama does, for its clients: on `ollama_port`, on the same address. Without "
        "it, `/api` is on the host's port, too.",
        default=False,
    )
    ollama_port: int = _listening("Port for `ollama`; 0 picks a free one.", default=11434, ge=0, le=65535)
    api_keys: tuple[Secret, ...] = _listening(
        "API keys; each request must contain one (`Authorization: Bearer KEY`). With `NAME=KEY`, the "
        "audit log shows the name. Default: no key is required.",
        default=(),
        flags=("--api-key",),
    )
    allow_origin: tuple[Text, ...] = _listening(
        "Origins of other web pages that may use this host, such as `http://localhost:3000`, or `*`: "
        "they receive CORS headers, and may use a host without keys. Default: none.",
        default=(),
    )
    allowed_host: tuple[Text, ...] = _listening(
        "Host names that a host without keys accepts in addition to its addresses, `localhost` and "
        "the machine's own names, such as `llm.example`, `*.example`, or `*`.",
        default=(),
    )
    max_body_mb: float = _limit("Largest request body, in MB of 1,000,000 bytes.", default=10.0, gt=0)
    max_blob_gb: float = _limit(
        "Largest file that a client may upload to create a model (`/api/blobs`), in GB of 1,000,000,000 bytes.",
        default=100.0,
        gt=0,
    )
    max_connections: int = _limit(
        "Maximum number of simultaneous client connections; further ones are answered with 503 and closed.",
        default=1024,
        ge=1,
    )
    header_timeout: float = _limit(
        "Time limit for a client to send the head of a request, in seconds.", default=10.0, gt=0
    )
    body_timeout: float = _limit(
        "How long the body of a request may pause while it arrives, in seconds.", default=30.0, gt=0
    )
    idle_timeout: int = _limit("Seconds after which a connection without a request is closed.", default=75, ge=1)
    slow_reader_timeout: float = _limit(
        "How long a client may read nothing of its answer before it is disconnected, in seconds.", default=60.0, gt=0
    )

    context_length: int | None = _engine(
        "Context length: maximum tokens per conversation. Default: the model's own, as memory permits.", ge=16
    )
    slots: int | None = _engine(
        "Conversations that the engine processes at the same time. Default: as memory permits, up to 8.", ge=1, le=256
    )
    max_slots: int | None = _engine("Maximum number of slots if `slots` is not set. Default: 8.", ge=1, le=256)
    threads: int | None = _engine(
        "CPU threads for the model, at most the cores of the machine or container. Default: for "
        "llama.cpp one per fast core, for other engines one less than there are cores.",
        ge=1,
    )
    gpu_layers: int | None = _engine(
        "Layers to place on the GPUs, whether they fit or not; 0 keeps the model off the GPUs. "
        "Default: as many as fit into the free memory; none without a GPU.",
        ge=0,
    )
    kv_cache_type: value_types.KvCacheType = _engine("Number format of the key-value cache.", default="f16")
    kv_cache_memory: SizeText | None = _engine(
        "Memory that the key-value cache of a model may use: bytes, `4GB`, `4GiB`, or `40%` of the "
        "free memory. The number of slots and a default context are reduced to fit. Default: 25%, and no limit for "
        "slots and a context that are set."
    )
    lora: tuple[Text, ...] = _engine(
        "LoRA adapter: `FILE` or `FILE:SCALE` for every answer, or `NAME=FILE` for requests that "
        "choose it; can be repeated.",
        default=(),
    )
    draft_model: Text | None = _engine("Small GGUF model with the same vocabulary, for speculative decoding.")
    mmproj: Text | None = _engine(
        "GGUF file with the encoder of the model for images, sound or both; `none` serves the model "
        "without one. Default: the `mmproj*.gguf` beside the model, if it exists."
    )
    chat_template: Text | None = _model(
        "Jinja chat template to use instead of the model's own: a file, the text itself, or the name of "
        "one included with modelhost: alpaca, chatml, gemma, llama2, llama3, mistral, phi3, phi4, plain, vicuna, "
        "zephyr."
    )

    special_tokens: value_types.SpecialTokens = _model(
        "How to read names of special tokens, such as `<|im_end|>`, in messages of users and tools: "
        "as `text`, or `raw`, as the tokens themselves, which can forge turns.",
        default="text",
    )
    special_token_list: tuple[Text, ...] = _model(
        "Special token of a remote model, whose vocabulary the host cannot read; can be repeated. "
        "For other models: a name to neutralise in addition to those of the vocabulary.",
        default=(),
        flags=("--special-token",),
    )

    request_defaults: RequestDefaults = _model(
        "Request defaults: values for requests that do not set them, such as `temperature=0.7`. "
        "Those of a registry entry take precedence.",
        default={},
        flags=("--request-default",),
    )

    request_timeout: float = _limit(
        "How long a request may wait for its model to be ready, in seconds.", default=30.0, gt=0
    )
    load_timeout: float | None = _limit(
        "Time limit for loading a model, in seconds. Default: 60, plus 1 for every 50 MB.", gt=0
    )
    queue_size: int = _limit(
        "Maximum number of requests that wait for a model that is not ready; further ones are refused.",
        default=10,
        ge=0,
    )
    max_in_flight: int = _limit(
        "Maximum number of requests that a ready model processes at the same time; its engine batches them.",
        default=256,
        ge=1,
        le=4096,
    )
    keep_alive_interval: float = _limit(
        "Seconds of silence after which a waiting stream receives a comment line.", default=15.0, gt=0
    )
    shutdown_timeout: float = _limit(
        "How long requests at work may continue when the host is stopped, in seconds.", default=30.0, ge=0
    )

    mcp_config: Text | None = _tools(
        "File with the MCP servers whose tools the models can use, as JSON or YAML; the running host "
        "applies changes to it. Default: `mcp.json`, if it exists."
    )
    max_tool_turns: int = _tools("Maximum number of turns in one answer with tool calls.", default=10, ge=1, le=100)
    max_tool_depth: int = _tools(
        "Maximum depth of nested tool calls, if a tool sends requests to the host that called it.",
        default=5,
        ge=1,
        le=100,
    )
    tool_loop_timeout: float = _tools("Time limit for one answer with tool calls, in seconds.", default=600.0, gt=0)
    question_timeout: float = _tools(
        "How long a request for approval or for input (elicitation) waits for an answer, in seconds.",
        default=120.0,
        gt=0,
    )
    wait_for_tools: WaitForTools = _tools(
        "What waits for MCP servers that are still starting: `requests` for their tools, once per "
        "server, for its `connect_timeout_seconds` but at most 15 s; with `ready`, also the host before it loads the "
        "model and listens; with `never`, nothing. `true` is `ready`, `false` is `never`.",
        default="requests",
    )
    stable_prompts: bool = _engine(
        "Remove lines of system prompts that are different in each request of a coding agent, so that the "
        "engine reuses the prompt that it has computed. They come over Anthropic's API, from Claude Code.",
        default=True,
    )
    mcp_port: int | None = _tools(
        "Port of the host's own MCP servers (`/mcp`), on the same address; 0 picks a free one. "
        "Default: the host's port.",
        ge=0,
        le=65535,
    )
    insecure: bool = _tools(
        "Listen beyond this machine without an API key even though tools are configured.", default=False
    )

    fetch_urls: bool = _connections(
        "Fetch images and documents that requests give as URLs, from public addresses.", default=False
    )
    remote_mcp_servers: bool = _connections(
        "Connect to MCP servers that requests name by URL, at public addresses, while they are answered.", default=False
    )
    fetch_hosts: tuple[HostName, ...] = _connections(
        "Host, as `name` or `name:port`, that requests may name even though its address is not public; "
        "can be repeated.",
        default=(),
        flags=("--fetch-host",),
    )

    data_dir: Text | None = _state(
        "Directory for the host's database and saved prompt caches. Default: `modelhost` in the user's data directory."
    )
    database_url: DatabaseUrl | None = _state(
        "Database for sessions, saved states, responses and the audit log: `sqlite:///PATH`, or "
        "`postgresql://USER:PASSWORD@HOST/NAME`. Default: SQLite, `modelhost.db` in `data_dir`."
    )
    max_sessions: int = _state(
        "Maximum number of sessions; beyond it, an unused one is dropped: see `session_eviction`.", default=100, ge=1
    )
    session_eviction: value_types.SessionEviction = _state(
        "Which session is dropped: `fifo`, the one that was created first; or `lru`, the least recently used one.",
        default="fifo",
    )
    max_session_messages: int = _state(
        "Maximum number of messages in a session; the oldest are removed first, and the system message stays.",
        default=50,
        ge=2,
    )
    session_timeout: float = _state(
        "How long a request waits for a session that another host is using, in seconds.", default=60.0, gt=0
    )
    max_responses: int = _state(
        "Maximum number of stored responses (`/v1/responses`), and of conversations; beyond it, the least "
        "recently used ones are deleted.",
        default=10_000,
        ge=1,
    )
    max_responses_mb: float = _state(
        "Maximum size of all stored responses and conversations, in MB; beyond it, the least recently used "
        "ones are deleted.",
        default=1000.0,
        gt=0,
    )
    response_retention_days: int = _state(
        "How long unused responses and conversations are kept, in days.", default=30, ge=1, le=36_500
    )
    image_files_mb: float = _state(
        "Disk space for images that answers name by URL, in MB; the oldest make room. Each is kept for an hour.",
        default=500.0,
        gt=0,
    )
    audit_retention_days: int = _state("How long the audit log keeps its entries, in days.", default=90, ge=1)

    system_prompt: str | None = _prompts(
        "System message before each prompt of `POST /`; chat completions contain their own."
    )
    prompt_path: tuple[UrlPath, ...] = _prompts(
        "Additional path that accepts prompts like `/`, such as `/ask`; can be repeated.", default=()
    )
    only_prompt: bool = _prompts("Serve only prompts, without any other endpoint.", default=False)
    strict_prompts: bool = _prompts(
        "Answer prompts only with LLM-Server's statuses (200, 400, 405, 413, 500), and use its "
        "`Error` format also for requests that are refused before their path is known.",
        default=False,
    )

    metrics_history: MetricLevels = _monitoring(
        "How finely metrics are kept in the database, and for how long: intervals, each with the age at "
        "which it is deleted. Each is a multiple of the one before it.",
        default="1s/10m,10s/6h,1m/7d,10m/90d",
    )
    metrics_cache_seconds: float = _monitoring(
        "How long `get-metrics`, `get-gpu-stats` and `get-memory-stats` give the same answer to the same "
        "parameters, instead of measuring again, in seconds; 0: never.",
        default=1.0,
        ge=0,
        le=3600,
    )
    alerts: AlertRules = _monitoring(
        "Alert rules by name: the fields to change of a rule of the host's own, those of a new rule, or "
        "`false` to switch a rule off; see docs/monitoring.md.",
        default={},
        flags=("--alert",),
    )
    alert_interval: float = _monitoring(
        "Interval between two evaluations of the alert rules, in seconds.", default=10.0, gt=0, le=300
    )
    alert_webhook: tuple[Webhook, ...] = _monitoring(
        "URL that alerts are sent to, in the format of Alertmanager's webhooks; can be repeated.", default=()
    )
    metrics_alias: value_types.MetricsAlias | None = _monitoring(
        "Add metrics under the names of another server to `/metrics`, for its dashboards: `vllm`."
    )
    otlp_endpoint: HttpUrl | None = _monitoring(
        "URL of a collector that traces are exported to over OTLP/HTTP, such as `http://127.0.0.1:4318`. "
        "Default: what OpenTelemetry's variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`), else none. Needs the extra "
        "`otel`."
    )
    otlp_content: bool = _monitoring(
        "Export messages, answers, and the arguments and results of tools in traces.", default=False
    )

    log_level: value_types.LogLevel = _logging("Lowest level that is logged.", default="info")
    log_format: value_types.LogFormat = _logging(
        "`console`, `json`, or `auto`: console on a terminal, JSON otherwise.", default="auto"
    )
    log_file: Text | None = _logging(
        "File for the log in addition to standard error, including the output of workers and MCP "
        "servers. At midnight it is renamed to `NAME-YYYYMMDD`; files are never deleted."
    )
    log_prompts: bool = _logging(
        "Write the prompts and responses of `POST /`, and the output of workers and MCP servers, to "
        "`log_file` at every `log_level`. No other log contains them.",
        default=False,
    )
