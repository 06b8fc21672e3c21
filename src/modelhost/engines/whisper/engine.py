"""Transcription with faster-whisper: Whisper models in the layout of CTranslate2.

https://github.com/SYSTRAN/faster-whisper
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.base import Engine
from modelhost.engines.launch import ModelSpec
from modelhost.engines.media.engine import MediaEngine
from modelhost.exchange.tasks import Task

OPTIONS: Final[Mapping[str, Any]] = {
    "compute_type": "auto",  # int8, int8_float16, float16, float32 ...; auto: int8 on a CPU, float16 on a GPU
    "device": "auto",  # cpu, cuda
    "max_minutes": 240,  # whole minutes, from 1 on; longer audio is refused
}
DEVICES: Final = ("auto", "cpu", "cuda")
COMPUTE_TYPES: Final = (
    *("auto", "default", "int8", "int8_float16", "int8_bfloat16", "int8_float32", "int16", "float16", "bfloat16"),
    "float32",
)


class Whisper(MediaEngine):
    """The engine for transcription."""

    name = "whisper"
    module = "modelhost.engines.whisper.worker"
    options = OPTIONS

    def tasks(self, spec: ModelSpec) -> tuple[Task, ...]:
        return ("transcription",)

    def problem_of(self, options: Mapping[str, Any]) -> str:
        for name, known in (("compute_type", COMPUTE_TYPES), ("device", DEVICES)):
            if options[name] not in known:
                return f'engine option "{name}" of {self.name} takes {", ".join(known)}, not "{options[name]}"'
        minutes = options["max_minutes"]
        return "" if minutes > 0 else f'engine option "max_minutes" of {self.name}: {minutes} is too small'


ENGINE: Final[Engine] = Whisper()
