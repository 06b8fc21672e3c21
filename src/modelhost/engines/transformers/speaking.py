"""The worker process of one VITS voice in safetensors, such as those of MMS (https://arxiv.org/abs/2305.13516).

Started as ``python -m modelhost.engines.transformers.speaking`` (:mod:`modelhost.engines.launch`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelhost.engines.media.sentences import sentences_in
from modelhost.engines.media.starting import LoadedMedia, run
from modelhost.engines.worker.devices import device_of, dtype_of
from modelhost.engines.worker.process import read_config, watch_lifeline


def load(config: Mapping[str, Any]) -> LoadedMedia:
    """Return the model of ``config``; raises what the library raises."""
    import torch  # noqa: PLC0415 (slow; the lifeline is watched already)
    from transformers import VitsModel, VitsTokenizer  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    try:
        from modelhost.engines.media.speaking import loaded_speaker  # noqa: PLC0415 (as below)
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed: pip install 'modelhost[transformers]'") from error
    logging.disable_progress_bar()
    torch.set_num_threads(config["threads"])
    device = device_of(torch, config["device"])
    model = VitsModel.from_pretrained(
        config["path"], dtype=dtype_of(torch, config["dtype"], device), local_files_only=True
    )
    tokenizer = VitsTokenizer.from_pretrained(config["path"], local_files_only=True)
    return loaded_speaker(VitsVoices(model.to(device).eval(), tokenizer, names=config["voices"]))


class VitsVoices:
    """The speakers of one model."""

    def __init__(self, model: Any, tokenizer: Any, *, names: Mapping[str, int] | None) -> None:
        """``names`` has speakers by the names of their voices; without it, they are called by their numbers.

        Raises:
            ValueError: there are not so many speakers.
        """
        import torch  # noqa: PLC0415
        from transformers import __version__  # noqa: PLC0415

        self._torch, self._model, self._tokenizer = torch, model, tokenizer
        self._rate = float(model.speaking_rate)
        count = max(1, int(model.config.num_speakers))
        self._speakers = dict(names or {str(number): number for number in range(count)})
        if beyond := [name for name, number in self._speakers.items() if not 0 <= number < count]:
            raise ValueError(f"voices: {', '.join(beyond)}: the model has {count} speakers, from 0 to {count - 1}")
        self.voices = tuple(self._speakers)
        self.sample_rate = int(model.config.sampling_rate)
        self.version = f"transformers {__version__}, torch {torch.__version__}"
        tokenizer("a")  # some need a program for phonemes: the error says so now

    def speak(self, text: str, *, voice: str, speed: float, seed: int | None, take: Any) -> None:
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
        return self._speakers[voice] if self._model.config.num_speakers > 1 else None


if __name__ == "__main__":
    given = read_config()
    watch_lifeline()
    run(given, load)
