"""The worker process of one Whisper model in safetensors.

Started as ``python -m modelhost.engines.transformers.hearing`` (:mod:`modelhost.engines.launch`). Files are worked on
in windows of 30 seconds, of which each begins where the last whole segment of the one before ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelhost.engines.media.events import EVENTS, event
from modelhost.engines.media.jobs import Emit, Job
from modelhost.engines.media.starting import LoadedMedia, run
from modelhost.engines.media.transcripts import PATH, read_request
from modelhost.engines.transformers.checkpoints import loaded
from modelhost.engines.worker.asgi import UNSUPPORTED, ErrorResponse, error_body, invalid
from modelhost.engines.worker.process import read_config, watch_lifeline

WINDOW_SECONDS: Final = 30
SECONDS_PER_STEP: Final = 0.02
"""Between two timestamps of the vocabulary."""
ENGLISH: Final = "en"
NO_TIMES: Final = "<|notimestamps|>"
"""The token before the timestamps."""


def load(config: Mapping[str, Any]) -> LoadedMedia:
    """Return the model of ``config``; raises what the library raises."""
    import torch  # noqa: PLC0415 (slow; the lifeline is watched already)
    from transformers import AutoProcessor, WhisperForConditionalGeneration, __version__  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    import_decoder()
    logging.disable_progress_bar()
    torch.set_num_threads(config["threads"])
    model = loaded(WhisperForConditionalGeneration, config)
    processor = AutoProcessor.from_pretrained(config["path"], local_files_only=True)
    whisper = Whisper(model, processor, max_minutes=config["max_minutes"])
    return LoadedMedia(
        tasks={"transcription": (PATH, whisper.prepare)},
        version=f"transformers {__version__}, torch {torch.__version__}",
    )


def import_decoder() -> Any:
    """Return the module that decodes files.

    Raises:
        ModuleNotFoundError: its library is not installed.
    """
    try:
        from modelhost.engines.media import decoding  # noqa: PLC0415 (where it is missing, the error says so)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error.name} is not installed: pip install 'modelhost[transformers]'") from error
    return decoding


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A segment of a window; times are in seconds from its beginning."""

    start: float
    end: float
    tokens: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRead:
    """What was heard in a window."""

    segments: Sequence[Segment]
    seconds: float
    """Where the next window begins."""


def read_window(tokens: Sequence[int], *, end: int, first_time: int, seconds: float) -> WindowRead:
    """Return the segments in ``tokens``, which Whisper wrote for a window of ``seconds``.

    ``end`` is the token that ends a text; larger ones are no text. ``first_time`` is the timestamp of 0 seconds. A
    segment stands between two timestamps; one without its end lasts to the end of the window, unless others are whole:
    then the next window begins with it.
    """
    segments: list[Segment] = []
    words: list[int] = []
    start = last = 0.0
    for token in tokens:
        if token >= first_time:
            at = min((token - first_time) * SECONDS_PER_STEP, seconds)
            if words and at > start:
                segments.append(Segment(start=start, end=at, tokens=tuple(words)))
                last, words = at, []
            start = at
        elif token < end:
            words.append(token)
    if not words or (segments and last > 0 and seconds >= WINDOW_SECONDS):
        return WindowRead(segments=segments, seconds=last if words and segments else seconds)
    begin = min(start, max(0.0, seconds - SECONDS_PER_STEP))  # a timestamp may be beyond the end of the sound
    segments.append(Segment(start=begin, end=seconds, tokens=tuple(words)))
    return WindowRead(segments=segments, seconds=seconds)


class Whisper:
    """Transcribes with one model."""

    def __init__(self, model: Any, processor: Any, *, max_minutes: int) -> None:
        import torch  # noqa: PLC0415

        self._torch, self._model, self._max_minutes = torch, model, max_minutes
        self._features, self._tokenizer = processor.feature_extractor, processor.tokenizer
        languages: Mapping[str, int] = getattr(model.generation_config, "lang_to_id", None) or {}
        self._languages = {number: name.strip("<|>") for name, number in languages.items()}
        self._end = int(model.config.eos_token_id)
        self._first_time = int(self._tokenizer.convert_tokens_to_ids(NO_TIMES)) + 1

    def prepare(self, raw: bytes) -> tuple[Job, str]:
        """Return the job for ``raw``, and the media type of its answer.

        Raises:
            ErrorResponse: the model cannot do what the request wants.
        """
        request, data = read_request(raw)
        self._check(request)
        prompt = self._prompt_ids(request["prompt"]) if request.get("prompt") else None

        def job(emit: Emit) -> None:
            decoding = import_decoder()
            samples = decoding.decode(data, max_minutes=self._max_minutes)
            with self._torch.inference_mode():
                self._transcribe(samples, decoding.SAMPLE_RATE, {**request, "prompt_ids": prompt}, emit)

        return job, EVENTS

    def _transcribe(self, samples: Any, rate: int, request: Mapping[str, Any], emit: Emit) -> None:
        language = request.get("language") or self._language_of(samples[: WINDOW_SECONDS * rate], rate)
        if not emit(event("info", duration=samples.size / rate, language=language)):
            return
        for number, segment in enumerate(self._segments(samples, rate, {**request, "language": language}, emit)):
            if not emit(event("segment", id=number, **segment)):
                return
        emit(event("done"))

    def _check(self, request: Mapping[str, Any]) -> None:
        known = set(self._languages.values()) or {ENGLISH}
        if (language := request.get("language")) is not None and language not in known:
            names = ", ".join(sorted(known))
            raise invalid(f'language: the model does not know "{language}"; it knows {names}.', param="language")
        if request["translates"] and not self._languages:
            raise invalid("model: it knows English only, so it cannot translate.", param="model")
        for field, param in (("word_timestamps", "timestamp_granularities"), ("vad", "chunking_strategy")):
            if request[field]:
                message = f"{param}: Whisper on transformers cannot do that; on faster-whisper it can."
                raise ErrorResponse(400, error_body(400, UNSUPPORTED, message, param=param))

    def _prompt_ids(self, prompt: str) -> Any:
        """Return the tokens of a client's prompt.

        Raises:
            ErrorResponse: it names a special token, or is too long, where the library would cut it silently.
        """
        try:
            ids = self._tokenizer.get_prompt_ids(prompt, return_tensors="pt")
        except ValueError as error:
            raise invalid(f"prompt: {error}", param="prompt") from error
        most = self._model.config.max_target_positions // 2 - 1
        if len(ids) > most:
            raise invalid(f"prompt: it has {len(ids)} tokens, and the model takes {most}.", param="prompt")
        return ids.to(self._model.device)

    def _language_of(self, samples: Any, rate: int) -> str:
        if not self._languages:
            return ENGLISH
        found = self._model.detect_language(input_features=self._spectrogram(samples, rate))
        return self._languages[int(found.reshape(-1)[0])]

    def _spectrogram(self, samples: Any, rate: int) -> Any:
        floats = import_decoder().as_floats(samples)
        features = self._features(floats, sampling_rate=rate, return_tensors="pt").input_features
        return features.to(self._model.device, self._model.dtype)

    def _segments(self, samples: Any, rate: int, request: Mapping[str, Any], emit: Emit) -> Iterator[dict[str, Any]]:
        """Yield the segments of ``samples``, window by window, as long as ``emit`` returns true."""
        at = 0.0
        while (first := round(at * rate)) < samples.size and emit(b""):
            window = samples[first : first + WINDOW_SECONDS * rate]
            seconds = window.size / rate
            tokens = self._written(self._spectrogram(window, rate), request, emit)
            read = read_window(tokens, end=self._end, first_time=self._first_time, seconds=seconds)
            for segment in read.segments:
                yield self._as_event(segment, at, request)
            at += read.seconds

    def _written(self, features: Any, request: Mapping[str, Any], emit: Emit) -> list[int]:
        """Return the tokens for one window, those of the client's prompt left out."""
        options: dict[str, Any] = {"temperature": request["temperature"], "do_sample": request["temperature"] > 0}
        if self._languages:
            options |= {"language": request["language"], "task": "translate" if request["translates"] else "transcribe"}
        written = self._model.generate(
            features,
            return_timestamps=True,
            force_unique_generate_call=True,  # windows go on here, where a client that has left is noticed
            stopping_criteria=[self._cancelled(emit)],
            prompt_ids=request["prompt_ids"],
            **options,
        )
        tokens: list[int] = written[0].tolist()
        start = self._model.config.decoder_start_token_id
        return tokens[tokens.index(start) + 1 :] if start in tokens else tokens

    def _cancelled(self, emit: Emit) -> Any:
        """Return a criterion that stops at the next token once the client has left."""
        torch = self._torch

        def has_left(ids: Any, _scores: Any, **_: Any) -> Any:
            return torch.full((ids.shape[0],), not emit(b""), dtype=torch.bool, device=ids.device)

        return has_left

    def _as_event(self, segment: Segment, offset: float, request: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "seek": round(offset * 100),
            "start": round(offset + segment.start, 2),
            "end": round(offset + segment.end, 2),
            "text": self._tokenizer.decode(list(segment.tokens)),
            "tokens": list(segment.tokens),
            "temperature": request["temperature"],
            "avg_logprob": 0.0,
            "compression_ratio": 0.0,
            "no_speech_prob": 0.0,
            "words": [],
        }


if __name__ == "__main__":
    given = read_config()
    watch_lifeline()
    run(given, load)
