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
class Premises:
    """A model as it is loaded without a configuration."""

    spec: ModelSpec
    gpus: tuple[int, ...] = ()
    """Those of the machine that a worker of it can use, whatever its options say."""
    quantization: str | None = None
    """Of its files."""
    dtype: str | None = None
    """The number format of its files, where they decide it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """What a configuration lays over the settings of a model's entry. ``config`` is what it says in vLLM's words."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def is_empty(self) -> bool:
        """Whether the model is loaded as it is without a configuration."""
        return not self.settings and not self.options


NOTHING: Final = Overlay()


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """What an engine makes of a configuration."""

    overlay: Overlay = NOTHING
    problems: Mapping[str, str] = field(default_factory=dict)
    """What the engine cannot honour: by field what that would need, as a sentence without its end."""
    gpu_share: float | None = None
    """Part of each GPU's memory within which the model has to stay by itself: its engine cannot be held to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The answer of an engine that takes what the model needs: the host is to see that this is enough."""

    fraction: float


Answer = Overlay | Share | str
"""To one field: what is laid over for it (nothing, if that is so anyway), or what it would need."""
Honour = Callable[[LoadConfig, Premises], Answer]


def configured(honours: Mapping[str, Honour], config: LoadConfig, premises: Premises) -> Configured:
    """Return what an engine makes of ``config`` that answers to each field as ``honours`` says."""
    settings: dict[str, Any] = {}
    options: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    problems: dict[str, str] = {}
    share: float | None = None
    for name, value in config.given.items():
        match honours[name](config, premises):
            case str(problem):
                problems[name] = problem
            case Share(fraction=fraction):
                share = fraction
            case Overlay() as overlay if not overlay.is_empty:
                settings |= overlay.settings
                options |= overlay.options
                changed[name] = value
    overlay = Overlay(settings=settings, options=options, config=changed)
    return Configured(overlay=overlay, problems=problems, gpu_share=share)


QUANTIZED_FILES: Final = "take files that are quantized so"


def context_length(config: LoadConfig, premises: Premises) -> Answer:
    wanted = config.max_model_len
    return NOTHING if wanted == premises.spec.context_length else Overlay(settings={"context_length": wanted})


def share_of_gpus(config: LoadConfig, _premises: Premises) -> Answer:
    """Of an engine that takes what the model needs, and no more."""
    assert config.gpu_memory_utilization is not None
    return Share(fraction=config.gpu_memory_utilization)


def holds_anyway(_config: LoadConfig, _premises: Premises) -> Answer:
    return NOTHING


def only(name: str, value: object, need: str) -> Honour:
    """Of a field that can have one value; any other one would ``need`` something else."""
    return lambda config, _premises: NOTHING if getattr(config, name) == value else need


def without_knobs(need: str) -> dict[str, Honour]:
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
        "gpu_memory_utilization": share_of_gpus,
        **{name: only(name, value, need) for name, value in defaults.items()},
    }


def as_option(engine: str, known: Mapping[str, Any], name: str) -> Honour:
    """Of a field that is an option of the engine, under the same name."""

    def honour(config: LoadConfig, premises: Premises) -> Answer:
        value = getattr(config, name)
        present = check_options(engine, premises.spec.options, known)[name]
        return NOTHING if value == present else Overlay(options={name: value})

    return honour


def dtype_as_option(engine: str, known: Mapping[str, Any]) -> Honour:
    """Of an engine that computes in the number format that it is told."""

    def honour(config: LoadConfig, premises: Premises) -> Answer:
        wanted = DTYPES.get((config.dtype or "").lower())
        if wanted is None:
            return f"there is no number format {config.dtype}; there is {', '.join(dict.fromkeys(DTYPES.values()))}"
        present = check_options(engine, premises.spec.options, known)["dtype"]
        return NOTHING if wanted == present else Overlay(options={"dtype": wanted})

    return honour


def quantization_of_files(config: LoadConfig, premises: Premises) -> Answer:
    """Of an engine that serves the files as they are; ``none``: nothing is made of them."""
    wanted = (config.quantization or "").lower()
    if wanted in (NONE, AUTO) or is_quantized_so(wanted, premises.quantization):
        return NOTHING
    return f"it serves files as they are, and these are {premises.quantization}; {QUANTIZED_FILES}: {wanted}"


def is_quantized_so(wanted: str, files: str | None) -> bool:
    """Whether ``files``, such as `Q4_K_M` or `awq-4bit`, are quantized by the method ``wanted``."""
    own = (files or "").lower()
    return wanted == own or wanted == own.partition("-")[0]


def prefixes_as_size(engine: str, known: Mapping[str, Any], option: str) -> Honour:
    """Of an engine that keeps the beginnings of prompts in a cache of some size: 0 keeps none."""

    def honour(config: LoadConfig, premises: Premises) -> Answer:
        present = check_options(engine, premises.spec.options, known)[option]
        if bool(present) == config.enable_prefix_caching:
            return NOTHING
        return Overlay(options={option: known[option] if config.enable_prefix_caching else 0})

    return honour
