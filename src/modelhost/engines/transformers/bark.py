"""Bark (https://huggingface.co/suno/bark): sentence by sentence, with the voice presets of the checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from modelhost.engines.media.sentences import sentences_in
from modelhost.engines.media.speaking import NOTHING_YET, Take
from modelhost.engines.transformers.checkpoints import loaded
from modelhost.engines.transformers.voices import (
    ClientLeft,
    Steps,
    check_speed,
    draw_from,
    library_version,
    named_voices,
    refuse_long_audio,
    refuse_long_text,
)

NO_PRESET: Final = "random"
"""The voice of a model without presets: each sentence has what is drawn for it."""


class NothingSaid(Exception):
    """The model ended a sentence before its first token."""


class Sentence(Steps):
    """The steps of the model that decides what is said."""

    def __init__(self, goes_on: Any, end: int) -> None:
        """``end`` is the token that ends a sentence."""
        super().__init__(goes_on)
        self._end = end

    def put(self, drawn: Any) -> None:
        """Note a step; raises ClientLeft or NothingSaid: the next model fails on nothing."""
        super().put(drawn)
        if self.count == 1 and self.has_ended():
            raise NothingSaid

    def has_ended(self) -> bool:
        """Whether the model has ended the sentence, and was not cut off."""
        return int(self.last.reshape(-1)[-1]) == self._end


class Bark:
    """The presets of one model."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Load what ``config`` names; raises what the library raises, and ValueError."""
        from transformers import BarkModel, BarkProcessor  # noqa: PLC0415 (slow; the lifeline is watched already)

        self._model = loaded(BarkModel, config)
        self._processor = BarkProcessor.from_pretrained(config["path"], local_files_only=True)
        presets = self._presets(Path(config["path"]))
        self._voices = named_voices(config["voices"], presets or (NO_PRESET,))
        for preset in presets:
            self._history(preset)  # of one that is damaged, the error says so now
        self._of_text = self._model.generation_config.semantic_config
        self.voices = tuple(self._voices)
        self.sample_rate = int(self._model.generation_config.sample_rate)
        self.version = library_version()

    def speak(self, text: str, *, voice: str, speed: float, seed: int | None, take: Take) -> None:
        """Speak ``text``, sentence by sentence, as long as ``take`` returns true.

        Raises:
            ErrorResponse: a sentence or its audio is too long, or there is a speed.
        """
        check_speed(speed, "Bark")
        most = self._of_text["max_input_semantic_length"]
        tokenizer = self._processor.tokenizer
        sentences = sentences_in(text)
        rows = [tokenizer(sentence, add_special_tokens=False).input_ids for sentence in sentences]
        if (count := max(map(len, rows), default=0)) > most:
            refuse_long_text(count, most)
        draw_from(seed)
        for sentence, row in zip(sentences, rows, strict=True):
            if set(row) <= {tokenizer.unk_token_id}:
                continue  # the model would say something, but not this
            try:
                samples = self._spoken(sentence, voice, take)
            except NothingSaid:
                continue
            except ClientLeft:
                return
            if not take(samples):
                return

    def _presets(self, folder: Path) -> list[str]:
        """Return the presets whose files are in ``folder``; the log names the others. A download may lack them."""
        found, missing = list[str](), list[str]()
        for preset in self._processor.available_voice_presets:
            files = self._processor.speaker_embeddings[preset].values()
            (found if all((folder / file).is_file() for file in files) else missing).append(preset)
        if missing:
            sys.stderr.write(f"files of these voice presets are missing: {', '.join(missing)}\n")
            sys.stderr.flush()
        return found

    def _spoken(self, sentence: str, voice: str, take: Take) -> Any:
        def goes_on() -> bool:
            return take(NOTHING_YET)

        steps = Sentence(goes_on, self._of_text["eos_token_id"])
        inputs = self._processor(sentence, max_length=self._of_text["max_input_semantic_length"])
        if (preset := self._voices[voice]) != NO_PRESET:
            inputs["history_prompt"] = self._history(preset)
        audio = self._model.generate(
            **inputs.to(self._model.device), semantic_streamer=steps, coarse_streamer=Steps(goes_on)
        )
        if not steps.has_ended():
            refuse_long_audio(self._of_text["max_new_tokens"] / self._of_text["semantic_rate_hz"])
        return audio[0].float().cpu().numpy()

    def _history(self, preset: str) -> Any:
        return self._processor("a", voice_preset=preset)["history_prompt"].to(self._model.device)
