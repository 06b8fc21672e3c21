"""The vectors of an answer to a request for embeddings."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from modelhost.errors import UnsupportedParameter

FLOAT_BYTES: Final = 4


def check_dimensions(model: str, answer: Mapping[str, Any], wanted: int) -> None:
    """Check that the vectors of ``answer`` have as many numbers as are ``wanted``.

    Raises:
        UnsupportedParameter: they do not: nobody cuts the vectors of a model that was not trained for that.
    """
    for entry in answer["data"]:
        vector = entry["embedding"]
        found = len(base64.b64decode(vector)) // FLOAT_BYTES if isinstance(vector, str) else len(vector)
        if found != wanted:
            raise UnsupportedParameter(
                f"dimensions: the vectors of {model} have {found} numbers, no more and no fewer; leave it out.",
                param="dimensions",
            )
