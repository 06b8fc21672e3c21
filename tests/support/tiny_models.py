"""Tiny models with random weights, as transformers writes them: Whisper, a VITS voice, sentence embeddings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

from tests.support.nano_hf import NANO_HF

END: Final = 256
"""The token after those of the bytes, which ends a text."""
SPECIAL: Final = (
    *("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>"),
    *("<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
)
TIMES: Final = 1_501
"""Of 0 to 30 seconds, one every 20 milliseconds."""
LONGEST: Final = 48
"""Tokens that the model writes for a window."""
VOICE_RATE: Final = 16_000
LETTERS: Final = " abcdefghijklmnopqrstuvwxyz'"
WIDTH: Final = 32
LIMIT: Final = 40
"""Tokens of a text to embed."""


def write_whisper(folder: Path) -> Path:
    """Write a model for English and German, of which what it writes means nothing."""
    import torch  # noqa: PLC0415 (large; few tests need it)
    from tokenizers.pre_tokenizers import ByteLevel  # noqa: PLC0415
    from transformers import (  # noqa: PLC0415
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    letters = {letter: place for place, letter in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = WhisperTokenizer(vocab=letters, merges=[])
    tokenizer.add_tokens(list(SPECIAL), special_tokens=True)
    tokenizer.add_tokens([f"<|{number * 0.02:.2f}|>" for number in range(TIMES)])
    ids = {name: END + place for place, name in enumerate(SPECIAL)}
    of_tokens = {"decoder_start_token_id": END + 1, "eos_token_id": END, "bos_token_id": END, "pad_token_id": END}
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=END + len(SPECIAL) + TIMES,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_target_positions=2 * LONGEST,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        **of_tokens,
    )
    model = WhisperForConditionalGeneration(config)
    settings = {
        "is_multilingual": True,
        "lang_to_id": {name: ids[name] for name in ("<|en|>", "<|de|>")},
        "task_to_id": {name: ids[f"<|{name}|>"] for name in ("transcribe", "translate")},
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "max_initial_timestamp_index": 50,
        "max_length": LONGEST,
        **of_tokens,
    }
    model.save_pretrained(folder)
    _write(folder / "generation_config.json", settings)
    WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer).save_pretrained(folder)
    return folder


def without_tensors(folder: Path, prefix: str) -> Path:
    """Take the tensors whose names begin with ``prefix`` out of the model in ``folder``; return that."""
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 (as above)

    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith(prefix)}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    return folder


def with_old_names(folder: Path) -> Path:
    """Name the tensors of the model in ``folder`` as torch did before parametrizations; return that.

    The files of most VITS voices have these names.
    """
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    path = folder / "model.safetensors"
    weights = load_file(path)
    renamed = {
        name.replace(".parametrizations.weight.original0", ".weight_g").replace(
            ".parametrizations.weight.original1", ".weight_v"
        ): tensor
        for name, tensor in weights.items()
    }
    assert renamed.keys() != weights.keys()
    save_file(renamed, path, {"format": "pt"})
    return folder


def write_voice(folder: Path, *, speakers: int = 2) -> Path:
    """Write a VITS voice that knows ``LETTERS``; what it says is noise."""
    import torch  # noqa: PLC0415 (as above)
    from transformers import VitsConfig, VitsModel, VitsTokenizer  # noqa: PLC0415

    torch.manual_seed(0)
    config = VitsConfig(
        vocab_size=len(LETTERS) + 2,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=16,
        flow_size=16,
        spectrogram_bins=33,
        use_stochastic_duration_prediction=False,
        duration_predictor_filter_channels=16,
        prior_encoder_num_flows=2,
        prior_encoder_num_wavenet_layers=1,
        posterior_encoder_num_wavenet_layers=1,
        upsample_initial_channel=32,
        upsample_rates=[8, 8, 4],
        upsample_kernel_sizes=[16, 16, 8],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3]],
        num_speakers=speakers,
        speaker_embedding_size=4 if speakers > 1 else 0,
        sampling_rate=VOICE_RATE,
    )
    VitsModel(config).save_pretrained(folder)
    vocabulary = folder / "characters.json"
    vocabulary.write_text(json.dumps({letter: place for place, letter in enumerate(["<pad>", *LETTERS, "<unk>"])}))
    VitsTokenizer(str(vocabulary), phonemize=False, language="eng").save_pretrained(folder)
    vocabulary.unlink()
    return folder


def write_embedder(folder: Path, *, pooling: dict[str, Any], normalises: bool = True, dense: int | None = None) -> Path:
    """Write a BERT with the tokenizer of the bundled model, and what is done with its states.

    Args:
        pooling: the configuration of the module that pools.
        dense: the width of a dense layer after it.
    """
    import torch  # noqa: PLC0415 (as above)
    from safetensors.torch import save_file  # noqa: PLC0415
    from transformers import BertConfig, BertModel  # noqa: PLC0415

    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=1024, max_position_embeddings=64, **sizes)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(NANO_HF / name, folder)
    kinds = ["Transformer", "Pooling", *(["Dense"] if dense else []), *(["Normalize"] if normalises else [])]
    modules = [
        {
            "idx": place,
            "name": str(place),
            "path": "" if place == 0 else f"{place}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for place, kind in enumerate(kinds)
    ]
    _write(folder / "modules.json", modules)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": LIMIT})
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": WIDTH, **pooling})
    if dense:
        tanh = "torch.nn.modules.activation.Tanh"
        config = {"in_features": WIDTH, "out_features": dense, "activation_function": tanh}
        _write(folder / "2_Dense" / "config.json", config)
        weights = {"linear.weight": torch.randn(dense, WIDTH), "linear.bias": torch.randn(dense)}
        save_file(weights, folder / "2_Dense" / "model.safetensors")
    return folder


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))
