"""Every setting of a host, declared once: its type, its default and its meaning.

The command-line flags, the environment twins (``MODELHOST_PORT``), the keys of ``modelhost.yaml`` and the reference
page are all made from this class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

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

# Where the help and the reference page put a setting, and its flags where they are not just its name.
_MODEL: Final[JsonDict] = {"panel": "Model"}
_MODELS: Final[JsonDict] = {"panel": "Several models"}
_TOOLS: Final[JsonDict] = {"panel": "Tools"}
_LISTENING: Final[JsonDict] = {"panel": "Listening"}
_ENGINE: Final[JsonDict] = {"panel": "Engine"}
_WAITING: Final[JsonDict] = {"panel": "Waiting and limits"}
_STATE: Final[JsonDict] = {"panel": "State"}
_PROMPT: Final[JsonDict] = {"panel": "Prompts (POST /)"}
_LOGGING: Final[JsonDict] = {"panel": "Logging"}


class Settings(BaseModel):
    """One frozen object that holds the effective configuration of a host."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: Text | None = Field(
        default=None,
        description="What to serve: nothing (the bundled modelhost-nano), a GGUF file, a Hugging Face directory, "
        "a hub id `org/name[:file-or-quant]`, or the base URL of an OpenAI-compatible server (several: with commas).",
        json_schema_extra=_MODEL,
    )
    alias: tuple[Text, ...] = Field(
        default=(),
        description="Names under which the model answers; the first is its main name. Default: from the file's name.",
        json_schema_extra=_MODEL,
    )
    revision: Text | None = Field(
        default=None, description="Branch, tag or commit of a model from the hub.", json_schema_extra=_MODEL
    )
    engine: EngineName | None = Field(
        default=None,
        description="The engine that runs the model. Default: chosen by the model's format.",
        json_schema_extra=_MODEL,
    )
    engine_options: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings of the engine itself, as `key=value`; checked by that engine.",
        json_schema_extra={**_ENGINE, "flags": ["--engine-option"]},
    )
    remote_api_key: Secret | None = Field(
        default=None,
        description="Key for the server of a model that is given by its URL.",
        json_schema_extra=_MODEL,
    )

    worker_python: Text | None = Field(
        default=None,
        description="Python that runs the engine, such as that of another virtual environment with modelhost in it. "
        "Default: the host's own.",
        json_schema_extra=_ENGINE,
    )
    worker_env: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Environment variables of the engine's process, as `KEY=value`.",
        json_schema_extra=_ENGINE,
    )

    models_config: Text | None = Field(
        default=None,
        description="Registry of models, YAML or JSON; it is watched while the host runs. Default: `models.yaml`, "
        "`models.yml` or `models.json` if there.",
        json_schema_extra=_MODELS,
    )
    memory_budget: SizeText | None = Field(
        default=None,
        description="Memory that all models together may take: bytes, `24GB`, `24GiB` or `80%` of the machine's. "
        "Default: 90%.",
        json_schema_extra=_MODELS,
    )
    gpu_memory_budget: SizeText | None = Field(
        default=None,
        description="The same for each GPU. Default: 90%.",
        json_schema_extra=_MODELS,
    )
    max_models: int | None = Field(
        default=None,
        ge=1,
        description="Models that may be loaded at the same time. Default: as many as fit.",
        json_schema_extra=_MODELS,
    )
    allow_models: AllowedModels | None = Field(
        default=None,
        description="What clients may have loaded besides the models of the host: `registry` (nothing), `hub` (models "
        "of the hub, by their ids) or `any` (also files of this machine, by their paths). Default: `hub` with keys, or "
        "if the host listens on this machine only; otherwise `registry`.",
        json_schema_extra=_MODELS,
    )
    idle_unload_secs: float | None = Field(
        default=None,
        gt=0,
        description="Seconds without a request after which a model is unloaded. Default: never.",
        json_schema_extra=_MODELS,
    )
    burst_requests: int = Field(
        default=32,
        ge=1,
        description="Requests that a loaded model may still begin while another one waits for its memory.",
        json_schema_extra=_MODELS,
    )
    burst_seconds: float = Field(
        default=5.0,
        gt=0,
        description="Seconds for which it may begin them.",
        json_schema_extra=_MODELS,
    )
    stall_timeout: float = Field(
        default=300.0,
        gt=0,
        description="Seconds without progress after which a request fails, or a worker that has work is started again.",
        json_schema_extra=_WAITING,
    )

    host: Text = Field(default="127.0.0.1", description="Address to listen on.", json_schema_extra=_LISTENING)
    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        description="Port to listen on; 0 picks a free one.",
        json_schema_extra={**_LISTENING, "flags": ["--port", "--p"]},
    )
    api_keys: tuple[Secret, ...] = Field(
        default=(),
        description="Keys of which each request must bring one (`Authorization: Bearer KEY`). Of `NAME=KEY`, the audit "
        "log tells the name. Default: none needed.",
        json_schema_extra={**_LISTENING, "flags": ["--api-key"]},
    )
    allow_origin: tuple[Text, ...] = Field(
        default=(),
        description="Web pages of others that may use this host, such as `http://localhost:3000`, or `*`: they get "
        "CORS headers, and may speak to a host without keys. Default: none.",
        json_schema_extra=_LISTENING,
    )
    allowed_host: tuple[Text, ...] = Field(
        default=(),
        description="Names by which a host without keys may be called besides its addresses, `localhost` and the "
        "machine's own, such as `llm.example`, `*.example`, or `*`.",
        json_schema_extra=_LISTENING,
    )
    max_body_mb: float = Field(
        default=10.0, gt=0, description="Largest request body, in MB of 1,000,000 bytes.", json_schema_extra=_WAITING
    )
    max_connections: int = Field(
        default=1024,
        ge=1,
        description="Connections of clients at the same time; one more is answered with 503 and closed.",
        json_schema_extra=_WAITING,
    )
    header_timeout: float = Field(
        default=10.0,
        gt=0,
        description="Seconds that a client has to send the head of a request.",
        json_schema_extra=_WAITING,
    )
    body_timeout: float = Field(
        default=30.0,
        gt=0,
        description="Seconds that the body of a request may stop arriving.",
        json_schema_extra=_WAITING,
    )
    idle_timeout: int = Field(
        default=75,
        ge=1,
        description="Seconds after which a connection without a request is closed.",
        json_schema_extra=_WAITING,
    )
    slow_reader_timeout: float = Field(
        default=60.0,
        gt=0,
        description="Seconds that a client may take nothing of an answer that waits for it; then it is cut off.",
        json_schema_extra=_WAITING,
    )

    context_length: int | None = Field(
        default=None,
        ge=16,
        description="Tokens that one conversation may hold. Default: the model's own, as memory allows.",
        json_schema_extra=_ENGINE,
    )
    slots: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Conversations that the engine works on at the same time. Default: by memory, up to 8.",
        json_schema_extra=_ENGINE,
    )
    max_slots: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Most conversations at once where `slots` leaves it to the memory. Default: 8.",
        json_schema_extra=_ENGINE,
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        description="CPU threads for the model, at most the cores there are or a container may use. "
        "Default: of llama.cpp one for each fast core, of the other engines one less than there are.",
        json_schema_extra=_ENGINE,
    )
    gpu_layers: int | None = Field(
        default=None,
        ge=0,
        description="Layers to put on the GPUs, whether they fit or not; 0 keeps the model off them. Default: as many "
        "as fit, by its size and the memory that is free; none without a GPU.",
        json_schema_extra=_ENGINE,
    )
    kv_cache_type: KvCacheType = Field(
        default="f16", description="Number format of the key-value cache.", json_schema_extra=_ENGINE
    )
    kv_cache_memory: SizeText | None = Field(
        default=None,
        description="Memory that the key-value cache of a model may take: bytes, `4GB`, `4GiB`, or `40%` of what is "
        "free. Slots are left out and a default context is shortened to fit. Default: 25%, and no bound for what is "
        "given.",
        json_schema_extra=_ENGINE,
    )
    lora: tuple[Text, ...] = Field(
        default=(),
        description="LoRA adapter, `FILE` or `FILE:SCALE`, that is part of every answer, or `NAME=FILE`, which "
        "requests choose; may be given repeatedly.",
        json_schema_extra=_ENGINE,
    )
    draft_model: Text | None = Field(
        default=None,
        description="Small GGUF model of the same vocabulary, for speculative decoding.",
        json_schema_extra=_ENGINE,
    )
    mmproj: Text | None = Field(
        default=None,
        description="GGUF file with the vision encoder of the model, by which it sees images; `none`: serve it "
        "without. Default: the `mmproj*.gguf` beside the model, if there.",
        json_schema_extra=_ENGINE,
    )
    chat_template: Text | None = Field(
        default=None,
        description="Jinja chat template to use instead of the model's own: a file, the text itself, or the name of "
        "one that comes with modelhost: alpaca, chatml, gemma, llama2, llama3, mistral, phi3, plain, vicuna, zephyr.",
        json_schema_extra=_MODEL,
    )

    special_tokens: SpecialTokens = Field(
        default="text",
        description="What the names of the model's special tokens, such as `<|im_end|>`, are in what users and tools "
        "write: `text`, or `raw`, the tokens themselves, with which they can forge turns.",
        json_schema_extra=_MODEL,
    )
    special_token_list: tuple[Text, ...] = Field(
        default=(),
        description="Special token of a model that is given by its URL, whose vocabulary the host cannot read; may be "
        "given repeatedly. For others: a name to neutralise beside those of the vocabulary.",
        json_schema_extra={**_MODEL, "flags": ["--special-token"]},
    )

    request_defaults: RequestDefaults = Field(
        default_factory=dict,
        description="What requests get where they are silent, as `temperature=0.7`; an entry of a registry lays its "
        "own over it.",
        json_schema_extra={**_MODEL, "flags": ["--request-default"]},
    )

    request_timeout: float = Field(
        default=30.0,
        gt=0,
        description="Seconds that a request waits for its model to be ready.",
        json_schema_extra=_WAITING,
    )
    load_timeout: float | None = Field(
        default=None,
        gt=0,
        description="Seconds that a model may take to load. Default: 60 and one more for every 50 MB.",
        json_schema_extra=_WAITING,
    )
    queue_size: int = Field(
        default=10,
        ge=0,
        description="Requests that may wait for a model that is not ready; one more is refused.",
        json_schema_extra=_WAITING,
    )
    max_in_flight: int = Field(
        default=256,
        ge=1,
        le=4096,
        description="Requests that a ready model works on at once; its engine batches them.",
        json_schema_extra=_WAITING,
    )
    keep_alive_interval: float = Field(
        default=15.0,
        gt=0,
        description="Seconds of silence after which a waiting stream gets a comment line.",
        json_schema_extra=_WAITING,
    )
    shutdown_timeout: float = Field(
        default=30.0,
        ge=0,
        description="Seconds that requests in flight get to finish when the host is stopped.",
        json_schema_extra=_WAITING,
    )

    mcp_config: Text | None = Field(
        default=None,
        description="MCP servers whose tools the models get, as JSON or YAML; the file is watched while the host runs. "
        "Default: `mcp.json` if there.",
        json_schema_extra=_TOOLS,
    )
    max_tool_turns: int = Field(
        default=10,
        ge=1,
        le=100,
        description="Turns that a model may take in one answer while it calls tools.",
        json_schema_extra=_TOOLS,
    )
    max_tool_depth: int = Field(
        default=5,
        ge=1,
        le=100,
        description="Calls of tools in which a request may stand and still have its own made, where a tool asks a "
        "host that called it.",
        json_schema_extra=_TOOLS,
    )
    tool_loop_timeout: float = Field(
        default=600.0,
        gt=0,
        description="Seconds that one answer with tools may take.",
        json_schema_extra=_TOOLS,
    )
    question_timeout: float = Field(
        default=120.0,
        gt=0,
        description="Seconds that somebody has to answer whether a tool may run, or what a server wants to know.",
        json_schema_extra=_TOOLS,
    )
    wait_for_tools: WaitForTools = Field(
        default="requests",
        description="Who waits for MCP servers that are still starting: `requests` that get their tools, each server "
        "once, for `connect_timeout_seconds` and 15 s at most; besides, with `ready`, the host before it loads the "
        "model and listens; or `never` anybody. `true` is `ready`, `false` is `never`.",
        json_schema_extra=_TOOLS,
    )
    mcp_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port of the host's own MCP servers (`/mcp`), on the same address; 0 picks a free one. "
        "Default: that of the host.",
        json_schema_extra=_TOOLS,
    )
    insecure: bool = Field(
        default=False,
        description="Listen beyond this machine without an API key although tools are configured.",
        json_schema_extra=_TOOLS,
    )

    data_dir: Text | None = Field(
        default=None,
        description="Directory for what the host keeps: its database and saved prompt caches. "
        "Default: `modelhost` in the user's data directory.",
        json_schema_extra=_STATE,
    )
    database_url: DatabaseUrl | None = Field(
        default=None,
        description="Database for sessions, saved states and the audit log: `sqlite:///PATH`, or "
        "`postgresql://USER:PASSWORD@HOST/NAME`. Default: SQLite, `modelhost.db` in `data_dir`.",
        json_schema_extra=_STATE,
    )
    max_sessions: int = Field(
        default=100,
        ge=1,
        description="Sessions that are kept; over that, one is dropped that no request has in use: see "
        "`session_eviction`.",
        json_schema_extra=_STATE,
    )
    session_eviction: SessionEviction = Field(
        default="fifo",
        description="Which session is dropped: `fifo`, the one that was begun first; or `lru`, the one that was not "
        "used for longest.",
        json_schema_extra=_STATE,
    )
    max_session_messages: int = Field(
        default=50,
        ge=2,
        description="Messages that a session keeps; the oldest go first, the system message stays.",
        json_schema_extra=_STATE,
    )
    session_timeout: float = Field(
        default=60.0,
        gt=0,
        description="Seconds that a request waits for a session that another host has in use.",
        json_schema_extra=_STATE,
    )
    audit_retention_days: int = Field(
        default=90,
        ge=1,
        description="Days for which the audit log keeps its entries.",
        json_schema_extra=_STATE,
    )

    system_prompt: str | None = Field(
        default=None,
        description="System message before each prompt that comes by `POST /`; chat completions bring their own.",
        json_schema_extra=_PROMPT,
    )
    prompt_path: tuple[UrlPath, ...] = Field(
        default=(),
        description="Further path that takes prompts as `/` does, such as `/ask`; may be given repeatedly.",
        json_schema_extra=_PROMPT,
    )
    only_prompt: bool = Field(
        default=False,
        description="Take prompts and answer nothing else: none of the other endpoints is there.",
        json_schema_extra=_PROMPT,
    )
    strict_prompts: bool = Field(
        default=False,
        description="Answer prompts with LLM-Server's statuses alone (200, 400, 405, 413, 500), and what is refused "
        "before its path is known as prompts are: with `Error`.",
        json_schema_extra=_PROMPT,
    )

    log_level: LogLevel = Field(default="info", description="Least level that is logged.", json_schema_extra=_LOGGING)
    log_format: LogFormat = Field(
        default="auto",
        description="`console`, `json`, or `auto`: console on a terminal, JSON otherwise.",
        json_schema_extra=_LOGGING,
    )
    log_file: Text | None = Field(
        default=None,
        description="File that gets the log too, with what workers and MCP servers write to theirs. At midnight it is "
        "renamed to `NAME-YYYYMMDD`; nothing is deleted.",
        json_schema_extra=_LOGGING,
    )
    log_prompts: bool = Field(
        default=False,
        description="Write to `log_file` what `POST /` is asked and what it answers, and what workers and MCP servers "
        "write, whatever `log_level` is. No other log gets contents.",
        json_schema_extra=_LOGGING,
    )
