"""A form with a sound file, as ``multipart/form-data``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelhost.errors import InvalidRequest
from modelhost.http.exchange import Exchange
from modelhost.http.openai.multipart import FORM, is_form, read_parts


@dataclass(frozen=True, slots=True, kw_only=True)
class SentForm:
    """What a form holds."""

    fields: Mapping[str, Sequence[str]]
    file: bytes


async def read_form(exchange: Exchange, limit_bytes: int) -> SentForm:
    """Return the form in the body.

    Raises:
        InvalidRequest: it is no form, or has no field ``file``.
        RequestTooLarge: it is larger than ``limit_bytes``.
    """
    if not is_form(exchange):
        raise InvalidRequest(f"The body has to be a form ({FORM}) with the audio in the field file.", param="file")
    parts = await read_parts(exchange, limit_bytes, max_files=1)
    for name in parts.files:
        if name != "file":
            raise InvalidRequest(f"{name}: the audio belongs in the field file.", param="file")
    if "file" not in parts.files:
        raise InvalidRequest("file: the audio is missing.", param="file")
    return SentForm(fields=parts.fields, file=parts.files["file"][0])
