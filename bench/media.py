"""What the host adds to speech and transcription: the same work by the bare library, in a process of its own as the
worker has it, and as a request to the host. One after the other, in turns, with the same threads and the same seed."""

from __future__ import annotations

import json
import os
import secrets
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench.bare_library import FIRST, PART, THREADS, WHOLE, Ask, Times, in_turns, library, posted
from bench.sides import StartError, host
from bench.targets import Check
from tests.support.sound_weights import wave_head, write_whisper_base

ENVIRONMENT: Final = "MODELHOST_TEST_MEDIA"
FOLDER: Final = Path(__file__).parents[1] / ".venv-media"
BYTES_PER_SECOND: Final = 48_000
"""Of samples of 16 bits at 24 kHz."""
SECONDS_PER_MINUTE: Final = 60
SENTENCES: Final = (
    "The weather is nice today, and the train leaves at noon.",
    "Nobody has seen the two brothers since the bridge was closed.",
    "A small boat came into the harbour before the sun went down.",
    "She opened the letter, read it twice, and put it on the table.",
)
MOST_ADDED_FIRST_SECONDS: Final = 0.015
MOST_ADDED_PER_MINUTE_SECONDS: Final = 0.1
"""Of audio. The library takes seconds for one."""

SPEAK: Final = f"""{PART}
import numpy as np
from hibari import Hibari
voice = Hibari(threads=int(sys.argv[1]))
part(b"")
for line in sys.stdin:
    asked = json.loads(line)
    for samples in voice.stream(asked["input"], 1.0, asked["seed"]):
        part((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    part(b"")
"""
TRANSCRIBE: Final = f"""{PART}
from faster_whisper import WhisperModel
whisper = WhisperModel(
    sys.argv[2], device="cpu", compute_type="int8", cpu_threads=int(sys.argv[1]), local_files_only=True
)
part(b"")
for line in sys.stdin:
    segments, info = whisper.transcribe(json.loads(line)["path"], language="en", temperature=0.0)
    for segment in segments:
        part(segment.text.encode())
    part(b"")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaCost:
    """One kind of work, ``audio_seconds`` long each time: seconds by the library and by the host, in pairs."""

    name: str
    audio_seconds: float
    library: tuple[Times, ...]
    host: tuple[Times, ...]

    def added(self, what: str) -> float:
        """Return the median of what the host takes longer."""
        return statistics.median(there[what] - here[what] for here, there in zip(self.library, self.host, strict=True))

    @property
    def added_per_minute(self) -> float:
        """The same for the whole, per minute of audio."""
        return self.added(WHOLE) * SECONDS_PER_MINUTE / self.audio_seconds


def media_python() -> str | None:
    """Return the Python with the engines and the weights; ``None``: there is none."""
    python = Path(os.environ.get(ENVIRONMENT, FOLDER)) / "bin" / "python"
    return str(python) if python.exists() else None


def measure_media(log: Path, *, pairs: int) -> list[MediaCost]:
    """Measure speech and transcription, ``pairs`` times each.

    Raises:
        StartError: the weights are not there, or a side did not start or did not answer.
    """
    python = media_python()
    if python is None:
        raise StartError("there are no weights; `make test-media` installs them")
    with ExitStack() as things:
        folder = Path(things.enter_context(tempfile.TemporaryDirectory()))
        sound = folder / "said.wav"
        return [
            _speech(python, folder, log, pairs, sound),
            _transcription(python, folder, log, pairs, sound),
        ]


def _speech(python: str, folder: Path, log: Path, pairs: int, sound: Path) -> MediaCost:
    text = " ".join(SENTENCES)
    options = [
        "--model",
        "hibari",
        "--worker-python",
        python,
        "--threads",
        str(THREADS),
        "--data-dir",
        str(folder / "a"),
    ]
    with library(python, SPEAK, [], log) as ask_library, host(options, log) as side:
        said = b"".join(ask_library({"input": text, "seed": 1})[1])
        sound.write_bytes(wave_head(len(said) * 2) + said * 2)
        body = json.dumps({"input": text, "seed": 1, "response_format": "pcm"}).encode()

        def by_host() -> Times:
            return posted(side.url, "/v1/audio/speech", body, "application/json")[0]

        return _measured(
            "speech (hibari)",
            len(said) / BYTES_PER_SECOND,
            lambda: ask_library({"input": text, "seed": 1})[0],
            by_host,
            pairs,
        )


def _transcription(python: str, folder: Path, log: Path, pairs: int, sound: Path) -> MediaCost:
    model = write_whisper_base(python, folder / "whisper-base")
    options = [
        "--model",
        str(model),
        "--worker-python",
        python,
        "--threads",
        str(THREADS),
        "--data-dir",
        str(folder / "b"),
    ]
    boundary = secrets.token_hex(16)
    data = sound.read_bytes()
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="language"\r\n\r\nen\r\n--{boundary}\r\n'
        'Content-Disposition: form-data; name="file"; filename="said.wav"\r\n\r\n'
    ).encode() + data
    body += f"\r\n--{boundary}--\r\n".encode()
    with library(python, TRANSCRIBE, [str(model)], log) as ask_library, host(options, log) as side:

        def by_host() -> Times:
            kind = f"multipart/form-data; boundary={boundary}"
            return posted(side.url, "/v1/audio/transcriptions", body, kind)[0]

        return _measured(
            "transcription (Whisper base)",
            len(data) / BYTES_PER_SECOND,
            lambda: ask_library({"path": str(sound)})[0],
            by_host,
            pairs,
        )


def _measured(name: str, audio_seconds: float, by_library: Ask, by_host: Ask, pairs: int) -> MediaCost:
    here, there = in_turns(by_library, by_host, pairs)
    return MediaCost(name=name, audio_seconds=audio_seconds, library=here, host=there)


def pairs_of(*, quick: bool) -> int:
    """Return how many pairs are measured."""
    return 3 if quick else 15


def media_table(costs: Sequence[MediaCost]) -> Table:
    """Return the table."""
    title = f"speech and transcription, {THREADS} thread (medians)"
    columns = ("", "audio, s", "library", "host", "added, ms", "added per minute of audio, ms")
    table = Table(*columns, title=title, title_justify="left")
    for cost in costs:
        for what in (FIRST, WHOLE) if cost.name.startswith("speech") else (WHOLE,):
            sides = [statistics.median(each[what] for each in side) for side in (cost.library, cost.host)]
            per_minute = f"{cost.added_per_minute * 1000:,.1f}" if what == WHOLE else ""
            table.add_row(
                f"{cost.name}, {what}",
                f"{cost.audio_seconds:.1f}",
                *(f"{seconds:,.3f} s" for seconds in sides),
                f"{cost.added(what) * 1000:,.1f}",
                per_minute,
            )
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def media_checks(costs: Sequence[MediaCost]) -> list[tuple[str, Check]]:
    """Return the targets, each with where."""
    checks = []
    for cost in costs:
        figures = [("added per minute of audio", cost.added_per_minute, MOST_ADDED_PER_MINUTE_SECONDS)]
        if cost.name.startswith("speech"):
            figures.insert(0, ("added to the first audio byte", cost.added(FIRST), MOST_ADDED_FIRST_SECONDS))
        for what, seconds, most in figures:
            check = Check(
                what=what,
                target=f"at most {most * 1000:,.0f} ms",
                measured=f"{seconds * 1000:,.1f} ms",
                is_reached=seconds <= most,
            )
            checks.append((cost.name, check))
    return checks


def media_json(costs: Sequence[MediaCost]) -> dict[str, Any]:
    """Return all figures, with the targets."""
    found = [
        {**asdict(cost), "added_first_seconds": cost.added(FIRST), "added_per_minute_seconds": cost.added_per_minute}
        for cost in costs
    ]
    return {"media": found, "media_targets": [asdict(check) for _, check in media_checks(costs)]}
