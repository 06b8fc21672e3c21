"""The configuration that a model can be loaded with, in vLLM's words, and what engines make of its fields alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from modelhost.engines.launch import ModelSpec
from modelhost.engines.options import check_options

AUTO: Final = "auto"
NONE: Final = "none"
DTYPES: Final[Mapping[str, str]] = {
    "auto": "auto",
    **dict.fromkeys(("half", "float16", "f16"), "float16"),
    **dict.fromkeys(("bfloat16", "bf16"), "bfloat16"),
    **dict.fromkeys(("float", "float32", "f32"), "float32"),
}
"""Names of number formats, and the engines' names for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadConfig:
    """How to load a model. A field of ``None`` keeps the value of the model's entry and its engine."""

    max_model_len: int | None = None
    dtype: str | None = None
    quantization: str | None = None
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None
    gpu_memory_utilization: float | None = None
    enforce_eager: bool | None = None
    enable_prefix_caching: bool | None = None

    @property
    def given(self) -> dict[str, Any]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def over(self, other: LoadConfig) -> LoadConfig:
        """Return this configuration, with the values of ``other`` for fields that are not set."""
        return LoadConfig(**{**other.given, **self.given})


LOAD_FIELDS: Final = tuple(each.name for each in fields(LoadConfig))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBaseline:
    """A model as it is loaded without a load configuration."""

    spec: ModelSpec
    gpus: tuple[int, ...] = ()
    """The GPUs of the machine that a worker of it could use, regardless of its options."""
    quantization: str | None = None
    """The quantization of its files."""
    dtype: str | None = None
    """The number format of its files, where they determine it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOverrides:
    """Overrides of the settings of a model's entry; ``config`` is the load configuration that they come from."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def is_empty(self) -> bool:
        return not self.settings and not self.options


NO_CHANGE: Final = LoadOverrides()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredLoad:
    """The result of applying a load configuration."""

    overlay: LoadOverrides = NO_CHANGE
    problems: Mapping[str, str] = field(default_factory=dict)
    """What the engine cannot honour: by field, what that would need, as a sentence without its full stop."""
    gpu_share: float | None = None
    """The share of each GPU's memory that the model must not exceed; the host checks it, since the engine cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuShare:
    """The result for an engine that allocates what the model needs: the host checks that the share suffices."""

    fraction: float


FieldResult = LoadOverrides | GpuShare | str
"""For one field: its overrides (none if the value already holds), or what it would need."""
FieldHandler = Callable[[LoadConfig, LoadBaseline], FieldResult]


def configure_load(
    field_handlers: Mapping[str, FieldHandler], config: LoadConfig, baseline: LoadBaseline
) -> ConfiguredLoad:
    settings: dict[str, Any] = {}
    options: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    problems: dict[str, str] = {}
    share: float | None = None
    for name, value in config.given.items():
        match field_handlers[name](config, baseline):
            case str(problem):
                problems[name] = problem
            case GpuShare(fraction=fraction):
                share = fraction
            case LoadOverrides() as overlay if not overlay.is_empty:
                settings |= overlay.settings
                options |= overlay.options
                changed[name] = value
    overlay = LoadOverrides(settings=settings, options=options, config=changed)
    return ConfiguredLoad(overlay=overlay, problems=problems, gpu_share=share)


QUANTIZED_FILES: Final = "take files that are quantized so"


def context_length_field(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
    wanted = config.max_model_len
    return NO_CHANGE if wanted == baseline.spec.context_length else LoadOverrides(settings={"context_length": wanted})


def gpu_share_field(config: LoadConfig, _premises: LoadBaseline) -> FieldResult:
    """For an engine that allocates what the model needs, and no more."""
    assert config.gpu_memory_utilization is not None
    return GpuShare(fraction=config.gpu_memory_utilization)


def no_change(_config: LoadConfig, _premises: LoadBaseline) -> FieldResult:
    return NO_CHANGE


def fixed_field(name: str, value: object, need: str) -> FieldHandler:
    """For a field that can have one value only; any other value would ``need`` something else."""
    return lambda config, _premises: NO_CHANGE if getattr(config, name) == value else need


def fixed_fields(need: str) -> dict[str, FieldHandler]:
    """For an engine without such options: each field may only have the value that changes nothing."""
    defaults: Mapping[str, object] = {
        "dtype": AUTO,
        "quantization": NONE,
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "enforce_eager": False,
        "enable_prefix_caching": True,
    }
    return {
        "gpu_memory_utilization": gpu_share_field,
        **{name: fixed_field(name, value, need) for name, value in defaults.items()},
    }


def option_field(engine: str, known: Mapping[str, Any], name: str) -> FieldHandler:
    def honour(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
        value = getattr(config, name)
        present = check_options(engine, baseline.spec.options, known)[name]
        return NO_CHANGE if value == present else LoadOverrides(options={name: value})

    return honour


def dtype_field(engine: str, known: Mapping[str, Any]) -> FieldHandler:
    def honour(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
        wanted = DTYPES.get((config.dtype or "").lower())
        if wanted is None:
            return f"there is no number format {config.dtype}; there is {', '.join(dict.fromkeys(DTYPES.values()))}"
        present = check_options(engine, baseline.spec.options, known)["dtype"]
        return NO_CHANGE if wanted == present else LoadOverrides(options={"dtype": wanted})

    return honour


def quantization_field(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
    """For an engine that serves files as they are; ``none``: they are not quantized while they are loaded."""
    wanted = (config.quantization or "").lower()
    if wanted in (NONE, AUTO) or is_quantized_so(wanted, baseline.quantization):
        return NO_CHANGE
    return f"it serves files as they are, and these are {baseline.quantization}; {QUANTIZED_FILES}: {wanted}"


def is_quantized_so(wanted: str, files: str | None) -> bool:
    """Whether ``files``, such as `Q4_K_M` or `awq-4bit`, are quantized by the method ``wanted``."""
    own = (files or "").lower()
    return wanted == own or wanted == own.partition("-")[0]


def prefix_cache_field(engine: str, known: Mapping[str, Any], option: str) -> FieldHandler:
    """For an engine with a prefix cache of configurable size; 0 disables it."""

    def honour(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
        present = check_options(engine, baseline.spec.options, known)[option]
        if bool(present) == config.enable_prefix_caching:
            return NO_CHANGE
        return LoadOverrides(options={option: known[option] if config.enable_prefix_caching else 0})

    return honour
