"""The kinds of media in a message, each of which also names the field with the contents, as in OpenAI's API."""

from __future__ import annotations

from typing import Final

IMAGE: Final = "image_url"
AUDIO: Final = "input_audio"
UNREADABLE_IMAGE: Final = "[An image was returned here. It cannot be read.]"
"""In the place of an image that a tool returned: a refusal would end the conversation."""
