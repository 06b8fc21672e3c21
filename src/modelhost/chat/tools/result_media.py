"""Images and sounds that tools returned, as parts of the messages with the results."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from modelhost.chat.images import content_with_images
from modelhost.chat.media.audio_lengths import CONTAINERS
from modelhost.errors import InvalidAudio
from modelhost.exchange.audio_files import container_of
from modelhost.exchange.media_kinds import AUDIO
from modelhost.exchange.messages import MediaPart, Message, Part, TextPart
from modelhost.tools.outcome import ToolOutcome, ToolSound

HEAD_CHARS: Final = 64  # characters of base64: enough for each signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Modalities:
    """What a model takes besides text."""

    images: bool = False
    audio: bool = False


def has_media(outcomes: Sequence[ToolOutcome], modalities: Modalities) -> bool:
    """Whether ``outcomes`` have anything besides text that a model with ``modalities`` takes."""
    return any((modalities.images and outcome.images) or (modalities.audio and outcome.sounds) for outcome in outcomes)


def with_media(messages: Sequence[Message], outcomes: Sequence[ToolOutcome], modalities: Modalities) -> list[Message]:
    """Return ``messages``, one and the results of its calls, with what of ``outcomes`` the model takes.

    Images and sounds are part of the tool messages: many templates drop earlier reasoning when a user message follows.
    """
    written, *results = messages
    shown = zip(results, outcomes, strict=True)
    return [written, *(replace(result, content=_content(outcome, modalities)) for result, outcome in shown)]


def _content(outcome: ToolOutcome, modalities: Modalities) -> str | tuple[Part, ...]:
    content = content_with_images(outcome) if modalities.images else outcome.text
    sounds = [part for sound in outcome.sounds if (part := _part(sound))] if modalities.audio else []
    if not sounds:
        return content
    return (*((TextPart(content),) if isinstance(content, str) else content), *sounds)


def _part(sound: ToolSound) -> MediaPart | None:
    """Return ``sound`` as models get it; ``None`` if its format is another, which the text then mentions alone."""
    try:
        container = container_of(base64.b64decode(sound.data[:HEAD_CHARS], validate=True))
    except (binascii.Error, ValueError, InvalidAudio):
        return None
    if container not in CONTAINERS:
        return None
    return MediaPart(AUDIO, {AUDIO: {"data": sound.data, "format": container}})
