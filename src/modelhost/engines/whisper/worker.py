"""The worker process of one model that transcribes.

Started as the module ``modelhost.engines.whisper.worker`` (:mod:`modelhost.engines.launch`), usually by the Python of
an environment of its own.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modelhost.engines.media.decoding import SAMPLE_RATE, as_floats, decode
from modelhost.engines.media.events import EVENTS, event
from modelhost.engines.media.jobs import Emit, Job
from modelhost.engines.media.starting import LoadedMedia, run
from modelhost.engines.media.transcripts import PATH, read_request
from modelhost.engines.whisper.pieces import Piece, Placed, Transcript
from modelhost.engines.worker.asgi import invalid
from modelhost.engines.worker.process import read_config, watch_lifeline

FRAMES_PER_SECOND = 100
"""Of the spectrum, in which the library counts where its windows begin."""


def load(config: Mapping[str, Any]) -> LoadedMedia:
    """Return the model of ``config``; raises what the library raises."""
    from faster_whisper import WhisperModel  # noqa: PLC0415 (slow; the lifeline is watched already)

    path = Path(config["path"])
    if not path.is_dir():
        raise FileNotFoundError(str(path))  # the library would look for it on the hub
    compute_type = config["compute_type"]
    model = WhisperModel(
        str(path),
        device=config["device"],
        compute_type="default" if compute_type == "auto" and config["device"] == "cuda" else _on_cpu(compute_type),
        cpu_threads=config["threads"],
        local_files_only=True,
    )
    return LoadedMedia(
        tasks={"transcription": (PATH, lambda raw: prepare(model, raw, config))},
        version=f"faster-whisper {version('faster-whisper')}",
    )


def _on_cpu(compute_type: str) -> str:
    return "int8" if compute_type == "auto" else compute_type


def prepare(model: Any, raw: bytes, config: Mapping[str, Any]) -> tuple[Job, str]:
    """Return the job for ``raw``, and the media type of its answer.

    Raises:
        ErrorResponse: the model does not know the language.
    """
    request, data = read_request(raw)
    language = request.get("language")
    if language is not None and language not in model.supported_languages:
        known = ", ".join(model.supported_languages)
        raise invalid(f'language: the model does not know "{language}"; it knows {known}.', param="language")
    if request["translates"] and not model.model.is_multilingual:
        raise invalid("model: it knows English only, so it cannot translate.", param="model")
    _check_prompt(model, request.get("prompt"))

    def transcribe(piece: Piece) -> tuple[Generator[Any, None, None], Any]:
        found: tuple[Generator[Any, None, None], Any] = model.transcribe(
            as_floats(piece.samples),
            language=language or piece.language,
            task="translate" if request["translates"] else "transcribe",
            temperature=request["temperature"],  # one: retries with others take minutes where speech repeats
            initial_prompt=piece.context or request.get("prompt"),
            word_timestamps=request["word_timestamps"],
            vad_filter=request["vad"],
        )
        return found

    def job(emit: Emit) -> None:
        samples = decode(data, max_minutes=config["max_minutes"])
        transcript = Transcript(transcribe, samples)
        seconds = samples.size / SAMPLE_RATE
        if emit(event("info", duration=seconds, language=transcript.language)):
            with closing(transcript.segments()) as segments:
                for placed in segments:
                    if not emit(event("segment", **_segment(placed))):
                        return
            emit(event("done"))

    return job, EVENTS


def _check_prompt(model: Any, prompt: str | None) -> None:
    """Refuse a prompt of which the library would use the end alone; raises ErrorResponse."""
    if prompt is None:
        return
    count = len(model.hf_tokenizer.encode(f" {prompt.strip()}", add_special_tokens=False).ids)
    if count > (most := model.max_length // 2 - 1):
        raise invalid(f"prompt: it has {count} tokens, and the model takes {most}.", param="prompt")


def _segment(placed: Placed) -> dict[str, Any]:
    segment, offset = placed.segment, placed.offset
    words = [
        {"word": word.word, "start": _time(offset, word.start), "end": _time(offset, word.end)}
        for word in segment.words or ()
    ]
    return {
        "id": placed.number,
        "seek": int(segment.seek) + round(offset * FRAMES_PER_SECOND),
        "start": _time(offset, segment.start),
        "end": _time(offset, segment.end),
        "text": segment.text,
        "tokens": [int(token) for token in segment.tokens],
        "temperature": float(segment.temperature or 0.0),
        "avg_logprob": float(segment.avg_logprob),
        "compression_ratio": float(segment.compression_ratio),
        "no_speech_prob": float(segment.no_speech_prob),
        "words": words,
    }


def _time(offset: float, seconds: Any) -> float:
    """Return a time of a piece in the whole, to a millisecond."""
    return round(offset + float(seconds), 3)


if __name__ == "__main__":
    given = read_config()
    watch_lifeline()
    run(given, load)
