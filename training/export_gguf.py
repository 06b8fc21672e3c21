"""The GGUF file: what llama.cpp loads. Half-split rotary heads need no permutation in the `qwen3` layout."""

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Quantization
from gguf import TokenType
from tokenizers import Tokenizer

from training.model import Nano
from training.render import TEMPLATE
from training.tokenizer import CONTROL, TAGS

NAME = "modelhost-nano"
DESCRIPTION = "a tiny demonstration model"
LICENSE = "mit"
TEMPERATURE = 0.25  # where a request says nothing: at the usual 0.8 so small a model loses its thread
# Hugging Face's names in the state dict to GGUF's.
IN_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def tensor_name(name: str) -> str:
    """`model.layers.3.mlp.up_proj.weight` to `blk.3.ffn_up.weight`. Raises `KeyError` for an unknown name."""
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, index, *rest = name.split(".")
    return f"blk.{index}.{IN_LAYER['.'.join(rest[:-1])]}.weight"


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    """Vocabulary, merges, special tokens and the chat template."""
    model = json.loads(tokenizer.to_str())["model"]
    vocab = tokenizer.get_vocab()
    tokens = sorted(vocab, key=vocab.__getitem__)
    kinds = dict.fromkeys(CONTROL, TokenType.CONTROL)
    kinds |= dict.fromkeys(TAGS, TokenType.USER_DEFINED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([kinds.get(token, TokenType.NORMAL) for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_eos_token_id(vocab["<|im_end|>"])
    writer.add_pad_token_id(vocab["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def export(network: Nano, tokenizer: Tokenizer, path: Path) -> None:
    """Writes the file whole or not at all: matrices in float16, norms in float32."""
    shape = network.shape
    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(str(partial), "qwen3")
    writer.add_name(NAME)
    writer.add_description(DESCRIPTION)
    writer.add_license(LICENSE)
    writer.add_type("model")
    writer.add_basename(NAME)
    writer.add_size_label(f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f}M")
    writer.add_languages(["en"])
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_key_length(shape.head_size)
    writer.add_value_length(shape.head_size)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_vocab_size(shape.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_sampling_temp(TEMPERATURE)
    add_tokenizer(writer, tokenizer)
    for name, tensor in network.state_dict().items():
        kind = np.float16 if tensor.ndim == 2 else np.float32
        raw = Quantization.F16 if tensor.ndim == 2 else Quantization.F32
        writer.add_tensor(tensor_name(name), tensor.to(torch.float32).numpy().astype(kind), raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.chmod(0o644)
    partial.replace(path)
