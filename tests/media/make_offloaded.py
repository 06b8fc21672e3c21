"""Makes images with and without offloading: the Python of the engine runs ``make_offloaded.py PIPELINE OPTIONS``.

There is no GPU: below the interface of diffusers, the CPU stands in for one. Components are moved to it, run there and
are offloaded by the code of diffusers and accelerate, which notices nothing; here it is noted which of them are there.
What a GPU does by itself (its memory, its kernels, its numbers) is not tried.

Prints JSON: the images without and with offloading of components, and what is left on the GPU after each of them.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
from typing import Any, Final
from unittest import mock

import torch
from accelerate import hooks
from accelerate.hooks import CpuOffload
from diffusers import AutoencoderKL
from diffusers.pipelines import pipeline_utils
from PIL import Image

from modelhost.engines.diffusers import loading
from modelhost.engines.diffusers.painting import Painter

GPU: Final = "cpu:0"
"""The name of the device that stands in: the same memory, under another name than where components are offloaded to."""
BODY: Final = {"prompt": "a cat", "n": 1, "steps": 4, "seed": 3, "width": 64, "height": 64, "partial_images": 0}
FORM: Final = {"output_format": "png"}
EVENT: Final = b"data: "


ON_GPU: Final[set[str]] = set()
"""The components that are on the device."""
MOVE, OFFLOAD = CpuOffload.pre_forward, CpuOffload.init_hook


def pre_forward(hook: Any, module: Any, *args: Any, **kwargs: Any) -> Any:
    """Move ``module`` to the device, and the component before it away, which the library does if devices differ."""
    ON_GPU.add(type(module).__name__)
    if hook.prev_module_hook is not None:
        hook.prev_module_hook.offload()
    return MOVE(hook, module, *args, **kwargs)


def init_hook(hook: Any, module: Any) -> Any:
    """Move ``module`` away from the device."""
    ON_GPU.discard(type(module).__name__)
    return OFFLOAD(hook, module)


def place(module: Any, name: str, device: Any, value: Any = None, **_: Any) -> None:
    """Put a tensor of a module that is offloaded layer by layer onto the device, or away.

    In place of accelerate's, which knows tensors again by their addresses: on one device they do not change.
    """
    path, _, name = name.rpartition(".")
    owner = module.get_submodule(path)
    there = getattr(owner, name)
    moved = there.to(device) if value is None else value.clone()
    is_parameter = isinstance(there, torch.nn.Parameter)
    setattr(owner, name, torch.nn.Parameter(moved, requires_grad=False) if is_parameter else moved)


def loaded(config: dict[str, Any], offload: str) -> Painter:
    """Return what makes images with the pipeline of ``config``."""
    config = {**config, "threads": 1, "dtype": "float32", "offload": offload}
    has_gpu = mock.patch.object(torch.cuda, "is_available", return_value=offload != "none")
    with has_gpu, mock.patch.object(loading, "announce_progress"):
        return Painter(loading.load_pipeline(config), config)


def events_of(painter: Painter, leave_at: int | None = None, **fields: Any) -> list[dict[str, Any]]:
    """Return the events of a request, whose client leaves after so many of them."""
    events: list[dict[str, Any]] = []

    def emit(part: bytes) -> bool:
        events.append(json.loads(part.removeprefix(EVENT)))
        return len(events) != leave_at

    painter.prepare({**BODY, **FORM, **fields})[0](emit)
    return events


def no_memory(*_: Any, **__: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def tried(config: dict[str, Any], offload: str) -> dict[str, Any]:
    """Return what came of a whole image, an edit, unfinished images, one that failed, one whose client left."""
    painter = loaded(config, offload)
    found: dict[str, Any] = {}

    def note(name: str, events: list[dict[str, Any]]) -> None:
        images = [
            hashlib.sha256(base64.b64decode(each["b64_json"])).hexdigest() for each in events if "b64_json" in each
        ]
        status = [each["status"] for each in events if each["event"] == "failed"]
        steps = sum(each["event"] == "progress" and each["step"] > 0 for each in events)
        found[name] = {"images": images, "status": status, "steps": steps, "left": sorted(ON_GPU)}

    drawn = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(drawn, format="PNG")
    original = base64.b64encode(drawn.getvalue()).decode()
    note("made", events_of(painter))
    note("partial", events_of(painter, partial_images=2))
    note("edited", events_of(painter, images=[original]))
    with mock.patch.object(AutoencoderKL, "decode", no_memory):
        note("failed", events_of(painter))
        note("edit_failed", events_of(painter, images=[original]))
    note("cancelled", events_of(painter, leave_at=4))
    note("again", events_of(painter))
    return found


def main(config: dict[str, Any]) -> None:
    """Print what came of each way to offload."""
    with (
        mock.patch.object(pipeline_utils, "get_device", return_value=GPU),
        mock.patch.object(CpuOffload, "pre_forward", pre_forward),
        mock.patch.object(CpuOffload, "init_hook", init_hook),
        mock.patch.object(hooks, "set_module_tensor_to_device", place),
    ):
        found = {offload: tried(config, offload) for offload in ("none", "model", "sequential")}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main({**json.loads(sys.argv[2]), "path": sys.argv[1]})
