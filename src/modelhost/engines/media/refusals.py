"""What workers for sound refuse, by the types that their errors have."""

from __future__ import annotations

from typing import Final

NOTHING_TO_SPEAK: Final = "nothing_to_speak"
INVALID_AUDIO: Final = "invalid_audio"
AUDIO_TOO_LONG: Final = "audio_too_long"
