"""Forms as ``multipart/form-data``, in memory and within limits."""

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


class _InMemory(MultiPartParser):
    """The body is in memory, and limited: its files need not go to the disk."""

    spool_max_size = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class FormParts:
    """What a form holds, by the names of the fields."""

    fields: Mapping[str, Sequence[str]]
    files: Mapping[str, Sequence[bytes]]


def is_form(exchange: Exchange) -> bool:
    """Whether the head says that the body is such a form."""
    return exchange.content_type.lower().startswith(FORM)


async def read_parts(exchange: Exchange, limit_bytes: int, *, max_files: int) -> FormParts:
    """Return the form in the body.

    Raises:
        InvalidRequest: it cannot be read, or has more than ``max_files``.
        RequestTooLarge: it is larger than ``limit_bytes``.
    """
    body = await exchange.body(limit_bytes)

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = _InMemory(
        Headers({"content-type": exchange.content_type}),
        stream(),
        max_files=max_files,
        max_fields=MOST_FIELDS,
        max_part_size=limit_bytes,  # what a field may be long is checked with its name
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise InvalidRequest(f"The form cannot be read: {getattr(error, 'message', error)}") from None
    fields: dict[str, list[str]] = {}
    files: dict[str, list[bytes]] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            files.setdefault(name, []).append(await value.read())
            await value.close()
        else:
            fields.setdefault(name, []).append(value)
    return FormParts(fields=fields, files=files)
