"""Bounded reading of the GGUF encoding: nothing is read beyond the file's end, no number is believed unchecked."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

from modelhost.models.files.gguf_format import ARRAY, INT32, SCALAR_FORMATS, STRING

Value = int | float | bool | str | list[int] | None

CHUNK_BYTES = 1 << 18
MAX_HEADER_BYTES = 1 << 28
"""Ten times the longest header known (a vocabulary of 260,000 entries with merges takes 20 MB)."""
MAX_STRING_BYTES = 1 << 24
MAX_KEPT_ITEMS = 4096
"""Arrays up to this length are kept (values per layer); longer ones (scores, token types) are only counted."""
_INTEGER_FORMATS = "BbHhIiQq?"


class Damaged(Exception):
    """What is wrong with the encoding; :func:`modelhost.models.files.gguf.read_header` makes the user's error of it."""


class HeaderStream:
    """A forward reader over the header of an open GGUF file of ``size_bytes``.

    Raises:
        Damaged: from every method, when the file ends too early or a number in it cannot be true.
    """

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._end = min(size_bytes, MAX_HEADER_BYTES)
        self._is_capped = size_bytes > MAX_HEADER_BYTES
        self._buffer = b""
        self._start = 0
        self._at = 0

    @property
    def offset(self) -> int:
        """Bytes of the file that have been consumed."""
        return self._start + self._at

    def require(self, byte_count: int) -> None:
        """Check that ``byte_count`` more bytes can be there."""
        if self.offset + byte_count > self._end:
            if self._is_capped:
                raise Damaged(f"its header claims more than {MAX_HEADER_BYTES:,} bytes")
            raise Damaged(f"the file ends at {self._end:,} bytes, in the middle of its header")

    def take(self, byte_count: int) -> bytes:
        self.require(byte_count)
        if self._at + byte_count > len(self._buffer):
            self._fill(byte_count)
        taken = self._buffer[self._at : self._at + byte_count]
        if len(taken) < byte_count:
            raise Damaged(f"the file ends at {self._start + len(self._buffer):,} bytes, in the middle of its header")
        self._at += byte_count
        return taken

    def skip(self, byte_count: int) -> None:
        """Pass over ``byte_count`` bytes without reading what is not buffered."""
        self.require(byte_count)
        self._at += byte_count
        if self._at > len(self._buffer):
            self._start += self._at
            self._at = 0
            self._buffer = b""
            self._file.seek(self._start)

    def unsigned(self, byte_count: int) -> int:
        """Return the next little-endian unsigned integer."""
        return int.from_bytes(self.take(byte_count), "little")

    def text(self) -> str:
        """Return the next string. Bytes that are not UTF-8 become replacement characters, as in llama.cpp's output."""
        return self._text_bytes().decode("utf-8", errors="replace")

    def _text_bytes(self) -> bytes:
        length = self.unsigned(8)
        if length > MAX_STRING_BYTES:
            raise Damaged(f"a text of {length:,} bytes at offset {self.offset:,} cannot be true")
        return self.take(length)

    def value(self, kind: int, *, keep: bool = True) -> Value:
        """Return the next value of ``kind``; of an array its length, or its items if they are few whole numbers.

        With ``keep`` false the value is passed over where that is cheaper, and ``None`` returned.
        """
        if kind == STRING:
            if keep:
                return self.text()
            self._skip_texts(1)
            return None
        if kind == ARRAY:
            return self._array(keep=keep)
        return self._scalar(kind)

    def texts(self) -> list[bytes]:
        """Return the items of the next value, an array of strings, in UTF-8."""
        count = self._array_of(STRING)
        self.require(count * 8)
        texts: list[bytes] = []
        unpack = struct.Struct("<Q").unpack_from  # as hot as _skip_texts
        for _ in range(count):
            start, filled = self._at + 8, len(self._buffer)
            end = start + unpack(self._buffer, self._at)[0] if start <= filled else start
            if end > filled:
                texts.append(self._text_bytes())
                continue
            texts.append(self._buffer[start:end])
            self._at = end
        return texts

    def integers(self) -> Sequence[int]:
        """Return the items of the next value, an array of signed numbers of 32 bits."""
        data = self.take(self._array_of(INT32) * 4)
        return struct.unpack(f"<{len(data) // 4}i", data)

    def items(self) -> list[Any]:
        """Return all items of the next value, an array of strings or of numbers."""
        kind, count = self.unsigned(4), self.unsigned(8)
        if kind == STRING:
            self.require(count * 8)
            return [self.text() for _ in range(count)]
        number_format = self._scalar_format(kind)
        byte_count = count * struct.calcsize("<" + number_format)
        return list(struct.unpack(f"<{count}{number_format}", self.take(byte_count)))

    def _array_of(self, wanted: int) -> int:
        kind, count = self.unsigned(4), self.unsigned(8)
        if kind != wanted:
            raise Damaged(f"it holds an array of the type {kind} where one of the type {wanted} is due")
        return count

    def _scalar(self, kind: int) -> int | float | bool:
        number_format = "<" + self._scalar_format(kind)
        number: int | float | bool = struct.unpack(number_format, self.take(struct.calcsize(number_format)))[0]
        return number

    @staticmethod
    def _scalar_format(kind: int) -> str:
        number_format = SCALAR_FORMATS.get(kind)
        if number_format is None:
            raise Damaged(f"it holds a value of the unknown type {kind}")
        return number_format

    def _array(self, *, keep: bool) -> int | list[int]:
        kind, count = self.unsigned(4), self.unsigned(8)
        if kind == STRING:
            self.require(count * 8)
            self._skip_texts(count)
            return count
        number_format = self._scalar_format(kind)
        byte_count = count * struct.calcsize("<" + number_format)
        self.require(byte_count)
        if keep and count <= MAX_KEPT_ITEMS and number_format in _INTEGER_FORMATS:
            return [int(item) for item in struct.unpack(f"<{count}{number_format}", self.take(byte_count))]
        self.skip(byte_count)
        return count

    def _skip_texts(self, count: int) -> None:
        """Pass over strings: the one hot loop (a vocabulary and its merges are half a million of them)."""
        buffer, at, filled = self._buffer, self._at, len(self._buffer)
        unpack = struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at + 8 > filled:
                self._at = at
                self.require(8)
                self._fill(8)
                buffer, at, filled = self._buffer, self._at, len(self._buffer)
                if filled < 8:
                    raise Damaged("the file became shorter while it was read")
            at += 8 + unpack(buffer, at)[0]
            if at > filled:
                beyond = at - filled
                self._at = filled
                self.skip(beyond)
                buffer, at, filled = self._buffer, self._at, len(self._buffer)
        self._at = at

    def _fill(self, byte_count: int) -> None:
        """Buffer at least ``byte_count`` bytes from the present offset on, if the file has them."""
        self._start += self._at
        self._buffer = self._buffer[self._at :]
        self._at = 0
        self._buffer += self._file.read(max(CHUNK_BYTES, byte_count - len(self._buffer)))
