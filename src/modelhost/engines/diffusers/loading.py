"""Loads a pipeline of diffusers with the options of its engine."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from modelhost.engines.diffusers.layout import INDEX, components_of, variant_of
from modelhost.engines.worker.devices import device_of
from modelhost.engines.worker.process import announce_progress

IMPORTED: Final = 0.4
"""The share of the start that the imports take: seconds, as loading does."""
NEEDED: Final = frozenset({"prompt", "height", "width", "num_inference_steps", "generator", "callback_on_step_end"})
"""The parameters of a pipeline that makes images from texts, can be stopped and can be repeated."""


def load_pipeline(config: Mapping[str, Any]) -> Any:
    """Return the pipeline at ``config["path"]``; raises what the library raises, and ValueError."""
    import torch  # noqa: PLC0415 (slow; the lifeline is watched already)
    import transformers  # noqa: PLC0415 (as above)
    from diffusers import DiffusionPipeline  # noqa: PLC0415 (as above)
    from diffusers.utils import logging  # noqa: PLC0415 (as above)

    logging.disable_progress_bar()  # the log is no terminal
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # it warns of what this environment leaves out, at each start
    announce_progress(IMPORTED)
    torch.set_num_threads(config["threads"])
    path = Path(config["path"])
    device = device_of(torch, config["device"])
    if config["offload"] != "none" and device != "cuda":
        raise ValueError('the option "offload" needs a GPU, and there is none here: leave it out')
    pipeline = DiffusionPipeline.from_pretrained(
        str(path),
        torch_dtype=_dtype(config["dtype"], device, torch),
        variant=variant_of(_components(path)),
        use_safetensors=True,
        local_files_only=True,
    )
    _check_kind(pipeline)
    if config["scheduler"] is not None:
        pipeline.scheduler = _scheduler(pipeline.scheduler, config["scheduler"])
    if config["lora"] is not None:
        _add_lora(pipeline, config["lora"])
    if config["tiling"]:
        pipeline.vae.enable_tiling()
    if config["offload"] == "model":
        pipeline.enable_model_cpu_offload()
    elif config["offload"] == "sequential":
        pipeline.enable_sequential_cpu_offload()
    else:
        pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _components(path: Path) -> Iterator[list[str]]:
    """Yield the names of the files of each component, as the index names them."""
    for name in components_of(json.loads((path / INDEX).read_bytes())):
        yield [file.name for file in (path / name).iterdir()]


def _dtype(wanted: str, device: str, torch: Any) -> Any:
    name = ("float32" if device == "cpu" else "bfloat16") if wanted == "auto" else wanted
    return getattr(torch, name)


def _check_kind(pipeline: Any) -> None:
    missing = NEEDED - inspect.signature(pipeline.__call__).parameters.keys()
    if missing or not hasattr(pipeline, "vae") or not hasattr(pipeline, "image_processor"):
        name = type(pipeline).__name__
        raise ValueError(
            f"{name} makes no images from texts alone that modelhost can serve; in place of a pipeline that edits "
            "images, serve the one for text to image of the same model, which edits too"
        )


def _scheduler(own: Any, name: str) -> Any:
    known = {each.__name__: each for each in own.compatibles}
    if name not in known:
        raise ValueError(f'there is no scheduler "{name}" for this model; there are {", ".join(sorted(known))}')
    return known[name].from_config(own.config)


def _add_lora(pipeline: Any, given: Any) -> None:
    weights = {given: 1.0} if isinstance(given, str) else given
    names = []
    for number, file in enumerate(weights):
        path = Path(file).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f'the option "lora" names {file}, which is no file')
        names.append(f"lora{number}")
        pipeline.load_lora_weights(
            str(path.parent), weight_name=path.name, adapter_name=names[-1], local_files_only=True, use_safetensors=True
        )
        # The library passes over an adapter none of whose layers is in the pipeline.
        if not any(names[-1] in adapters for adapters in pipeline.get_list_adapters().values()):
            raise ValueError(f'the option "lora" names {file}, which is an adapter for another kind of model')
    pipeline.set_adapters(names, [float(weight) for weight in weights.values()])
