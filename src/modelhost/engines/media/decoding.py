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
LARGEST: Final = np.float32(32_768)
LEAST_SECONDS: Final = 0.1
"""Less is refused by OpenAI too: models make words up that nobody can have spoken in it."""
WITH_PAUSES: Final = frozenset({"matroska", "mov", "ogg"})
"""Containers in which sound may begin after pictures, or pause."""
EXACT: Final = frozenset({"wav", "w64", "aiff", "flac"})
"""Containers whose sound decodes to as many samples as it has; other codecs cut off what they added in encoding."""


def decode(data: bytes, *, max_minutes: int) -> NDArray[np.int16]:
    """Return the sound in ``data``, mono, at ``SAMPLE_RATE``; models get it by ``as_floats``, a part at a time.

    Raises:
        ErrorResponse: it is of an unknown format, damaged, shorter than its header says, has no sound, or is longer
            than ``max_minutes``, which is found out before anything is decoded.
    """
    try:
        data = without_inner_tags(with_whole_samples(data))
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
    return samples


def as_floats(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return samples from -1 to 1."""
    return samples.astype(np.float32) / LARGEST


def _decoded(data: bytes, max_minutes: int, bytes_per_second: float) -> tuple[NDArray[np.int16], float]:
    """Return the samples in ``data``, and the seconds of what cannot be decoded, if it is more than little in a place.

    Raises ErrorResponse, since packets may hold more than they say, and what the library raises.
    """
    with opened(data) as file:
        sound = _Sound(file, max_minutes)
        lost = here = behind = 0.0
        for packet in demuxed(file, data):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                # Where no frame begins, a packet holds all up to the next. Behind the last frame, that is no damage.
                here += seconds_of(packet)
                behind += max(0.0, packet.size / bytes_per_second - seconds_of(packet)) if bytes_per_second else 0.0
                continue
            if frames:  # where files were joined, a frame or two cannot be decoded
                lost += here + behind if here + behind > SECONDS_LESS else 0.0
                here = behind = 0.0
            for frame in frames:
                sound.add(frame)
        return sound.samples(), lost + here


class _Sound:
    """The frames of a file as samples at one rate, with silence where the file has none."""

    def __init__(self, file: Any, max_minutes: int) -> None:
        self._max_minutes = max_minutes
        self._resampler = _Resampler()
        self._parts: list[NDArray[np.int16]] = [np.zeros(0, np.int16)]
        self._seconds = 0.0
        has_times = file.format.name.partition(",")[0] in WITH_PAUSES
        self._begin = file.start_time / av.time_base if has_times and file.start_time is not None else None

    def add(self, frame: Any) -> None:
        """Add a frame; raises ErrorResponse if there is too much now."""
        seconds = frame.samples / frame.sample_rate
        if self._begin is not None and frame.time is not None:
            # Against all that is there, since short pauses, as of packets that a call lost, add up.
            pause = frame.time - self._begin - self._seconds
            if pause > SECONDS_LESS:
                self._check(pause)
                self._parts += (*self._resampler.rest(), np.zeros(round(pause * SAMPLE_RATE), np.int16))
        self._check(seconds)
        self._parts += self._resampler.resampled(frame)

    def samples(self) -> NDArray[np.int16]:
        """Return all samples, after the last frame."""
        return np.concatenate([*self._parts, *self._resampler.rest()])

    def _check(self, seconds: float) -> None:
        self._seconds += seconds
        check_length(self._seconds, self._max_minutes)


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
        return [*before, *(each.to_ndarray()[0] for each in self._resampler.resample(frame))]

    def rest(self) -> list[NDArray[np.int16]]:
        """Return what is held back; the next frame begins anew."""
        resampler, self._resampler, self._kind = self._resampler, None, ()
        return [] if resampler is None else [each.to_ndarray()[0] for each in resampler.resample(None)]
