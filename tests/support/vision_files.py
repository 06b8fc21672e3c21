"""A tiny vision encoder with random weights, in the GGUF form that llama.cpp calls ``mmproj``, and images for it.

llama.cpp loads it beside a model of the same width and evaluates real images with it; what it sees in them is noise.
Names of keys and tensors: https://github.com/ggml-org/llama.cpp/blob/master/tools/mtmd/clip-impl.h
"""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import gguf
import numpy as np

IMAGE_SIZE, PATCH_SIZE = 56, 14
IMAGE_TOKENS = (IMAGE_SIZE // PATCH_SIZE) ** 2
"""What an image takes of the context, however large it is: the encoder sees all of them at one size."""
WIDTH, HEADS, BLOCKS = 32, 2, 2


def write_vision_encoder(path: Path, *, model_width: int, image_size: int = IMAGE_SIZE, width: int = WIDTH) -> Path:
    """Write a CLIP encoder with LLaVA's projector for a model of ``model_width``."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("mlp")
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
    _add_weights(writer, model_width, pieces=(image_size // PATCH_SIZE) ** 2, width=width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_weights(writer: gguf.GGUFWriter, model_width: int, *, pieces: int, width: int) -> None:
    random = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> None:
        writer.add_tensor(name, (random.standard_normal(shape) * 0.05).astype(np.float32))

    def layer(name: str, *shape: int) -> None:
        weights(f"{name}.weight", *shape)
        writer.add_tensor(f"{name}.bias", np.zeros(shape[0], np.float32))

    weights("v.class_embd", width)
    weights("v.patch_embd.weight", width, 3, PATCH_SIZE, PATCH_SIZE)
    weights("v.position_embd.weight", pieces + 1, width)
    layer("v.pre_ln", width)
    layer("v.post_ln", width)
    for block in range(BLOCKS):
        for name in ("ln1", "ln2"):
            layer(f"v.blk.{block}.{name}", width)
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            layer(f"v.blk.{block}.{name}", width, width)
        layer(f"v.blk.{block}.ffn_up", 4 * width, width)
        layer(f"v.blk.{block}.ffn_down", width, 4 * width)
    layer("mm.0", model_width, width)
    layer("mm.2", model_width, model_width)


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


def write_audio_encoder(path: Path) -> Path:
    """Write a file for a model that hears and does not see; it is good for header tests only."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_clip_has_audio_encoder(True)
    writer.add_tensor("mm.a.0.weight", np.zeros((1, 1), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
