"""transformers: any safetensors model that PyTorch runs (https://github.com/huggingface/transformers).

Models that write text share a worker that batches them. Those of other kinds (:data:`.traits.TRAITS`) have a worker for
each task, which does one job at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from modelhost.engines.base import Engine
from modelhost.engines.installed import torch_uses_gpus
from modelhost.engines.launch import Launch, ModelSpec
from modelhost.engines.library_engine import LibraryEngine
from modelhost.engines.media.engine import refusal_of
from modelhost.errors import ConfigError, ModelhostError
from modelhost.exchange.tasks import Task

MODULES: Final[Mapping[Task, str]] = {
    "embeddings": "modelhost.engines.transformers.embedding",
    "speech": "modelhost.engines.transformers.speaking",
    "transcription": "modelhost.engines.transformers.hearing",
}
"""The workers of models that write no text."""
MEDIA_OPTIONS: Final[Mapping[str, Any]] = {
    "max_minutes": 240,  # of models that transcribe: whole minutes, from 1 on; longer audio is refused
    "voices": None,  # of models that speak: numbers of speakers by names of voices
}


class Transformers(LibraryEngine):
    """transformers."""

    counts_media = True

    def launch(self, spec: ModelSpec, api_key: str) -> Launch:
        launch = super().launch(spec, api_key)
        if spec.task is None:
            return launch
        if spec.options.get("max_minutes", 1) <= 0:
            raise ConfigError(
                f'engine option "max_minutes": {spec.options["max_minutes"]} is too small', param="engine_options"
            )
        python, _, _ = launch.argv
        return replace(launch, argv=(python, "-m", MODULES[spec.task]))

    def translate_error(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError:
        error = payload.get("error") if isinstance(payload, dict) else None
        is_of_chat = isinstance(error, dict) and "image" in error
        if isinstance(error, dict) and not is_of_chat and (refused := refusal_of(error)) is not None:
            return refused
        return super().translate_error(status, payload, model=model, worker=worker)

    def finds_gpus(self, python: str, _options: Mapping[str, Any], _env: Mapping[str, str]) -> bool:
        return torch_uses_gpus(python)


ENGINE: Final[Engine] = Transformers(
    "transformers",
    module="modelhost.engines.transformers.worker",
    options={
        "device": "auto",  # cpu, cuda, mps; auto: a GPU if there is one
        "dtype": "auto",  # float32, bfloat16, float16; auto: the model's own on a GPU, float32 on a CPU
        "trust_remote_code": False,  # run Python files of the model
        **MEDIA_OPTIONS,
    },
    environment={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},  # as NVML counts them
    memory_phrases=("out of memory", "can't allocate memory", "not enough memory", "bad_alloc"),
)
