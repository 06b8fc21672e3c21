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
"""Names of number formats, and what engines call those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadConfig:
    """How a model is to be loaded. ``None`` leaves a field as the model's entry and its engine have it."""

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
        """The fields that say something."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def over(self, other: LoadConfig) -> LoadConfig:
        """Return this configuration, and what ``other`` says where this one is silent."""
        return LoadConfig(**{**other.given, **self.given})


LOAD_FIELDS: Final = tuple(each.name for each in fields(LoadConfig))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBaseline:
    """A model as it is loaded without a configuration."""

    spec: ModelSpec
    gpus: tuple[int, ...] = ()
    """Those of the machine that a worker of it can use, whatever its options say."""
    quantization: str | None = None
    """Of its files."""
    dtype: str | None = None
    """The number format of its files, where they decide it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOverrides:
    """What a configuration lays over the settings of a model's entry. ``config`` is what it says in vLLM's words."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def is_empty(self) -> bool:
        """Whether the model is loaded as it is without a configuration."""
        return not self.settings and not self.options


NO_CHANGE: Final = LoadOverrides()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredLoad:
    """What an engine makes of a configuration."""

    overlay: LoadOverrides = NO_CHANGE
    problems: Mapping[str, str] = field(default_factory=dict)
    """What the engine cannot honour: by field what that would need, as a sentence without its end."""
    gpu_share: float | None = None
    """Part of each GPU's memory within which the model has to stay by itself: its engine cannot be held to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuShare:
    """The answer of an engine that takes what the model needs: the host is to see that this is enough."""

    fraction: float


FieldResult = LoadOverrides | GpuShare | str
"""To one field: what is laid over for it (nothing, if that is so anyway), or what it would need."""
FieldHandler = Callable[[LoadConfig, LoadBaseline], FieldResult]


def configure_load(
    field_handlers: Mapping[str, FieldHandler], config: LoadConfig, baseline: LoadBaseline
) -> ConfiguredLoad:
    """Return what an engine makes of ``config`` that answers to each field as ``field_handlers`` says."""
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
    """Of an engine that takes what the model needs, and no more."""
    assert config.gpu_memory_utilization is not None
    return GpuShare(fraction=config.gpu_memory_utilization)


def no_change(_config: LoadConfig, _premises: LoadBaseline) -> FieldResult:
    return NO_CHANGE


def fixed_field(name: str, value: object, need: str) -> FieldHandler:
    """Of a field that can have one value; any other one would ``need`` something else."""
    return lambda config, _premises: NO_CHANGE if getattr(config, name) == value else need


def fixed_fields(need: str) -> dict[str, FieldHandler]:
    """Of an engine that can be told nothing: each field may have the value that leaves things as they are."""
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
    """Of a field that is an option of the engine, under the same name."""

    def honour(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
        value = getattr(config, name)
        present = check_options(engine, baseline.spec.options, known)[name]
        return NO_CHANGE if value == present else LoadOverrides(options={name: value})

    return honour


def dtype_field(engine: str, known: Mapping[str, Any]) -> FieldHandler:
    """Of an engine that computes in the number format that it is told."""

    def honour(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
        wanted = DTYPES.get((config.dtype or "").lower())
        if wanted is None:
            return f"there is no number format {config.dtype}; there is {', '.join(dict.fromkeys(DTYPES.values()))}"
        present = check_options(engine, baseline.spec.options, known)["dtype"]
        return NO_CHANGE if wanted == present else LoadOverrides(options={"dtype": wanted})

    return honour


def quantization_field(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
    """Of an engine that serves the files as they are; ``none``: nothing is made of them."""
    wanted = (config.quantization or "").lower()
    if wanted in (NONE, AUTO) or is_quantized_so(wanted, baseline.quantization):
        return NO_CHANGE
    return f"it serves files as they are, and these are {baseline.quantization}; {QUANTIZED_FILES}: {wanted}"


def is_quantized_so(wanted: str, files: str | None) -> bool:
    """Whether ``files``, such as `Q4_K_M` or `awq-4bit`, are quantized by the method ``wanted``."""
    own = (files or "").lower()
    return wanted == own or wanted == own.partition("-")[0]


def prefix_cache_field(engine: str, known: Mapping[str, Any], option: str) -> FieldHandler:
    """Of an engine that keeps the beginnings of prompts in a cache of some size: 0 keeps none."""

    def honour(config: LoadConfig, baseline: LoadBaseline) -> FieldResult:
        present = check_options(engine, baseline.spec.options, known)[option]
        if bool(present) == config.enable_prefix_caching:
            return NO_CHANGE
        return LoadOverrides(options={option: known[option] if config.enable_prefix_caching else 0})

    return honour
