"""What a model takes beside text, as llama.cpp's server reports it once it listens.

Field ``modalities`` of ``/props``: https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict
from urllib.parse import urlsplit

from modelhost.engines.worker.child_server import Address, ask

PROPERTIES: Final = "/props"


class Modalities(TypedDict):
    """Arguments of :func:`~modelhost.engines.worker.process.announce_ready`; ``None``: unknown."""

    sees_images: bool | None
    hears_audio: bool | None


def modalities_of(address: Address, config: Mapping[str, Any]) -> Modalities:
    """Return what the model of the server at ``address`` takes.

    Raises:
        OSError: the server does not answer.
    """
    if config["mmproj_path"] is None:
        return Modalities(sees_images=False, hears_audio=False)
    properties = ask(address, PROPERTIES, api_key=config["api_key"]).value
    given = properties.get("modalities") if isinstance(properties, Mapping) else None
    if not isinstance(given, Mapping):
        return Modalities(sees_images=True, hears_audio=None)  # versions that know images only
    return Modalities(sees_images=bool(given.get("vision")), hears_audio=bool(given.get("audio")))


def address_in(url: str, config: Mapping[str, Any]) -> Address:
    """Return the address of a server in this process, which listens at ``url``."""
    path: str | None = config.get("socket_path")
    return path if path is not None else urlsplit(url).port or 0
