"""Dia (https://huggingface.co/nari-labs/Dia-1.6B-0626): dialogues of two speakers, ``[S1]`` and ``[S2]``.

The sound of the two follows from the seed, not from the files: a text is spoken as a whole, because in parts each would
have other voices. Its codec is a model of its own, in a folder beside the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from modelhost.engines.media.speaking import NOTHING_YET, Take
from modelhost.engines.transformers.voices import (
    ClientLeft,
    Steps,
    check_speed,
    draw_from,
    library_version,
    loaded,
    named_voices,
    refuse_long_audio,
    refuse_long_text,
    refuse_silence,
)

SPEAKERS: Final = ("S1", "S2")
NAMES_OF_CODEC: Final = ("dac", "dac_44khz")
"""Folders in which the codec is looked for, beside the one that the processor names."""
PROCESSOR: Final = "processor_config.json"


def find_codec(folder: Path) -> Path:
    """Return the folder of the codec of the Dia in ``folder``.

    Raises:
        ValueError: it is not there.
    """
    path = folder / PROCESSOR
    given = json.loads(path.read_bytes()) if path.is_file() else {}
    named = str((given.get("audio_tokenizer") or {}).get("audio_tokenizer_name_or_path") or "descript/dac_44khz")
    places = [folder / named, *(folder / name for name in (Path(named).name, *NAMES_OF_CODEC))]
    for place in places:
        if (place / "config.json").is_file() and place.resolve() != folder.resolve():
            return place
    raise ValueError(
        f"the codec of this Dia model, {named}, is missing: download it into {folder / NAMES_OF_CODEC[0]} "
        "(config.json, model.safetensors)"
    )


class Dia:
    """The two speakers of one model."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Load what ``config`` names; raises what the library raises, and ValueError."""
        from transformers import (  # noqa: PLC0415 (slow; the lifeline is watched already)
            AutoFeatureExtractor,
            AutoTokenizer,
            DacModel,
            DiaForConditionalGeneration,
            DiaProcessor,
        )

        folder = Path(config["path"])
        codec = loaded(DacModel, {**config, "dtype": "float32"}, find_codec(folder))
        self._model = loaded(DiaForConditionalGeneration, config)
        own = {"local_files_only": True}
        self._processor = DiaProcessor(
            AutoFeatureExtractor.from_pretrained(folder, **own), AutoTokenizer.from_pretrained(folder, **own), codec
        )
        decoder = self._model.config.decoder_config
        self._end = int(decoder.eos_token_id)
        self._of_audio = {
            "delay_pattern": self._model.config.delay_pattern,
            "bos_token_id": decoder.bos_token_id,
            "eos_token_id": decoder.eos_token_id,
            "pad_token_id": decoder.pad_token_id,
        }
        self._voices = named_voices(config["voices"], SPEAKERS)
        self.voices = tuple(self._voices)
        self.sample_rate = int(codec.config.sampling_rate)
        self.version = library_version()
        self._seconds_per_frame = codec.config.hop_length / self.sample_rate

    def speak(self, text: str, *, voice: str, speed: float, seed: int | None, take: Take) -> None:
        """Speak ``text``, whose turns begin with ``[S1]`` and ``[S2]``; ``voice`` is that of one without turns.

        Raises:
            ErrorResponse: the text or its audio is too long, or there is a speed.
        """
        check_speed(speed, "Dia")
        begins = text.lstrip().startswith(tuple(f"[{speaker}]" for speaker in SPEAKERS))
        turns = text if begins else f"[{self._voices[voice]}] {text}"
        inputs = self._processor(text=[turns], padding=True, return_tensors="pt", **self._of_audio)
        most = self._model.config.encoder_config.max_position_embeddings
        if (count := inputs["input_ids"].shape[1]) > most:
            refuse_long_text(count, most)
        draw_from(seed)
        try:
            codes = self._model.generate(**inputs.to(self._model.device), streamer=Steps(lambda: take(NOTHING_YET)))
        except ClientLeft:
            return
        self._check_end(codes)
        (samples,) = self._processor.batch_decode(codes, **self._of_audio)
        take(samples.float().reshape(-1).numpy())

    def _check_end(self, codes: Any) -> None:
        """Raise ErrorResponse if the model was cut off, or has said nothing.

        At the greatest length, the library lets it end: such an end is none of the model's own.
        """
        first: list[int] = codes[0, :, 0].tolist()
        longest = self._model.generation_config.max_length
        end = first.index(self._end) if self._end in first else longest
        if end >= longest:
            refuse_long_audio(longest * self._seconds_per_frame)
        if end <= 1:  # after the token that begins
            refuse_silence()
