"""What speaks: the voices of a directory, by sherpa-onnx, and the voice of the package hibari-tts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelhost.engines.media.sentences import bounded
from modelhost.engines.media.speaking import Samples, Take
from modelhost.engines.worker.asgi import UNSUPPORTED, ErrorResponse, error_body

VOCODERS: Final = re.compile(r"(vocos|hifigan|vocoder)", re.IGNORECASE)
LEXICONS: Final = "lexicon*.txt"
KNOWN_SOMEWHERE: Final = "one uno 一 один"
"""Some of it is known to every voice that knows the words of its language."""


class Hibari:
    """The voices of hibari-tts that are on this machine."""

    def __init__(self, threads: int) -> None:
        from hibari import SAMPLE_RATE  # noqa: PLC0415 (imported where it is the model)
        from hibari.voices import DEFAULT, VOICES, voice_path  # noqa: PLC0415 (as above)

        def is_here(name: str) -> bool:
            try:
                return Path(voice_path(name, download_missing=False)).is_file()
            except FileNotFoundError:
                return False

        here = [name for name in VOICES if is_here(name)]
        self.voices = tuple(sorted(here, key=lambda name: name != DEFAULT))
        self.sample_rate = int(SAMPLE_RATE)
        self.version = f"hibari-tts {version('hibari-tts')}"
        self._threads = threads
        self._loaded: dict[str, Any] = {}
        self._voice(self.voices[0])

    def speak(self, text: str, *, voice: str, speed: float, seed: int | None, take: Take) -> None:
        for part in bounded(text):
            sentences: Iterator[Samples] = self._voice(voice).stream(part, speed, seed)
            for samples in sentences:
                if not take(samples):
                    return

    def _voice(self, name: str) -> Any:
        from hibari import Hibari as Voice  # noqa: PLC0415 (as above)

        if name not in self._loaded:
            self._loaded[name] = Voice(voice=name, threads=self._threads)
        return self._loaded[name]


class SherpaVoices:
    """The speakers of a model in a directory."""

    def __init__(self, folder: Path, *, kind: str, names: Mapping[str, int] | None, threads: int) -> None:
        import sherpa_onnx  # noqa: PLC0415 (imported where it is the model)

        parts = sherpa_parts(folder, kind)
        kind = parts.pop("kind")
        own = getattr(sherpa_onnx, f"OfflineTts{kind.capitalize()}ModelConfig")(**parts)
        model = sherpa_onnx.OfflineTtsModelConfig(**{kind: own}, num_threads=threads)
        rules = ",".join(str(path) for path in sorted(folder.glob("*.fst")))
        config = sherpa_onnx.OfflineTtsConfig(model=model, rule_fsts=rules, max_num_sentences=1)
        if not config.validate():
            raise ValueError(f"sherpa-onnx cannot load {folder} as {kind}; its log says why")
        self._tts = sherpa_onnx.OfflineTts(config)
        self._config = sherpa_onnx.GenerationConfig
        count = max(1, self._tts.num_speakers)
        self._speakers = dict(names or {str(number): number for number in range(count)})
        if beyond := [name for name, number in self._speakers.items() if number >= count]:
            raise ValueError(f"voices: {', '.join(beyond)}: the model has {count} speakers, from 0 to {count - 1}")
        self.voices = tuple(self._speakers)
        self.sample_rate = int(self._tts.sample_rate)
        self.version = f"sherpa-onnx {version('sherpa-onnx')}"
        if not self._tts.generate(KNOWN_SOMEWHERE).samples:
            raise ValueError(
                f"{folder.name} has no lexicon*.txt that says how words are spoken, and sherpa-onnx 2 does not know "
                "that without one: take a voice with a lexicon"
            )

    def speak(self, text: str, *, voice: str, speed: float, seed: int | None, take: Take) -> None:
        if seed is not None:
            message = "seed: sherpa-onnx has none; leave it out."
            raise ErrorResponse(400, error_body(400, UNSUPPORTED, message, param="seed"))
        config = self._config()
        config.sid, config.speed = self._speakers[voice], speed

        goes_on = True

        def taken(samples: Any, _progress: float) -> int:
            nonlocal goes_on
            goes_on = take(np.array(samples, dtype=np.float32))
            return int(goes_on)

        for part in bounded(text):
            if goes_on:
                self._tts.generate(part, config, taken)


def sherpa_parts(folder: Path, kind: str) -> dict[str, str]:
    """Return the kind of the voice in ``folder``, and its files by the names of sherpa-onnx's parameters.

    Raises:
        ValueError: a file that the kind needs is missing.
    """
    models = sorted(folder.glob("*.onnx"), key=lambda path: path.stat().st_size)
    vocoder = next((path for path in models if VOCODERS.search(path.name)), None)
    has_styles = (folder / "voices.bin").is_file()
    if kind == "auto":
        is_kitten = "kitten" in f"{folder.name} {models[-1].name}".lower()
        kind = "matcha" if vocoder else ("kitten" if is_kitten else "kokoro") if has_styles else "vits"
    parts = {"kind": kind, "tokens": str(folder / "tokens.txt")}
    if kind == "matcha":
        if vocoder is None:
            raise ValueError("a Matcha voice needs its vocoder beside it, such as vocos-22khz-univ.onnx")
        acoustic = next(path for path in reversed(models) if path != vocoder)
        parts |= {"acoustic_model": str(acoustic), "vocoder": str(vocoder)}
    else:
        parts["model"] = str(models[-1])
    if kind in ("kokoro", "kitten"):
        if not has_styles:
            raise ValueError(f"a {kind} voice needs voices.bin beside it")
        parts["voices"] = str(folder / "voices.bin")
    if lexicons := sorted(folder.glob(LEXICONS)):
        parts["lexicon"] = ",".join(map(str, lexicons))
    return parts
