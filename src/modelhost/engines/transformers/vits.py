"""VITS in safetensors, such as the voices of MMS (https://arxiv.org/abs/2305.13516): sentence by sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelhost.engines.media.sentences import sentences_in
from modelhost.engines.media.speaking import Take
from modelhost.engines.transformers.checkpoints import loaded
from modelhost.engines.transformers.voices import library_version, named_voices


class Vits:
    """The speakers of one model."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Load what ``config`` names; raises what the library raises, and ValueError."""
        import torch  # noqa: PLC0415 (slow; the lifeline is watched already)
        from transformers import VitsModel, VitsTokenizer  # noqa: PLC0415

        self._torch, self._model = torch, (model := loaded(VitsModel, config))
        self._tokenizer = VitsTokenizer.from_pretrained(config["path"], local_files_only=True)
        self._rate = float(model.speaking_rate)
        count = max(1, int(model.config.num_speakers))
        self._voices = named_voices(config["voices"], [str(number) for number in range(count)])
        self.voices = tuple(self._voices)
        self.sample_rate = int(model.config.sampling_rate)
        self.version = library_version()
        self._tokenizer("a")  # some need a program for phonemes: the error says so now

    def speak(self, text: str, *, voice: str, speed: float, seed: int | None, take: Take) -> None:
        """Speak ``text``, sentence by sentence, as long as ``take`` returns true."""
        if seed is not None:
            self._torch.manual_seed(seed)
        self._model.speaking_rate = self._rate * speed
        for sentence in sentences_in(text):
            tokens = self._tokenizer(sentence, return_tensors="pt").input_ids.long()
            if not self._is_speakable(tokens):
                continue
            with self._torch.inference_mode():
                output = self._model(tokens.to(self._model.device), speaker_id=self._speaker(voice))
            if not take(output.waveform[0].float().cpu().numpy()):
                return

    def _is_speakable(self, tokens: Any) -> bool:
        """Whether any of ``tokens`` is of a character that the voice knows, and not a blank between two."""
        blank = 0 if self._tokenizer.add_blank else None
        return any(token != blank for token in tokens.reshape(-1).tolist())

    def _speaker(self, voice: str) -> int | None:
        return int(self._voices[voice]) if self._model.config.num_speakers > 1 else None
