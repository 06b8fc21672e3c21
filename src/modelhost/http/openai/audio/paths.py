"""The paths of OpenAI's API for sound."""

from __future__ import annotations

from typing import Final

SPEECH: Final = "/v1/audio/speech"
MODELS: Final = "/v1/audio/models"
VOICES: Final = "/v1/audio/voices"
TRANSCRIPTIONS: Final = "/v1/audio/transcriptions"
TRANSLATIONS: Final = "/v1/audio/translations"
