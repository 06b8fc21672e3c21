"""The path of an endpoint, as it stands in an address."""

from __future__ import annotations

import re
from typing import Final

from pydantic_core import PydanticCustomError

_PATH: Final = re.compile(r"/[^?#{}\s]*")


def url_path(text: str) -> str:
    """Return ``text``, which is a path.

    Raises:
        PydanticCustomError: it is none; the message is the end of a sentence.
    """
    if not _PATH.fullmatch(text):
        raise PydanticCustomError("url_path", "expected a path such as /ask")
    return text
