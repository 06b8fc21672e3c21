"""Speech: voices in ONNX with sherpa-onnx (Kokoro, Kitten, Matcha, VITS), and the voice of the package hibari-tts.

https://k2-fsa.github.io/sherpa/onnx/tts
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.base import Engine
from modelhost.engines.launch import ModelSpec
from modelhost.engines.media.engine import MediaEngine
from modelhost.exchange.tasks import Task

KINDS: Final = ("auto", "vits", "matcha", "kokoro", "kitten")


OPTIONS: Final[Mapping[str, Any]] = {
    "kind": "auto",  # the kind of the voice: vits, matcha, kokoro or kitten; auto: by its files
    "voices": None,  # names for the numbers of its speakers, such as {"alloy": 3}; otherwise they are "0", "1" ...
}


class Speech(MediaEngine):
    """The engine for speech."""

    name = "speech"
    module = "modelhost.engines.speech.worker"
    options = OPTIONS

    def tasks(self, spec: ModelSpec) -> tuple[Task, ...]:
        return ("speech",)

    def problem_of(self, options: Mapping[str, Any]) -> str:
        if options["kind"] not in KINDS:
            return f'engine option "kind" of {self.name} takes {", ".join(KINDS)}, not "{options["kind"]}"'
        voices = options["voices"]
        if voices is None:
            return ""
        if not isinstance(voices, Mapping) or not all(_is_speaker(number) for number in voices.values()) or not voices:
            return f'engine option "voices" of {self.name} has a speaker\'s number for each name, not {voices!r}'
        return ""


def _is_speaker(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


ENGINE: Final[Engine] = Speech()
