"""The kinds of media in a message, each of which also names the field with the contents, as in OpenAI's API."""

from __future__ import annotations

from typing import Final

IMAGE: Final = "image_url"
AUDIO: Final = "input_audio"
