"""The worker process of one model that speaks.

Started as the module ``modelhost.engines.speech.worker`` (:mod:`modelhost.engines.launch`), usually by the Python of an
environment of its own, which has what its lock file lists and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from modelhost.engines.media.jobs import Emit, Job
from modelhost.engines.media.refusals import NOTHING_TO_SPEAK
from modelhost.engines.media.starting import LoadedMedia, run
from modelhost.engines.speech.encoding import MEDIA_TYPES, Encoder
from modelhost.engines.speech.voices import Hibari, Samples, SherpaVoices, Speaker
from modelhost.engines.worker.asgi import ErrorResponse, error_body, read_json
from modelhost.engines.worker.process import read_config, watch_lifeline

PATH: Final = "/v1/audio/speech"


def load(config: Mapping[str, Any]) -> LoadedMedia:
    """Return the model of ``config``; raises what the library raises."""
    speaker = _speaker(config)
    return LoadedMedia(
        tasks={"speech": (PATH, lambda raw: prepare(speaker, read_json(raw)))},
        version=speaker.version,
        voices=speaker.voices,
    )


def _speaker(config: Mapping[str, Any]) -> Speaker:
    if config["path"] is None:
        try:
            return Hibari(config["threads"])
        except ModuleNotFoundError as error:
            way_out = "modelhost engines install speech --voice hibari"
            raise ValueError(f"the voice hibari is not installed: {way_out}") from error
    return SherpaVoices(Path(config["path"]), kind=config["kind"], names=config["voices"], threads=config["threads"])


def prepare(speaker: Speaker, body: Mapping[str, Any]) -> tuple[Job, str]:
    """Return the job for ``body``, which the host has checked, and the media type of its answer."""
    voice = body.get("voice") or speaker.voices[0]

    def job(emit: Emit) -> None:
        encoder = Encoder(body["response_format"], speaker.sample_rate)
        has_spoken = False

        def take(samples: Samples) -> bool:
            nonlocal has_spoken
            has_spoken = has_spoken or samples.size > 0
            return emit(encoder.add(samples))

        speaker.speak(body["input"], voice=voice, speed=body["speed"], seed=body.get("seed"), take=take)
        if not has_spoken:
            message = "input: the voice knows none of its characters, so there is nothing to speak."
            raise ErrorResponse(400, error_body(400, NOTHING_TO_SPEAK, message, param="input"))
        emit(encoder.end())

    return job, MEDIA_TYPES[body["response_format"]]


if __name__ == "__main__":
    given = read_config()
    watch_lifeline()
    run(given, load)
