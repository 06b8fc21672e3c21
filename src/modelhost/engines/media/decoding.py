"""Audio from a file, as samples: decoded piece by piece, so that a small file cannot become a huge amount of memory."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from modelhost.engines.media.ogg_pages import is_whole
from modelhost.engines.media.refusals import AUDIO_TOO_LONG, INVALID_AUDIO
from modelhost.engines.media.stated_lengths import SECONDS_LESS, stated_seconds
from modelhost.engines.worker.asgi import ErrorResponse, error_body
from modelhost.plurals import counted

SAMPLE_RATE: Final = 16_000
LARGEST: Final = 32_768.0
SECONDS_A_MINUTE: Final = 60
EXACT: Final = frozenset({"wav", "flac"})
"""Containers whose sound decodes to as many samples as it has; other codecs cut off what they added in encoding."""
STATED_BY_STREAM: Final = frozenset({"mov"})
STATED_BY_FILE: Final = frozenset({"matroska"})
"""Those with a length in the header: that of each stream, or that of the longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packets:
    """The sound of a file as it is stored."""

    seconds: float
    stated: float | None
    """How much there has to be, by the header of the file."""


def decode(data: bytes, *, container: str, max_minutes: int) -> NDArray[np.float32]:
    """Return the sound in ``data``, mono.

    ``container`` is the format that the host has recognised: FFmpeg's own guess could be a playlist, which names other
    files.

    Raises:
        ErrorResponse: it is damaged, shorter than its header says, has no sound, or is longer than ``max_minutes``,
            which is found out before anything is decoded.
    """
    if (stated := stated_seconds(data, container)) is not None:
        _check_length(stated, max_minutes)
    if container == "ogg" and not is_whole(data):
        raise _invalid("it is damaged, or cut off; send the whole file")
    try:
        packets = _packets(data, container, stated, max_minutes)
        samples, lost = _decoded(data, container, max_minutes)
    except (av.error.FFmpegError, OSError, ValueError, IndexError) as error:
        raise _invalid("it is damaged") from error
    if not samples.size:
        raise _invalid("it is damaged" if lost else "it has no sound")
    readable = packets.seconds - lost
    if container in EXACT:
        readable = min(readable, samples.size / SAMPLE_RATE)
    whole = max(packets.stated or 0.0, packets.seconds)
    if readable < whole - SECONDS_LESS:
        raise _invalid(f"it is damaged: {readable:.1f} s of its {whole:.1f} s can be read; send the whole file")
    return samples.astype(np.float32) / LARGEST


def _decoded(data: bytes, container: str, max_minutes: int) -> tuple[NDArray[np.int16], float]:
    """Return the samples in ``data``, and the seconds of the packets that cannot be decoded.

    Raises ErrorResponse, since packets may hold more than they say, and what the library raises.
    """
    parts: list[NDArray[np.int16]] = [np.zeros(0, np.int16)]
    count, lost = 0, 0.0
    with _opened(data, container) as opened:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        for packet in opened.demux(opened.streams.audio[0]):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                lost += _seconds_of(packet)
                continue
            for frame in frames:
                parts += (each.to_ndarray()[0] for each in resampler.resample(frame))
                count += frame.samples
                _check_length(count / frame.sample_rate, max_minutes)
        parts += (each.to_ndarray()[0] for each in resampler.resample(None))
    return np.concatenate(parts), lost


def _opened(data: bytes, container: str) -> Any:
    return av.open(io.BytesIO(data), format=container, metadata_errors="ignore")


def _packets(data: bytes, container: str, stated: float | None, max_minutes: int) -> _Packets:
    """Return what the packets of the first sound in a file say; raises ErrorResponse and what the library raises."""
    with _opened(data, container) as opened:
        if not opened.streams.audio:
            raise _invalid("it has no sound")
        stream = opened.streams.audio[0]
        if stated is None and container in STATED_BY_STREAM and stream.duration:
            stated = float(stream.duration * stream.time_base)
        elif stated is None and container in STATED_BY_FILE and opened.duration and len(opened.streams) == 1:
            stated = opened.duration / av.time_base
        if stated is not None:
            _check_length(stated, max_minutes)
        seconds = end = 0.0
        for packet in opened.demux(stream):
            seconds += _seconds_of(packet)
            if packet.pts is not None:
                end = max(end, float(packet.pts * packet.time_base) + _seconds_of(packet))
            _check_length(seconds, max_minutes)
        return _Packets(seconds=max(seconds, end) if container in STATED_BY_FILE else seconds, stated=stated)


def _seconds_of(packet: Any) -> float:
    return float(packet.duration * packet.time_base) if packet.duration else 0.0


def _check_length(seconds: float, max_minutes: int) -> None:
    if seconds > max_minutes * SECONDS_A_MINUTE:
        message = f"file: it is longer than {counted(max_minutes, 'minute')}; send it in parts."
        raise ErrorResponse(413, error_body(413, AUDIO_TOO_LONG, message, param="file"))


def _invalid(problem: str) -> ErrorResponse:
    return ErrorResponse(400, error_body(400, INVALID_AUDIO, f"file: {problem}.", param="file"))
