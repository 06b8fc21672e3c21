"""CSM (https://huggingface.co/sesame/csm-1b): a text by one of several speakers, named by numbers in its prompt.

The sound of a speaker follows from the seed: a text is spoken as a whole, because in parts each would have another
voice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.media.speaking import NOTHING_YET, Take
from modelhost.engines.transformers import voices
from modelhost.engines.transformers.checkpoints import loaded

SPEAKERS: Final = tuple(str(number) for number in range(10))
"""The files do not say how many the model knows."""


class Csm:
    """The speakers of one model."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Load what ``config`` names; raises what the library raises, and ValueError."""
        import torch  # noqa: PLC0415 (slow; the lifeline is watched already)
        from transformers import AutoTokenizer, CsmForConditionalGeneration  # noqa: PLC0415

        self._torch = torch
        self._model = loaded(CsmForConditionalGeneration, config)
        self._tokenizer = AutoTokenizer.from_pretrained(config["path"], local_files_only=True)
        self._voices = voices.named_voices(config["voices"], SPEAKERS)
        codec = self._model.config.codec_config
        self.voices = tuple(self._voices)
        self.sample_rate = int(codec.sampling_rate)
        self.version = voices.library_version()
        self._frame_rate = float(codec.frame_rate)

    def speak(self, text: str, *, voice: str, speed: float, seed: int | None, take: Take) -> None:
        """Speak ``text``.

        Raises:
            ErrorResponse: the text or its audio is too long, or there is a speed.
        """
        voices.check_speed(speed, "CSM")
        prompt = f"[{self._voices[voice]}]{text}"
        inputs = self._tokenizer(prompt, return_tensors="pt", split_special_tokens=True).to(self._model.device)
        count, most = inputs["input_ids"].shape[1], self._model.config.max_position_embeddings
        if count >= most:
            voices.refuse_long_text(count, most - 1)
        voices.draw_from(seed)
        steps = voices.Steps(lambda: take(NOTHING_YET))
        try:
            (codes,) = self._model.generate(
                **inputs, max_new_tokens=most - count, streamer=steps, return_dict_in_generate=False
            )
        except voices.ClientLeft:
            return
        frames = self._until_end(codes)
        with self._torch.inference_mode():
            audio = self._model.codec_model.decode(frames.transpose(0, 1)[None]).audio_values
        take(audio.reshape(-1).float().cpu().numpy())

    def _until_end(self, codes: Any) -> Any:
        """Return the frames before the one that ends the audio; raises ErrorResponse if there is none of either.

        That frame has the token of the end in all codebooks but the last, by which the library ends its loop too.
        """
        ends = (codes[:, :-1] == self._model.config.codebook_eos_token_id).all(-1).nonzero()
        if not ends.numel():
            voices.refuse_long_audio(codes.shape[0] / self._frame_rate)
        if (end := int(ends[0])) == 0:
            voices.refuse_silence()
        return codes[:end]
