"""The worker process of one model in PyTorch, through ``transformers``.

Started as ``python -m modelhost.engines.transformers.worker`` (:mod:`modelhost.engines.launch`). It is
not ``transformers serve``, since that does not enforce ``tool_choice`` and ``response_format``, refuses ``top_k`` and
``min_p``, and does not distinguish a client's mistake from its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modelhost.engines.transformers.checkpoints import loaded
from modelhost.engines.transformers.text_kinds import why_images_are_not_served
from modelhost.engines.transformers.vision_kinds import PROCESSOR_FILES, PROCESSORS, WITHOUT_KIND, WITHOUT_PROCESSOR
from modelhost.engines.worker.devices import device_of
from modelhost.engines.worker.process import UnusableFiles, read_config, watch_lifeline

ATTENTION = frozenset({"full_attention", "sliding_attention", "chunked_attention"})
"""Layers that keep keys and values of each token. Others keep a state that cannot be padded or truncated."""


def main() -> None:
    """Load the model, announce the address, serve."""
    config = read_config()
    watch_lifeline()
    from modelhost.engines.worker import serving  # noqa: PLC0415 (the lifeline is watched already)

    serving.run(config, load)


def load(config: Mapping[str, Any]) -> Any:
    """Return the model of ``config`` as :class:`~modelhost.engines.worker.library.Loaded`.

    Raises:
        UnusableFiles: this engine cannot batch layers of its kind.
    """
    import torch  # noqa: PLC0415
    from transformers import AutoConfig, AutoTokenizer, __version__  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    from modelhost.engines.transformers.library import TransformersLibrary  # noqa: PLC0415
    from modelhost.engines.worker.library import Loaded, vocab_size  # noqa: PLC0415
    from modelhost.engines.worker.model_files import end_tokens, generation_config  # noqa: PLC0415

    logging.disable_progress_bar()
    torch.set_num_threads(config["threads"])
    torch.set_grad_enabled(False)
    directory = Path(config["path"])
    device = device_of(torch, config["device"])
    trusts = config["trust_remote_code"]
    described = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=trusts)
    model = loaded(_class_of(described), config)
    _check_layers(model.config.get_text_config())
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=trusts)
    library = TransformersLibrary(model, device)
    why_blind = _why_blind(model.config.model_type, directory)
    return Loaded(
        library=library,
        tokenizer=tokenizer,
        vocab_size=vocab_size(library),
        version=f"transformers {__version__}, torch {torch.__version__}",
        eos_ids=end_tokens([tokenizer.eos_token_id], directory),
        defaults=generation_config(directory),
        gpu_memory=(lambda: gpu_memory(torch.cuda)) if device.startswith("cuda") else None,
        vision=_vision_of(library, model, directory) if why_blind is None else None,
        why_blind=why_blind,
    )


def _class_of(described: Any) -> Any:
    """Return the class of ``transformers`` that loads a model with the configuration ``described``.

    Raises:
        UnusableFiles: it is a model for images of a kind that this engine does not serve.
    """
    from transformers import (  # noqa: PLC0415
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
    )

    if described.model_type in PROCESSORS:
        return AutoModelForImageTextToText
    kind = type(described)
    if kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and kind not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UnusableFiles(why_images_are_not_served(described.model_type))
    return AutoModelForCausalLM


def _why_blind(model_type: str, directory: Path) -> str | None:
    """Return why a model takes no images and what would, in sentences for clients; ``None``: it takes them."""
    if model_type not in PROCESSORS:
        return WITHOUT_KIND
    return None if any((directory / name).is_file() for name in PROCESSOR_FILES) else WITHOUT_PROCESSOR


def _vision_of(library: Any, model: Any, directory: Path) -> Any:
    """Return what lets ``model`` see.

    Raises:
        ModuleNotFoundError: Pillow is not installed.
        UnusableFiles: the processor does not fit the model.
    """
    if find_spec("PIL") is None:
        raise ModuleNotFoundError("a model that sees needs Pillow: install it beside transformers (pip install pillow)")
    from modelhost.engines.transformers.vision import TransformersVision  # noqa: PLC0415

    return TransformersVision(library, model, directory)


def gpu_memory(cuda: Any) -> Any:
    """Return the memory of PyTorch's allocator as :class:`~modelhost.engines.worker.library.GpuMemory`.

    https://docs.pytorch.org/docs/stable/torch_cuda_memory.html; ``cuda`` is ``torch.cuda``.
    """
    from modelhost.engines.worker.library import GpuMemory  # noqa: PLC0415

    free = [
        block["size"]
        for segment in cuda.memory_snapshot()
        for block in segment["blocks"]
        if block["state"] == "inactive"
    ]
    allocated = cuda.memory_allocated()
    return GpuMemory(
        allocated_bytes=allocated,
        cached_bytes=cuda.memory_reserved() - allocated,
        largest_free_bytes=max(free, default=0),
    )


def _check_layers(config: Any) -> None:
    others = sorted(set(getattr(config, "layer_types", None) or ()) - ATTENTION)
    if others:
        raise UnusableFiles(
            f"this model has layers of the kind {', '.join(others)}, which this engine cannot work on in batches: "
            "take a GGUF file of it, for llama.cpp"
        )


if __name__ == "__main__":
    main()
