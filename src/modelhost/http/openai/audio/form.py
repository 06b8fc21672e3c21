"""A form with a file, as ``multipart/form-data``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from modelhost.errors import InvalidRequest
from modelhost.http.exchange import Exchange

FORM: Final = "multipart/form-data"
MOST_FIELDS: Final = 32
LONGEST_FIELD_BYTES: Final = 100_000


class _InMemory(MultiPartParser):
    """The body is in memory, and limited: its files need not go to the disk."""

    spool_max_size = 1 << 40


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
    content_type = exchange.content_type
    if not content_type.lower().startswith(FORM):
        raise InvalidRequest(f"The body has to be a form ({FORM}) with the audio in the field file.", param="file")
    body = await exchange.body(limit_bytes)

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = _InMemory(
        Headers({"content-type": content_type}),
        stream(),
        max_files=1,
        max_fields=MOST_FIELDS,
        max_part_size=LONGEST_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise InvalidRequest(f"The form cannot be read: {getattr(error, 'message', error)}") from None
    fields: dict[str, list[str]] = {}
    file: bytes | None = None
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "file":
                raise InvalidRequest(f"{name}: the audio belongs in the field file.", param="file")
            file = await value.read()
            await value.close()
        else:
            fields.setdefault(name, []).append(value)
    if file is None:
        raise InvalidRequest("file: the audio is missing.", param="file")
    return SentForm(fields=fields, file=file)
