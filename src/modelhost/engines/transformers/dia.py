"""Dia (https://huggingface.co/nari-labs/Dia-1.6B-0626): dialogues of two speakers, ``[S1]`` and ``[S2]``.

The sound of the two follows from the seed, not from the files: a text is spoken as a whole, because in parts each would
have other voices. Its codec is a model of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from modelhost.engines.media.speaking import NOTHING_YET, Take
from modelhost.engines.transformers import voices
from modelhost.engines.transformers.checkpoints import loaded
from modelhost.engines.transformers.layout import CODEC, CODEC_FOLDERS, CONFIG, codec_in, codec_of

SPEAKERS: Final = ("S1", "S2")


def find_codec(folder: Path) -> Path:
    """Return the folder of the codec of the Dia in ``folder``: in that, or in the cache of the hub.

    Raises:
        ValueError: it is not there.
    """
    from transformers.utils import cached_file  # noqa: PLC0415 (slow; the lifeline is watched already)

    name = codec_of(folder) or CODEC
    if (found := codec_in(folder, name)) is not None:
        return found
    with suppress(OSError):  # it is not in the cache
        return Path(cached_file(name, CONFIG, local_files_only=True)).parent
    raise ValueError(
        f"the codec of this Dia model, {name}, is missing: download it into {folder / CODEC_FOLDERS[0]} "
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
        self._voices = voices.named_voices(config["voices"], SPEAKERS)
        self.voices = tuple(self._voices)
        self.sample_rate = int(codec.config.sampling_rate)
        self.version = voices.library_version()
        self._seconds_per_frame = codec.config.hop_length / self.sample_rate

    def speak(self, text: str, *, voice: str, speed: float, seed: int | None, take: Take) -> None:
        """Speak ``text``, whose turns begin with ``[S1]`` and ``[S2]``; ``voice`` is that of one without turns.

        Raises:
            ErrorResponse: the text or its audio is too long, or there is a speed.
        """
        voices.check_speed(speed, "Dia")
        begins = text.lstrip().startswith(tuple(f"[{speaker}]" for speaker in SPEAKERS))
        turns = text if begins else f"[{self._voices[voice]}] {text}"
        inputs = self._processor(text=[turns], padding=True, return_tensors="pt", **self._of_audio)
        most = self._model.config.encoder_config.max_position_embeddings
        if (count := inputs["input_ids"].shape[1]) > most:
            voices.refuse_long_text(count, most)
        voices.draw_from(seed)
        try:
            codes = self._model.generate(
                **inputs.to(self._model.device), streamer=voices.Steps(lambda: take(NOTHING_YET))
            )
        except voices.ClientLeft:
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
            voices.refuse_long_audio(longest * self._seconds_per_frame)
        if end <= 1:  # after the token that begins
            voices.refuse_silence()
