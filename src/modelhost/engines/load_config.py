"""How a model may be asked to be loaded, in vLLM's words, and what an engine makes of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from modelhost.engines.base import ModelSpec

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
