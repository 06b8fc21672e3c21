"""Audio from a file, as samples: decoded piece by piece, so that a small file cannot become a huge amount of memory."""

from __future__ import annotations

import io
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from modelhost.engines.media.refusals import AUDIO_TOO_LONG, INVALID_AUDIO
from modelhost.engines.media.stated_lengths import SECONDS_LESS, stated_seconds
from modelhost.engines.worker.asgi import ErrorResponse, error_body

SAMPLE_RATE: Final = 16_000
LARGEST: Final = 32_768.0
SECONDS_A_MINUTE: Final = 60


def decode(data: bytes, *, container: str, max_minutes: int) -> NDArray[np.float32]:
    """Return the sound in ``data``, mono.

    ``container`` is the format that the host has recognised: FFmpeg's own guess could be a playlist, which names other
    files.

    Raises:
        ErrorResponse: it is damaged, shorter than its header says, has no sound, or is longer than ``max_minutes``.
    """
    most = max_minutes * SECONDS_A_MINUTE * SAMPLE_RATE
    parts: list[NDArray[np.int16]] = []
    count = 0
    try:
        with av.open(io.BytesIO(data), format=container, metadata_errors="ignore") as opened:
            if not opened.streams.audio:
                raise _invalid("it has no sound")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
            for frame in _frames(opened):
                for resampled in resampler.resample(frame):
                    part = resampled.to_ndarray()[0]
                    parts.append(part)
                    count += part.size
                if count > most:
                    message = f"file: it is longer than {max_minutes} minutes; send it in parts."
                    raise ErrorResponse(413, error_body(413, AUDIO_TOO_LONG, message, param="file"))
    except (av.error.FFmpegError, OSError, ValueError, IndexError) as error:
        if not count:
            raise _invalid("it is damaged") from error
    if not count:
        raise _invalid("it has no sound")
    stated, there = stated_seconds(data, container), count / SAMPLE_RATE
    if stated is not None and there < stated - SECONDS_LESS:
        raise _invalid(f"it is damaged: {there:.1f} s of its {stated:.1f} s can be read; send the whole file")
    return np.concatenate(parts).astype(np.float32) / LARGEST


def _frames(opened: Any) -> Any:
    """Yield the frames of the first sound in a file, and at the end what the resampler holds back."""
    yield from opened.decode(audio=0)
    yield None


def _invalid(problem: str) -> ErrorResponse:
    return ErrorResponse(400, error_body(400, INVALID_AUDIO, f"file: {problem}.", param="file"))
