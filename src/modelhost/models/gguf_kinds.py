"""What a file that is not GGUF seems to be, from its first bytes, and the way out of it."""

from __future__ import annotations

_BEGINNINGS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    (
        (b"version https://git-lfs",),
        "it is a git-lfs pointer, not the weights: run `git lfs pull` in its repository, or download the file itself",
    ),
    (
        (b"<!doctype html", b"<html", b"<?xml"),
        "it is a web page, so a download went wrong: download the file itself, not the page that describes it",
    ),
    ((b"pk\x03\x04",), "it is a ZIP archive or a PyTorch checkpoint: convert the model to GGUF"),
    (
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        "it is a Python pickle (an old PyTorch checkpoint): convert the model to GGUF",
    ),
    (
        (b"lmgg", b"fmgg", b"tjgg"),
        "it is in the GGML format from before GGUF, which llama.cpp no longer reads: get a GGUF file of the model",
    ),
    ((b"\x1f\x8b",), "it is compressed with gzip: unpack it first"),
    ((b"{",), "it is JSON, probably an error message saved by a download: download the file again"),
)


def describe_foreign(head: bytes) -> str:
    """Return half a sentence on what the file that begins with ``head`` looks like and what to do."""
    if _is_safetensors(head):
        return "it is a safetensors file: convert it with llama.cpp's convert_hf_to_gguf.py, or serve a GGUF repository"
    text = head.lstrip().lower()
    for beginnings, description in _BEGINNINGS:
        if text.startswith(beginnings):
            return description
    if not any(head):
        return "it begins with zeros only, so a download was probably not finished: download it again"
    return f"it begins with {head[:4]!r} instead of b'GGUF': give a GGUF file"


def _is_safetensors(head: bytes) -> bool:
    """A safetensors file begins with the length of its JSON header, 8 bytes little-endian, and that header."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000
