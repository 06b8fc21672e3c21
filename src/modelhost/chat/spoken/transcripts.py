"""What was said in the audio of recent answers: later requests of a conversation name it by the id of the audio."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from modelhost.errors import InvalidRequest
from modelhost.exchange.messages import Message
from modelhost.exchange.nothing import NOTHING

AUDIO: Final = "audio"
KEPT_SECONDS: Final = 3600
MOST_CHARS: Final = 10_000_000
"""Of all transcripts together; beyond that the oldest are dropped."""


class Transcripts:
    """The transcripts of audio by its id, for :data:`KEPT_SECONDS` at most."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._kept: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._chars = 0

    def add(self, audio_id: str, transcript: str) -> int:
        """Keep a transcript; return the time at which it expires, in seconds since 1970."""
        expires_at = int(self._now()) + KEPT_SECONDS
        self._kept[audio_id] = (expires_at, transcript)
        self._chars += len(transcript)
        while self._kept and (self._chars > MOST_CHARS or next(iter(self._kept.values()))[0] < self._now()):
            _, (_, dropped) = self._kept.popitem(last=False)
            self._chars -= len(dropped)
        return expires_at

    def filled_in(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Return ``messages`` with transcripts in place of the audio that answers among them name.

        Raises:
            InvalidRequest: there is no such audio, or no longer; ``param`` is its path.
        """
        return tuple(
            self._filled(message, f"messages[{at}].audio") if AUDIO in message.extra else message
            for at, message in enumerate(messages)
        )

    def _filled(self, message: Message, param: str) -> Message:
        extra = {name: value for name, value in message.extra.items() if name != AUDIO}
        if message.content:
            return replace(message, extra=extra or NOTHING)
        extra.pop("content", None)  # it is null
        return replace(message, content=self._transcript(message.extra[AUDIO], param), extra=extra or NOTHING)

    def _transcript(self, audio: Any, param: str) -> str:
        audio_id = audio.get("id") if isinstance(audio, dict) else None
        expires_at, transcript = self._kept.get(audio_id, (0, "")) if isinstance(audio_id, str) else (0, "")
        if expires_at < self._now():
            raise InvalidRequest(
                f"{param}: there is no such audio, or no longer; send its transcript as content.", param=param
            )
        return transcript


def has_audio(messages: Sequence[Message]) -> bool:
    """Whether answers among ``messages`` name audio."""
    return any(AUDIO in message.extra for message in messages)
