"""Audio from a file, as samples: decoded piece by piece, so that a small file cannot become a huge amount of memory."""

from __future__ import annotations

from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from modelhost.engines.media.packets import (
    check_length,
    demuxed,
    invalid,
    opened,
    packets_of,
    seconds_of,
    without_inner_tags,
)
from modelhost.engines.media.stated_lengths import SECONDS_LESS, with_whole_samples

SAMPLE_RATE: Final = 16_000
LARGEST: Final = 32_768.0
LEAST_SECONDS: Final = 0.1
"""Less is refused by OpenAI too: models make words up that nobody can have spoken in it."""
EXACT: Final = frozenset({"wav", "w64", "aiff", "flac"})
"""Containers whose sound decodes to as many samples as it has; other codecs cut off what they added in encoding."""


def decode(data: bytes, *, max_minutes: int) -> NDArray[np.float32]:
    """Return the sound in ``data``, mono.

    Raises:
        ErrorResponse: it is of an unknown format, damaged, shorter than its header says, has no sound, or is longer
            than ``max_minutes``, which is found out before anything is decoded.
    """
    data = without_inner_tags(with_whole_samples(data))
    try:
        packets = packets_of(data, max_minutes)
        samples, lost = _decoded(data, max_minutes, packets.bytes_per_second)
    except (av.error.PatchWelcomeError, av.error.ArgumentError) as error:
        raise invalid("it changes its codec, rate or channels, or has some that cannot be read; convert it") from error
    except (av.error.FFmpegError, OSError, ValueError, IndexError) as error:
        raise invalid("it is damaged") from error
    if not samples.size:
        raise invalid("it is damaged" if lost else "it has no sound")
    readable = packets.seconds - packets.missing - lost
    if packets.container in EXACT:
        readable = min(readable, samples.size / SAMPLE_RATE)
    whole = max(packets.stated or 0.0, packets.seconds)
    if readable < whole - SECONDS_LESS:
        raise invalid(f"it is damaged: {max(readable, 0):.1f} s of its {whole:.1f} s can be read; send the whole file")
    if samples.size < LEAST_SECONDS * SAMPLE_RATE:
        raise invalid(f"it is shorter than {LEAST_SECONDS} s")
    return samples.astype(np.float32) / LARGEST


def _decoded(data: bytes, max_minutes: int, bytes_per_second: float) -> tuple[NDArray[np.int16], float]:
    """Return the samples in ``data``, and the seconds of the packets that cannot be decoded.

    Raises ErrorResponse, since packets may hold more than they say, and what the library raises.
    """
    parts: list[NDArray[np.int16]] = [np.zeros(0, np.int16)]
    seconds = lost = between = 0.0
    with opened(data) as file:
        resampler = _Resampler()
        for packet in demuxed(file, data):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                # Where no frame begins, a packet holds all up to the next. Behind the last frame, that is no damage.
                lost += seconds_of(packet)
                between += max(0.0, packet.size / bytes_per_second - seconds_of(packet)) if bytes_per_second else 0.0
                continue
            lost, between = (lost + between, 0.0) if frames else (lost, between)
            for frame in frames:
                parts += resampler.resampled(frame)
                seconds += frame.samples / frame.sample_rate
                check_length(seconds, max_minutes)
        parts += resampler.rest()
    return np.concatenate(parts), lost


class _Resampler:
    """Frames as mono samples at one rate; those of a file may change, as its parts may have been joined."""

    def __init__(self) -> None:
        self._kind: tuple[object, ...] = ()
        self._resampler: Any = None

    def resampled(self, frame: Any) -> list[NDArray[np.int16]]:
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        before = [] if kind == self._kind else self.rest()
        if kind != self._kind:
            self._kind = kind
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        return [*before, *self._samples(frame)]

    def rest(self) -> list[NDArray[np.int16]]:
        return [] if self._resampler is None else self._samples(None)

    def _samples(self, frame: Any) -> list[NDArray[np.int16]]:
        return [each.to_ndarray()[0] for each in self._resampler.resample(frame)]
