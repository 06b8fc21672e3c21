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
        description="The engine that runs the model. Default: chosen by the model's format.", panel="Model"
    )
    engine_options: dict[str, Any] = _setting(
        default={},
        description="Settings of the engine itself, as `key=value`; checked by that engine.",
        panel="Engine",
        flags=("--engine-option",),
    )
    remote_api_key: Secret | None = _setting(
        description="Key for the server of a model that is given by its URL.", panel="Model"
    )

    worker_python: Text | None = _setting(
        description="Python that runs the engine, such as that of another virtual environment with modelhost in it. "
        "Default: the host's own.",
        panel="Engine",
    )
    worker_env: dict[str, SecretStr] = _setting(
        default={}, description="Environment variables of the engine's process, as `KEY=value`.", panel="Engine"
    )

    models_config: Text | None = _setting(
        description="Registry of models, YAML or JSON; it is watched while the host runs. Default: `models.yaml`, "
        "`models.yml` or `models.json` if there.",
        panel="Several models",
    )
    memory_budget: SizeText | None = _setting(
        description="Memory that all models together may take: bytes, `24GB`, `24GiB` or `80%` of the machine's. "
        "Default: 90%.",
        panel="Several models",
    )
    gpu_memory_budget: SizeText | None = _setting(
        description="The same for each GPU. Default: 90%.", panel="Several models"
    )
    max_models: int | None = _setting(
        ge=1, description="Models that may be loaded at the same time. Default: as many as fit.", panel="Several models"
    )
    allow_models: AllowedModels | None = _setting(
        description="What clients may have loaded besides the models of the host: `registry` (nothing), `hub` (models "
        "of the hub, by their ids) or `any` (also files of this machine, by their paths). Default: `hub` with keys, or "
        "if the host listens on this machine only; otherwise `registry`.",
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
        description="Requests that a loaded model may still begin while another one waits for its memory.",
        panel="Several models",
    )
    burst_seconds: float = _setting(
        default=5.0, gt=0, description="Seconds for which it may begin them.", panel="Several models"
    )
    stall_timeout: float = _setting(
        default=300.0,
        gt=0,
        description="Seconds without progress after which a request fails, or a worker that has work is started again.",
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
        description="Keys of which each request must bring one (`Authorization: Bearer KEY`). Of `NAME=KEY`, the audit "
        "log tells the name. Default: none needed.",
        panel="Listening",
        flags=("--api-key",),
    )
    allow_origin: tuple[Text, ...] = _setting(
        default=(),
        description="Web pages of others that may use this host, such as `http://localhost:3000`, or `*`: they get "
        "CORS headers, and may speak to a host without keys. Default: none.",
        panel="Listening",
    )
    allowed_host: tuple[Text, ...] = _setting(
        default=(),
        description="Names by which a host without keys may be called besides its addresses, `localhost` and the "
        "machine's own, such as `llm.example`, `*.example`, or `*`.",
        panel="Listening",
    )
    max_body_mb: float = _setting(
        default=10.0, gt=0, description="Largest request body, in MB of 1,000,000 bytes.", panel="Waiting and limits"
    )
    max_connections: int = _setting(
        default=1024,
        ge=1,
        description="Connections of clients at the same time; one more is answered with 503 and closed.",
        panel="Waiting and limits",
    )
    header_timeout: float = _setting(
        default=10.0,
        gt=0,
        description="Seconds that a client has to send the head of a request.",
        panel="Waiting and limits",
    )
    body_timeout: float = _setting(
        default=30.0,
        gt=0,
        description="Seconds that the body of a request may stop arriving.",
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
        description="Seconds that a client may take nothing of an answer that waits for it; then it is cut off.",
        panel="Waiting and limits",
    )

    context_length: int | None = _setting(
        ge=16,
        description="Tokens that one conversation may hold. Default: the model's own, as memory allows.",
        panel="Engine",
    )
    slots: int | None = _setting(
        ge=1,
        le=256,
        description="Conversations that the engine works on at the same time. Default: by memory, up to 8.",
        panel="Engine",
    )
    max_slots: int | None = _setting(
        ge=1,
        le=256,
        description="Most conversations at once where `slots` leaves it to the memory. Default: 8.",
        panel="Engine",
    )
    threads: int | None = _setting(
        ge=1,
        description="CPU threads for the model, at most the cores there are or a container may use. "
        "Default: of llama.cpp one for each fast core, of the other engines one less than there are.",
        panel="Engine",
    )
    gpu_layers: int | None = _setting(
        ge=0,
        description="Layers to put on the GPUs, whether they fit or not; 0 keeps the model off them. Default: as many "
        "as fit, by its size and the memory that is free; none without a GPU.",
        panel="Engine",
    )
    kv_cache_type: KvCacheType = _setting(
        default="f16", description="Number format of the key-value cache.", panel="Engine"
    )
    kv_cache_memory: SizeText | None = _setting(
        description="Memory that the key-value cache of a model may take: bytes, `4GB`, `4GiB`, or `40%` of what is "
        "free. Slots are left out and a default context is shortened to fit. Default: 25%, and no bound for what is "
        "given.",
        panel="Engine",
    )
    lora: tuple[Text, ...] = _setting(
        default=(),
        description="LoRA adapter, `FILE` or `FILE:SCALE`, that is part of every answer, or `NAME=FILE`, which "
        "requests choose; may be given repeatedly.",
        panel="Engine",
    )
    draft_model: Text | None = _setting(
        description="Small GGUF model of the same vocabulary, for speculative decoding.", panel="Engine"
    )
    mmproj: Text | None = _setting(
        description="GGUF file with the vision encoder of the model, by which it sees images; `none`: serve it "
        "without. Default: the `mmproj*.gguf` beside the model, if there.",
        panel="Engine",
    )
    chat_template: Text | None = _setting(
        description="Jinja chat template to use instead of the model's own: a file, the text itself, or the name of "
        "one that comes with modelhost: alpaca, chatml, gemma, llama2, llama3, mistral, phi3, plain, vicuna, zephyr.",
        panel="Model",
    )

    special_tokens: SpecialTokens = _setting(
        default="text",
        description="What the names of the model's special tokens, such as `<|im_end|>`, are in what users and tools "
        "write: `text`, or `raw`, the tokens themselves, with which they can forge turns.",
        panel="Model",
    )
    special_token_list: tuple[Text, ...] = _setting(
        default=(),
        description="Special token of a model that is given by its URL, whose vocabulary the host cannot read; may be "
        "given repeatedly. For others: a name to neutralise beside those of the vocabulary.",
        panel="Model",
        flags=("--special-token",),
    )

    request_defaults: RequestDefaults = _setting(
        default={},
        description="What requests get where they are silent, as `temperature=0.7`; an entry of a registry lays its "
        "own over it.",
        panel="Model",
        flags=("--request-default",),
    )

    request_timeout: float = _setting(
        default=30.0,
        gt=0,
        description="Seconds that a request waits for its model to be ready.",
        panel="Waiting and limits",
    )
    load_timeout: float | None = _setting(
        gt=0,
        description="Seconds that a model may take to load. Default: 60 and one more for every 50 MB.",
        panel="Waiting and limits",
    )
    queue_size: int = _setting(
        default=10,
        ge=0,
        description="Requests that may wait for a model that is not ready; one more is refused.",
        panel="Waiting and limits",
    )
    max_in_flight: int = _setting(
        default=256,
        ge=1,
        le=4096,
        description="Requests that a ready model works on at once; its engine batches them.",
        panel="Waiting and limits",
    )
    keep_alive_interval: float = _setting(
        default=15.0,
        gt=0,
        description="Seconds of silence after which a waiting stream gets a comment line.",
        panel="Waiting and limits",
    )
    shutdown_timeout: float = _setting(
        default=30.0,
        ge=0,
        description="Seconds that requests in flight get to finish when the host is stopped.",
        panel="Waiting and limits",
    )

    mcp_config: Text | None = _setting(
        description="MCP servers whose tools the models get, as JSON or YAML; the file is watched while the host runs. "
        "Default: `mcp.json` if there.",
        panel="Tools",
    )
    max_tool_turns: int = _setting(
        default=10,
        ge=1,
        le=100,
        description="Turns that a model may take in one answer while it calls tools.",
        panel="Tools",
    )
    max_tool_depth: int = _setting(
        default=5,
        ge=1,
        le=100,
        description="Calls of tools in which a request may stand and still have its own made, where a tool asks a "
        "host that called it.",
        panel="Tools",
    )
    tool_loop_timeout: float = _setting(
        default=600.0, gt=0, description="Seconds that one answer with tools may take.", panel="Tools"
    )
    question_timeout: float = _setting(
        default=120.0,
        gt=0,
        description="Seconds that somebody has to answer whether a tool may run, or what a server wants to know.",
        panel="Tools",
    )
    wait_for_tools: WaitForTools = _setting(
        default="requests",
        description="Who waits for MCP servers that are still starting: `requests` that get their tools, each server "
        "once, for `connect_timeout_seconds` and 15 s at most; besides, with `ready`, the host before it loads the "
        "model and listens; or `never` anybody. `true` is `ready`, `false` is `never`.",
        panel="Tools",
    )
    mcp_port: int | None = _setting(
        ge=0,
        le=65535,
        description="Port of the host's own MCP servers (`/mcp`), on the same address; 0 picks a free one. "
        "Default: that of the host.",
        panel="Tools",
    )
    insecure: bool = _setting(
        default=False,
        description="Listen beyond this machine without an API key although tools are configured.",
        panel="Tools",
    )

    data_dir: Text | None = _setting(
        description="Directory for what the host keeps: its database and saved prompt caches. "
        "Default: `modelhost` in the user's data directory.",
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
        description="Sessions that are kept; over that, one is dropped that no request has in use: see "
        "`session_eviction`.",
        panel="State",
    )
    session_eviction: SessionEviction = _setting(
        default="fifo",
        description="Which session is dropped: `fifo`, the one that was begun first; or `lru`, the one that was not "
        "used for longest.",
        panel="State",
    )
    max_session_messages: int = _setting(
        default=50,
        ge=2,
        description="Messages that a session keeps; the oldest go first, the system message stays.",
        panel="State",
    )
    session_timeout: float = _setting(
        default=60.0,
        gt=0,
        description="Seconds that a request waits for a session that another host has in use.",
        panel="State",
    )
    audit_retention_days: int = _setting(
        default=90, ge=1, description="Days for which the audit log keeps its entries.", panel="State"
    )

    system_prompt: str | None = _setting(
        description="System message before each prompt that comes by `POST /`; chat completions bring their own.",
        panel="Prompts (POST /)",
    )
    prompt_path: tuple[UrlPath, ...] = _setting(
        default=(),
        description="Further path that takes prompts as `/` does, such as `/ask`; may be given repeatedly.",
        panel="Prompts (POST /)",
    )
    only_prompt: bool = _setting(
        default=False,
        description="Take prompts and answer nothing else: none of the other endpoints is there.",
        panel="Prompts (POST /)",
    )
    strict_prompts: bool = _setting(
        default=False,
        description="Answer prompts with LLM-Server's statuses alone (200, 400, 405, 413, 500), and what is refused "
        "before its path is known as prompts are: with `Error`.",
        panel="Prompts (POST /)",
    )

    log_level: LogLevel = _setting(default="info", description="Least level that is logged.", panel="Logging")
    log_format: LogFormat = _setting(
        default="auto",
        description="`console`, `json`, or `auto`: console on a terminal, JSON otherwise.",
        panel="Logging",
    )
    log_file: Text | None = _setting(
        description="File that gets the log too, with what workers and MCP servers write to theirs. At midnight it is "
        "renamed to `NAME-YYYYMMDD`; nothing is deleted.",
        panel="Logging",
    )
    log_prompts: bool = _setting(
        default=False,
        description="Write to `log_file` what `POST /` is asked and what it answers, and what workers and MCP servers "
        "write, whatever `log_level` is. No other log gets contents.",
        panel="Logging",
    )
