"""A file of sound as it is stored: its packets, what is missing between them, and how long they last.

Nothing is decoded. FFmpeg recognises the format by the contents.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import av

from modelhost.engines.media.ogg_pages import is_whole
from modelhost.engines.media.refusals import AUDIO_TOO_LONG, INVALID_AUDIO
from modelhost.engines.media.stated_lengths import SECONDS_LESS, stated_seconds
from modelhost.engines.worker.asgi import ErrorResponse, error_body
from modelhost.exchange.audio_files import UNKNOWN_FORMAT
from modelhost.exchange.mp3_frames import after_tag
from modelhost.plurals import counted

SECONDS_A_MINUTE: Final = 60
READ: Final = "wav,w64,aiff,caf,mp3,aac,amr,ogg,flac,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2"
"""What FFmpeg may find a file to be, by its names. Others, such as playlists, could name further files."""
BIG_ENDIAN_WAV: Final = b"RIFX"
"""FFmpeg takes the samples for those of a common WAV, which makes noise of them."""
STATED_BY_STREAM: Final = frozenset({"mov", "w64", "aiff", "caf"})
STATED_BY_FILE: Final = frozenset({"matroska"})
"""Those with a length in the header: that of each stream, or that of the longest."""
TIMED: Final = frozenset({"matroska", "flac"})
"""Those whose packets say when they begin, so that it is known where some are missing."""
TAGGED: Final = frozenset({"mp3", "aac"})
UNTIMED: Final = frozenset({"aac"})
"""Those that are packets alone, of which FFmpeg leaves out what is none."""
MOST_REST: Final = 8_191
"""The bytes of a frame of AAC, at most (ISO/IEC 14496-3, 1.A.2.2)."""
MOST_HEADS: Final = 64
"""The bytes of the heads of a cluster and a block of Matroska, with some room."""
NEGATIVE: Final = 2**31
SHARE_LOST: Final = 0.1
"""Of the bytes that a gap in time would have filled: a gap with more was not left by silence that is not stored."""
TAG: Final = re.compile(rb"ID3[\x02-\x04]\x00.[\x00-\x7f]{4}", re.DOTALL)
LAST_TAG: Final = b"TAG"
LAST_TAG_BYTES: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Packets:
    """The sound of a file as it is stored."""

    container: str
    """FFmpeg's first name of it."""
    seconds: float
    """How much sound the packets hold, with what is missing between them."""
    missing: float
    """How much of it is missing, in seconds."""
    bytes_per_second: float
    """0 if the packets do not say how long they are."""
    stated: float | None
    """How much there has to be, by the header of the file."""


def opened(data: bytes) -> Any:
    """Open a file; raises ErrorResponse if its format is none of those that are read."""
    if data.startswith(BIG_ENDIAN_WAV):
        raise invalid(UNKNOWN_FORMAT)
    try:
        return av.open(io.BytesIO(data), options={"format_whitelist": READ}, metadata_errors="ignore")
    except av.error.ArgumentError as error:
        raise invalid(UNKNOWN_FORMAT) from error
    except (av.error.InvalidDataError, av.error.EOFError) as error:
        raise invalid(f"it is damaged, or {UNKNOWN_FORMAT}") from error


def without_inner_tags(data: bytes) -> bytes:
    """Return an MP3 or AAC without the tags that stand in its middle, where files were joined.

    Their covers have bytes in them that look like frames. Raises ErrorResponse as ``opened``.
    """
    if TAG.search(data, after_tag(data)) is None:
        return data
    with opened(data) as file:
        if file.format.name not in TAGGED:
            return data
    parts, end = [], 0
    for found in TAG.finditer(data, after_tag(data)):
        if found.start() >= end:
            parts.append(data[end : found.start()])
            end = found.start() + after_tag(found.group())
    return b"".join((*parts, data[end:])) if end else data


def packets_of(data: bytes, max_minutes: int) -> Packets:
    """Return what the packets of the first sound in a file say; raises ErrorResponse and what the library raises."""
    with opened(data) as file:
        container = file.format.name.partition(",")[0]
        if (stated := stated_seconds(data, container)) is not None:
            check_length(stated, max_minutes)
        if container == "ogg" and not is_whole(data):
            raise invalid("it is damaged, or cut off; send the whole file")
        if not file.streams.audio:
            raise invalid("it has no sound")
        stream = file.streams.best("audio")
        if stated is None and container in STATED_BY_STREAM and stream.duration:
            stated = float(stream.duration * stream.time_base)
        elif stated is None and container in STATED_BY_FILE and file.duration and len(file.streams) == 1:
            stated = file.duration / av.time_base
        if stated is not None:
            check_length(stated, max_minutes)
        found = _Count(max_minutes)
        for packet in demuxed(file, data):
            found.add(packet)
        is_alone = len(file.streams) == 1
    rate = found.size / found.seconds if found.seconds else 0.0
    missing = found.missing(rate) if container in TIMED and is_alone else 0.0
    if container in UNTIMED and rate:
        missing = max(0, _sound_bytes(data) - found.size - found.begin) / rate
    if container == "flac" and stated is not None:  # of the whole, of which it may be a part that begins later
        stated -= found.start
    missing_outside = missing if container in UNTIMED else 0.0
    seconds = max(found.seconds + missing_outside, found.lasts(container))
    return Packets(container=container, seconds=seconds, missing=missing, bytes_per_second=rate, stated=stated)


def demuxed(file: Any, data: bytes) -> Iterator[Any]:
    """The packets of the first sound; the rest of one, at the end of a stream that was cut off, is none."""
    end = 0
    try:
        for packet in file.demux(file.streams.best("audio")):
            end = max(end, (packet.pos or 0) + packet.size)
            yield packet
    except av.error.InvalidDataError:
        if len(data) - end > MOST_REST:
            raise


class _Count:
    """How much the packets of a file hold, and the gaps between them: seconds, and bytes."""

    def __init__(self, max_minutes: int) -> None:
        self._max_minutes = max_minutes
        self.seconds = self.start = self.end = 0.0
        self.size = self.begin = 0
        self._after: int | None = None
        self._gaps: list[tuple[float, int]] = []

    def add(self, packet: Any) -> None:
        seconds = seconds_of(packet)
        self.seconds += seconds
        if packet.pts is not None:
            begins = float(packet.pts * packet.time_base)
            if self._after is None:
                self.start = self.end = begins
            elif packet.pos is not None and begins - self.end > SECONDS_LESS:
                self._gaps.append((begins - self.end, packet.pos - self._after))
            self.end = max(self.end, begins + seconds)
        if packet.pos is not None and packet.size:
            self.begin = packet.pos if self._after is None else self.begin
            self._after = packet.pos + packet.size
        self.size += packet.size
        check_length(self.seconds, self._max_minutes)

    def lasts(self, container: str) -> float:
        """Return when the last packet ends, of a container that says it; 0 for others."""
        if container in STATED_BY_FILE:  # from its beginning, as the length in its header
            return self.end
        return self.end - self.start if container in TIMED else 0.0

    def missing(self, bytes_per_second: float) -> float:
        """Return how long the gaps are that have bytes: those without were left by silence that is not stored."""
        return sum(
            seconds for seconds, size in self._gaps if size - MOST_HEADS > SHARE_LOST * seconds * bytes_per_second
        )


def _sound_bytes(data: bytes) -> int:
    """Return how many bytes a file has without a tag and zeros at its end."""
    tag = LAST_TAG_BYTES if data[-LAST_TAG_BYTES:].startswith(LAST_TAG) else 0
    return len(data[: len(data) - tag].rstrip(b"\0"))


def seconds_of(packet: Any) -> float:
    """Return how long the sound of a packet is, as far as it says.

    FFmpeg gives the last page of a short Vorbis a negative length, which arrives as a huge one.
    """
    is_said = packet.duration and packet.duration < NEGATIVE
    return float(packet.duration * packet.time_base) if is_said else 0.0


def check_length(seconds: float, max_minutes: int) -> None:
    """Raise ErrorResponse if sound is longer than ``max_minutes``."""
    if seconds > max_minutes * SECONDS_A_MINUTE:
        message = f"file: it is longer than {counted(max_minutes, 'minute')}; send it in parts."
        raise ErrorResponse(413, error_body(413, AUDIO_TOO_LONG, message, param="file"))


def invalid(problem: str) -> ErrorResponse:
    """Return the answer to a file that cannot be read."""
    return ErrorResponse(400, error_body(400, INVALID_AUDIO, f"file: {problem}.", param="file"))
