"""Images with diffusers: pipelines such as Stable Diffusion, SDXL, SD3 and Flux.

https://huggingface.co/docs/diffusers
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.base import Engine
from modelhost.engines.installed import torch_uses_gpus
from modelhost.engines.media.engine import MediaEngine

OPTIONS: Final[Mapping[str, Any]] = {
    "device": "auto",  # cpu, cuda, mps; auto: a GPU if there is one
    "dtype": "auto",  # float32, float16, bfloat16; auto: float32 on a CPU, otherwise bfloat16
    "offload": "none",  # model or sequential: on a GPU, keep only the component, or the layer, at work there
    "lora": None,  # a LoRA file in safetensors, or several with their weights: {"style.safetensors": 0.8}
    "scheduler": None,  # a scheduler of diffusers in place of the model's own, such as EulerDiscreteScheduler
    "tiling": False,  # decode large images in tiles, which takes less memory
    "steps": None,  # the default number of steps; otherwise the pipeline's own
    "guidance": None,  # the default guidance; otherwise the pipeline's own
    "max_steps": 150,  # the most steps that a request may have
    "max_pixels": 4194304,  # the most pixels of an image, sent or made
}
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "device": ("auto", "cpu", "cuda", "mps"),
    "dtype": ("auto", "float32", "float16", "bfloat16"),
    "offload": ("none", "model", "sequential"),
}
FEWEST_PIXELS: Final = 64


class Diffusers(MediaEngine):
    """The engine for images."""

    name = "diffusers"
    module = "modelhost.engines.diffusers.worker"
    options = OPTIONS

    def problem_of(self, options: Mapping[str, Any]) -> str:
        for name, known in CHOICES.items():
            if options[name] not in known:
                return f'engine option "{name}" of {self.name} takes {", ".join(known)}, not "{options[name]}"'
        if options["offload"] != "none" and options["device"] == "cpu":
            return f'engine option "offload" of {self.name} is for a GPU, and "device" is cpu'
        for name, lowest in (("max_steps", 1), ("max_pixels", FEWEST_PIXELS)):
            if options[name] < lowest:
                return f'engine option "{name}" of {self.name}: {options[name]} is too small'
        steps, guidance = _number(options["steps"]), _number(options["guidance"])
        if steps is not None and not (steps.is_integer() and 1 <= steps <= options["max_steps"]):
            return f'engine option "steps" of {self.name} is a number from 1 to "max_steps", not {options["steps"]!r}'
        if guidance is not None and not guidance >= 0:
            return f'engine option "guidance" of {self.name} is a number from 0, not {options["guidance"]!r}'
        return _problem_of_lora(options["lora"])

    def finds_gpus(self, python: str, _options: Mapping[str, Any], _env: Mapping[str, str]) -> bool:
        return torch_uses_gpus(python)


def _number(value: Any) -> float | None:
    """Return an option that is a number, possibly as text; one that is none is below every limit."""
    if value is None:
        return None
    try:
        return -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return -1.0


def _problem_of_lora(given: Any) -> str:
    if given is None or (isinstance(given, str) and given):
        return ""
    if isinstance(given, Mapping) and given and all(_number(weight) is not None for weight in given.values()):
        weights = [weight for weight in given.values() if isinstance(weight, int | float)]
        if len(weights) == len(given):
            return ""
    return f'engine option "lora" of diffusers is a file, or an object with a weight for each file, not {given!r}'


ENGINE: Final[Engine] = Diffusers()
