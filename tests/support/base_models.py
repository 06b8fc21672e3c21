"""Base models: the bundled one as a Hugging Face directory without its chat template, and a chat as its prompt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

from tests.support.nano_hf import NANO_HF

BEGINNING: Final = "<|endoftext|>"
MESSAGES: Final[list[dict[str, Any]]] = [
    {"role": "developer", "content": "Be kind. "},
    {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    {"role": "assistant", "content": " Yo"},
    {"role": "user", "content": "More"},
]
PLAIN: Final = "system: Be kind.\nuser: Hi\nassistant: Yo\nuser: More\nassistant:"


def base_directory(folder: Path, *, begins: bool = True) -> Path:
    """Write the model to ``folder``; its tokenizer ``begins`` each text with a token, as those of OPT and Llama do."""
    directory = Path(shutil.copytree(NANO_HF, folder / "base-nano"))
    (directory / "chat_template.jinja").unlink()
    config = _json(directory / "tokenizer_config.json")
    del config["chat_template"]
    _write(directory / "tokenizer_config.json", {**config, "bos_token": BEGINNING if begins else None})
    if begins:
        _write(directory / "tokenizer.json", {**_json(directory / "tokenizer.json"), "post_processor": _begun()})
    return directory


def older_directory(folder: Path, architecture: str) -> Path:
    """As :func:`base_directory`, with random weights of one of the first base models: ``gpt2`` or ``opt``."""
    from transformers import GPT2Config, GPT2LMHeadModel, OPTConfig, OPTForCausalLM  # noqa: PLC0415

    directory = base_directory(folder)
    for file in ("config.json", "generation_config.json"):
        (directory / file).unlink()
    ends = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}
    if architecture == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(vocab_size=1024, n_positions=512, n_embd=64, n_layer=2, n_head=2, **ends))
    else:
        sizes = {"hidden_size": 64, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = OPTConfig(vocab_size=1024, max_position_embeddings=512, word_embed_proj_dim=64, **sizes, **ends)
        model = OPTForCausalLM(config)
    model.save_pretrained(directory)
    return directory


def _begun() -> dict[str, Any]:
    single = [{"SpecialToken": {"id": BEGINNING, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {BEGINNING: {"id": BEGINNING, "ids": [0], "tokens": [BEGINNING]}},
    }


def _json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value))
