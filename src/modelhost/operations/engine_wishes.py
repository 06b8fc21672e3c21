"""Wishes about the engine that clients of vLLM send when they ask for a model to be loaded.

How a model is run stands in its entry of the registry and in the host's settings. A wish is accepted where it is what
the host does anyway, and refused, naming the engine, where it is not: nothing is ignored in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelhost.engines.vllm import Vllm
from modelhost.engines.vllm_params import OPTIONS
from modelhost.errors import UnsupportedParameter
from modelhost.models.states import RAM, HostStatus, ModelStatus

Holds = Callable[[Any, ModelStatus, HostStatus], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """When a wish comes true by itself, and what to do when it does not."""

    holds: Holds
    instead: str


def _is(*values: object) -> Holds:
    return lambda value, _model, _host: value in values


def _is_context_length(value: int, model: ModelStatus, _host: HostStatus) -> bool:
    return value == model.context_length


def _is_within_gpu_budget(value: float, model: ModelStatus, host: HostStatus) -> bool:
    """Whether the model stays under that part of each GPU; of its budget, to be on the safe side."""
    gpus = {pool: budget for pool, budget in host.budget_bytes.items() if pool != RAM}
    if not gpus:
        return True
    need = model.memory_bytes or model.need_bytes
    return need is not None and all(need.get(pool, 0) <= value * budget for pool, budget in gpus.items())


WISHES: Final[Mapping[str, Wish]] = {
    "tensor_parallel_size": Wish(
        holds=_is(1), instead="It runs a model in one process, which spreads over the GPUs by itself; leave it out."
    ),
    "pipeline_parallel_size": Wish(
        holds=_is(1), instead="It runs a model in one process, which spreads over the GPUs by itself; leave it out."
    ),
    "gpu_memory_utilization": Wish(
        holds=_is_within_gpu_budget,
        instead="It takes what the model needs; --gpu-memory-budget limits what all models take together.",
    ),
    "max_model_len": Wish(
        holds=_is_context_length, instead="Set context_length in the model's entry of models.yaml, or leave it out."
    ),
    "quantization": Wish(
        holds=_is("none"), instead="It serves the files as they are; take files that are quantized as you wish."
    ),
    "dtype": Wish(
        holds=_is("auto"), instead="It serves the files as they are; take files that have the type that you wish."
    ),
    "enforce_eager": Wish(holds=_is(False), instead="Leave it out."),
    "enable_prefix_caching": Wish(
        holds=_is(True), instead='Send "cache_prompt": false with requests that are not to use the cache.'
    ),
}


IN_ENTRY: Final = "Set it in the params of the model's entry of models.yaml, or leave it out."


def _is_option_of_vllm(name: str) -> Holds:
    """Whether vLLM runs the model so: each of these wishes is an option of it."""

    def holds(value: Any, model: ModelStatus, host: HostStatus) -> bool:
        given = model.engine_options.get(name, OPTIONS[name])
        if not given and name == "gpu_memory_utilization":
            return _is_within_gpu_budget(value, model, host)
        alike = {str(value).lower(), str(given).lower()}
        # "auto" leaves it to vLLM: what it then does is not known here.
        return len(alike) == 1 or (name == "quantization" and alike == {"none", "auto"})

    return holds


VLLM_WISHES: Final[Mapping[str, Wish]] = {
    name: Wish(holds=_is_option_of_vllm(name), instead=IN_ENTRY) if name in OPTIONS else wish
    for name, wish in WISHES.items()
}
"""The same of a model that vLLM runs."""


def check(wishes: Mapping[str, Any], model: ModelStatus, host: HostStatus) -> None:
    """Check that all ``wishes`` (``None`` is none) come true when ``model`` is loaded.

    Raises:
        UnsupportedParameter: naming the first that does not.
    """
    for name, wish in (VLLM_WISHES if model.engine == Vllm.name else WISHES).items():
        value = wishes.get(name)
        if value is not None and not wish.holds(value, model, host):
            raise UnsupportedParameter(
                f"{name}: the engine of {model.name}, {model.engine}, cannot honour {value!r}. {wish.instead}",
                param=name,
                model=model.name,
                engine=model.engine,
            )
