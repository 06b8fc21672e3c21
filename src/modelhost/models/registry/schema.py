"""The schema of the registry file: candle-vllm's ``models.yaml``, and what is added to it.

Source: https://github.com/GQAdonis/candle-vllm (``example.models.yaml`` and ``config/models.rs``). Beyond it are, of an
entry: ``aliases``, ``url`` (or ``base_url``) with ``api_key``, ``engine``, ``revision``, ``python``, ``env``,
``pinned``, ``idle_unload_secs``, ``replicas`` and the settings in ``ENTRY_SETTINGS``; of its ``params``: more request
defaults, adapters by name (``{NAME: FILE}`` or ``{NAME: {path: FILE, scale: 0.5}}``), and the settings in
``PARAM_SETTINGS``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from modelhost.config.alerts import WHOLE_SENTENCE
from modelhost.config.request_defaults import RequestDefaults, as_list
from modelhost.engines.adapters import NAME

KEYS: Final = frozenset({"path", "scale"})


def adapter_entries(value: Any) -> Any:
    """Return adapters by name as the texts that the setting ``lora`` has; anything else as it is.

    Raises:
        PydanticCustomError: a name or what it stands for is none.
    """
    if not isinstance(value, Mapping):
        return value
    return [_entry(name, each) for name, each in value.items()]


def _entry(name: Any, value: Any) -> str:
    where = f'"params.lora.{name}"'
    if not isinstance(name, str) or re.fullmatch(NAME, name) is None:
        raise _problem(f"{where}: the name of an adapter has letters, digits, dots, dashes and underscores alone")
    if isinstance(value, str) and value:
        return f"{name}={value}"
    if not isinstance(value, Mapping):
        raise _problem(f"{where}: expected a file, or its path and scale")
    if unknown := sorted(str(key) for key in value.keys() - KEYS):
        raise _problem(f'{where}: unknown key "{unknown[0]}"; there are path and scale')
    path, scale = value.get("path"), value.get("scale")
    if not isinstance(path, str) or not path:
        raise _problem(f'{where}: "path" is missing, or no text')
    if scale is None:
        return f"{name}={path}"
    if isinstance(scale, bool) or not isinstance(scale, int | float):
        raise _problem(f'{where}: "scale" has to be a number')
    return f"{name}={path}:{float(scale)}"


def _problem(text: str) -> PydanticCustomError:
    return PydanticCustomError(WHOLE_SENTENCE, "{reason}", {"reason": text})


OTHER_NAMES: Final[Mapping[str, str]] = {
    "adapters": "lora",
    "mem": "kvcache_mem_gpu",
    "max_model_len": "context_length",
    "n_gpu_layers": "gpu_layers",
    "repeat_penalty": "repetition_penalty",
}
"""Aliases of params."""


def _as_texts(value: Any) -> Any:
    """Numbers as text: a variable is text, and YAML reads ``OMP_NUM_THREADS: 4`` as a number."""
    if not isinstance(value, dict):
        return value
    is_number = (int, float)
    return {
        key: str(item) if isinstance(item, is_number) and not isinstance(item, bool) else item
        for key, item in value.items()
    }


Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)


class Pool(_Keys):
    """``parking_lot.pool``."""

    worker_threads: Count | None = None
    max_queue_depth: Annotated[int, Field(ge=0)] | None = None
    timeout_secs: Seconds | None = None


class Limits(_Keys):
    """``parking_lot.limits``."""

    max_units: Count | None = None
    max_queue_depth: Annotated[int, Field(ge=0)] | None = None
    timeout_secs: Seconds | None = None


class Queue(_Keys):
    """``parking_lot.queue``."""

    backend: Text | None = None
    persistence: bool | None = None
    postgres_url: str | None = None
    sqlite_path: str | None = None
    surreal_path: str | None = None
    yaque_dir: str | None = None


class Mailbox(_Keys):
    """``parking_lot.mailbox``."""

    backend: Text | None = None
    retention_secs: Annotated[float, Field(ge=0)] | None = None
    postgres_url: str | None = None
    sqlite_path: str | None = None
    surreal_path: str | None = None
    webhook: dict[str, Any] | None = None


class ParkingLot(_Keys):
    """candle-vllm's queues and threads, for all models or for one."""

    pool: Pool | None = None
    limits: Limits | None = None
    queue: Queue | None = None
    mailbox: Mailbox | None = None


class PromptCache(_Keys):
    """candle-vllm's cache of the beginnings of prompts."""

    enabled: bool | None = None
    backend: Text | None = None
    cache_path: str | None = None
    redis_url: str | None = None
    ttl_seconds: Seconds | None = None
    max_cached_prefixes: Count | None = None
    min_prefix_length: Annotated[int, Field(ge=0)] | None = None


class Compression(_Keys):
    """candle-vllm's compression of the key-value cache; ``policy`` is a word or a mapping."""

    bits: Count | None = None
    policy: Any = None


class Params(RequestDefaults):
    """How a model runs, and what its requests get where they are silent."""

    dtype: Text | None = None
    quantization: Text | None = None
    isq: Text | None = None
    block_size: Count | None = None
    max_num_seqs: Count | None = None
    kvcache_mem_gpu: Count | None = None
    kvcache_mem_cpu: Count | None = None
    prefill_chunk_size: Count | None = None
    multithread: bool | None = None
    tensor_parallel_size: Count | None = None
    pipeline_parallel_size: Count | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    enforce_eager: bool | None = None
    enable_prefix_caching: bool | None = None
    distributed_executor_backend: Text | None = None
    tool_call_parser: Text | None = None
    reasoning_parser: Text | None = None
    trust_remote_code: bool | None = None
    device_ids: list[Annotated[int, Field(ge=0)]] | None = None
    kvcache_compression: Compression | None = None
    prompt_cache: PromptCache | None = None
    parking_lot: ParkingLot | None = None
    # Settings (``PARAM_SETTINGS``):
    context_length: Any = None
    slots: Any = None
    max_slots: Any = None
    threads: Any = None
    gpu_layers: Any = None
    kv_cache_type: Any = None
    kv_cache_memory: Any = None
    lora: Annotated[Any, BeforeValidator(adapter_entries)] = None
    draft_model: Any = None
    mmproj: Any = None
    chat_template: Any = None
    engine_options: Any = None

    @model_validator(mode="before")
    @classmethod
    def _under_first_names(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        renamed = dict(value)
        for other, name in OTHER_NAMES.items():
            if other in renamed and name in renamed:
                reason = f'"{other}" and "{name}" are two names of one parameter; keep one'
                raise PydanticCustomError(WHOLE_SENTENCE, "{reason}", {"reason": reason})
            if other in renamed:
                renamed[name] = renamed.pop(other)
        return renamed


class VisionProxy(_Keys):
    """``capabilities.vision_proxy``."""

    hf_id: str | None = None
    prompt_template: str | None = None


class Capabilities(_Keys):
    """candle-vllm's capabilities beyond text."""

    vision_mode: Text | None = None
    vision_proxy: VisionProxy | None = None


class EntryFile(_Keys):
    """One item of ``models``."""

    name: Text
    aliases: Annotated[list[Text], BeforeValidator(as_list)] = Field(default_factory=list)
    hf_id: Text | None = None
    local_path: Text | None = None
    url: Annotated[list[Text], BeforeValidator(as_list)] | None = None
    base_url: Annotated[list[Text], BeforeValidator(as_list)] | None = None
    api_key: Text | None = None
    weight_file: Text | None = None
    engine: Text | None = None
    python: Text | None = None
    env: Annotated[dict[str, str], BeforeValidator(_as_texts)] = Field(default_factory=dict)
    pinned: bool = False
    replicas: Count = 1
    capabilities: Capabilities | None = None
    parking_lot: ParkingLot | None = None
    notes: str | None = None
    params: Params | None = None
    # Settings (``ENTRY_SETTINGS``):
    revision: Any = None
    queue_size: Any = None
    request_timeout: Any = None
    load_timeout: Any = None
    max_in_flight: Any = None
    stall_timeout: Any = None
    idle_unload_secs: Any = None
    special_tokens: Any = None
    special_token_list: Any = None


def _settings_of(schema: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys that are settings of the same name, and are checked as those."""
    return tuple(name for name, field in schema.model_fields.items() if field.annotation is Any)


ENTRY_SETTINGS: Final = _settings_of(EntryFile)
PARAM_SETTINGS: Final = _settings_of(Params)


class RegistryFile(_Keys):
    """The whole file; its ``models`` are checked one by one."""

    models: list[Any] = Field(default_factory=list)
    default_model: Text | None = None
    idle_unload_secs: Seconds | None = None
    parking_lot: ParkingLot | None = None
