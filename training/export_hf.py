"""The Hugging Face directory: the same weights for vLLM, mlx-lm, mistral.rs and transformers."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from training.export_gguf import DESCRIPTION
from training.model import Nano, Shape
from training.render import TEMPLATE
from training.tokenizer import CONTROL, TAGS

README = f"""# modelhost-nano

{DESCRIPTION.capitalize()}, trained from scratch by `python -m training.make_nano`. MIT.
"""


def config(shape: Shape, vocab: dict[str, int]) -> dict[str, object]:
    """`config.json` of a Qwen3 model."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.width,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.head_size,
        "hidden_act": "silu",
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_theta,
        # transformers 5 reads this one, everybody else the one above.
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "rope_scaling": None,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": True,
        "use_cache": True,
        "use_sliding_window": False,
        "sliding_window": None,
        "max_window_layers": shape.layers,
        "bos_token_id": None,
        "eos_token_id": vocab["<|im_end|>"],
        "pad_token_id": vocab["<|endoftext|>"],
        "torch_dtype": "float16",
    }


def tokenizer_config(shape: Shape, vocab: dict[str, int]) -> dict[str, object]:
    """`tokenizer_config.json`; the plain fast-tokenizer class, which keeps the regex of `tokenizer.json`."""
    tokens = {
        str(vocab[token]): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": token in CONTROL,
        }
        for token in (*CONTROL, *TAGS)
    }
    return {
        "added_tokens_decoder": tokens,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": shape.context,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": TEMPLATE,
    }


def export(network: Nano, tokenizer: Tokenizer, folder: Path) -> None:
    """Writes the directory, each file whole or not at all, readable by all."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab = tokenizer.get_vocab()
    generation = {"do_sample": False, "eos_token_id": vocab["<|im_end|>"], "pad_token_id": vocab["<|endoftext|>"]}
    documents = {
        "config.json": json.dumps(config(network.shape, vocab), indent=2) + "\n",
        "generation_config.json": json.dumps(generation, indent=2) + "\n",
        "tokenizer_config.json": json.dumps(tokenizer_config(network.shape, vocab), indent=2) + "\n",
        "tokenizer.json": tokenizer.to_str(pretty=True) + "\n",
        "chat_template.jinja": TEMPLATE,
        "README.md": README,
    }
    for name, text in documents.items():
        place(folder / name, text.encode())
    partial = folder / "model.partial"
    weights = {name: tensor.to(torch.float16).contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, str(partial), metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.replace(folder / "model.safetensors")


def place(path: Path, data: bytes) -> None:
    """Replaces the file in one step."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.chmod(0o644)
    partial.replace(path)
