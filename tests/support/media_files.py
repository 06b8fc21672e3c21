"""Tiny encoders with random weights, in the GGUF form that llama.cpp calls ``mmproj``, with images and sound for them.

llama.cpp loads one beside a model of the same width and evaluates real images and sound with it; what it makes of them
is noise. The encoder for sound is Whisper's with the projector of Qwen2-Audio.
Names of keys and tensors: https://github.com/ggml-org/llama.cpp/blob/master/tools/mtmd/clip-impl.h
"""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path
from typing import Any

import gguf
import numpy as np

IMAGE_SIZE, PATCH_SIZE = 56, 14
IMAGE_TOKENS = (IMAGE_SIZE // PATCH_SIZE) ** 2
"""What an image takes of the context, however large it is: the encoder sees all of them at one size."""
AUDIO_TOKENS = 750
"""What each begun 30 seconds of sound take."""
MEL_BINS = 128
WIDTH, HEADS, BLOCKS = 32, 2, 2


def write_vision_encoder(path: Path, *, model_width: int, image_size: int = IMAGE_SIZE, width: int = WIDTH) -> Path:
    """Write a CLIP encoder with LLaVA's projector for a model of ``model_width``."""
    writer = _begun(path)
    _add_vision(writer, model_width, image_size=image_size, width=width)
    return _written(writer, path)


def write_audio_encoder(path: Path, *, model_width: int, width: int = WIDTH) -> Path:
    """Write an encoder for a model of ``model_width`` that hears and does not see."""
    writer = _begun(path)
    _add_audio(writer, model_width, width=width)
    return _written(writer, path)


def write_both_encoders(path: Path, *, model_width: int) -> Path:
    """Write a file for a model of ``model_width`` that sees and hears."""
    writer = _begun(path)
    _add_vision(writer, model_width, image_size=IMAGE_SIZE, width=WIDTH)
    _add_audio(writer, model_width, width=WIDTH)
    return _written(writer, path)


def write_empty_encoder(path: Path) -> Path:
    """Write a file that neither sees nor hears; it is good for header tests only."""
    writer = _begun(path)
    writer.add_tensor("mm.0.weight", np.zeros((1, 1), np.float32))
    return _written(writer, path)


def _begun(path: Path) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    return writer


def _written(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class _Weights:
    """Adds random weights."""

    def __init__(self, writer: gguf.GGUFWriter) -> None:
        self._writer, self._random = writer, np.random.default_rng(0)

    def weights(self, name: str, *shape: int, kind: type[np.floating[Any]] = np.float32) -> None:
        self._writer.add_tensor(name, (self._random.standard_normal(shape) * 0.05).astype(kind))

    def layer(self, name: str, *shape: int) -> None:
        self.weights(f"{name}.weight", *shape)
        self._writer.add_tensor(f"{name}.bias", np.zeros(shape[0], np.float32))

    def convolution(self, name: str, *shape: int) -> None:
        self.weights(f"{name}.weight", *shape, kind=np.float16)
        self._writer.add_tensor(f"{name}.bias", np.zeros((shape[0], 1), np.float32))


def _add_vision(writer: gguf.GGUFWriter, model_width: int, *, image_size: int, width: int) -> None:
    writer.add_clip_has_vision_encoder(True)
    writer.add_string("clip.vision.projector_type", "mlp")
    writer.add_vision_use_gelu(True)
    writer.add_vision_image_size(image_size)
    writer.add_vision_patch_size(PATCH_SIZE)
    writer.add_vision_embedding_length(width)
    writer.add_vision_feed_forward_length(4 * width)
    writer.add_vision_block_count(BLOCKS)
    writer.add_vision_head_count(HEADS)
    writer.add_vision_projection_dim(model_width)
    writer.add_vision_attention_layernorm_eps(1e-5)
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])
    made = _Weights(writer)
    made.weights("v.class_embd", width)
    made.weights("v.patch_embd.weight", width, 3, PATCH_SIZE, PATCH_SIZE)
    made.weights("v.position_embd.weight", (image_size // PATCH_SIZE) ** 2 + 1, width)
    made.layer("v.pre_ln", width)
    made.layer("v.post_ln", width)
    for block in range(BLOCKS):
        for name in ("ln1", "ln2"):
            made.layer(f"v.blk.{block}.{name}", width)
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            made.layer(f"v.blk.{block}.{name}", width, width)
        made.layer(f"v.blk.{block}.ffn_up", 4 * width, width)
        made.layer(f"v.blk.{block}.ffn_down", width, 4 * width)
    made.layer("mm.0", model_width, width)
    made.layer("mm.2", model_width, model_width)


def _add_audio(writer: gguf.GGUFWriter, model_width: int, *, width: int) -> None:
    writer.add_clip_has_audio_encoder(True)
    writer.add_string("clip.audio.projector_type", "qwen2a")
    writer.add_audio_projection_dim(model_width)
    writer.add_audio_embedding_length(width)
    writer.add_audio_feed_forward_length(4 * width)
    writer.add_audio_block_count(BLOCKS)
    writer.add_audio_head_count(HEADS)
    writer.add_audio_attention_layernorm_eps(1e-5)
    writer.add_audio_num_mel_bins(MEL_BINS)
    made = _Weights(writer)
    made.convolution("a.conv1d.1", width, MEL_BINS, 3)
    made.convolution("a.conv1d.2", width, width, 3)
    made.weights("a.position_embd.weight", 2 * AUDIO_TOKENS, width)
    made.layer("a.post_ln", width)
    for block in range(BLOCKS):
        for name in ("ln1", "ln2"):
            made.layer(f"a.blk.{block}.{name}", width)
        made.weights(f"a.blk.{block}.attn_k.weight", width, width)  # as in Whisper, without a bias
        for name in ("attn_q", "attn_v", "attn_out"):
            made.layer(f"a.blk.{block}.{name}", width, width)
        made.layer(f"a.blk.{block}.ffn_up", 4 * width, width)
        made.layer(f"a.blk.{block}.ffn_down", width, 4 * width)
    made.layer("mm.a.fc", model_width, width)


def png(width: int = 8, height: int = 8) -> bytes:
    """Return a PNG of one colour."""
    rows = (b"\0" + b"\xc8\x32\x32" * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def png_url(width: int = 8, height: int = 8) -> str:
    """Return the same as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(png(width, height)).decode()}"


def wav(seconds: float, *, rate: int = 16_000, loudness: int = 1) -> bytes:
    """Return a WAV with a hum."""
    samples = (np.arange(int(seconds * rate)) % 100 * loudness).astype("<i2").tobytes()
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(samples),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        rate,
        2 * rate,
        2,
        16,
        b"data",
        len(samples),
    )
    return head + samples


def of_each_format(width: int, height: int) -> tuple[bytes, ...]:
    """Return the beginnings of a PNG, a JPEG, a GIF, a BMP and a WebP."""
    return (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height),
        b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", height, width),
        b"GIF89a" + struct.pack("<HH", width, height),
        b"BM" + bytes(16) + struct.pack("<ii", width, height),
        b"RIFF\0\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<HH", width, height),
    )
