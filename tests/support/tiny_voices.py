"""Tiny voices with random weights, as transformers writes them: Dia, Bark, CSM. What they say is noise.

How long they speak follows from the seed: an end of the audio is one of few tokens that they draw.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tests.support.tiny_models import without_tensors

CODES: Final = 8
"""Entries of a codebook."""
CHANNELS: Final = 2
FRAMES: Final = 24
"""Frames of audio that a voice makes at most, or tokens that become such."""
RATE: Final = 8_000
SMALL: Final = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}
DIA_TEXT: Final = 40
"""Tokens that a text may have, a byte each."""
DIA_TOKENS: Final = {"eos_token_id": CODES, "pad_token_id": CODES + 1, "bos_token_id": CODES + 2}
DELAYS: Final = [0, 2]
"""Of the channels of a Dia, in frames."""
BARK_TEXT: Final = 32
PRESETS: Final = ("v2/en_speaker_0", "v2/en_speaker_1")
SEMANTICS: Final = 20
"""Tokens that Bark makes of a text before it makes codes of them."""
BARK_CODEBOOKS: Final = 4
CSM_SPECIAL: Final = ("<|begin_of_text|>", "<|end_of_text|>", "<|AUDIO|>", "<|audio_eos|>")
CSM_CONTEXT: Final = 64
"""Tokens of a text, and frames, together."""


def write_dia(folder: Path, *, has_codec: bool = True, frames: int = FRAMES, ends: bool = True) -> Path:
    """Write a Dia of two channels with its codec in the folder ``dac``, of which the processor knows the hub's name.

    Without ``ends``, it speaks for all of its ``frames``.
    """
    from transformers import DacFeatureExtractor, DiaTokenizer  # noqa: PLC0415 (large; few tests need it)

    _dia(frames, ends=ends).save_pretrained(folder)
    DiaTokenizer().save_pretrained(folder)
    DacFeatureExtractor(sampling_rate=RATE, hop_length=8).save_pretrained(folder)
    if has_codec:
        _dac().save_pretrained(folder / "dac")
    codec = {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": "descript/dac_44khz"}
    of_audio = {"delay_pattern": DELAYS, "generation": True, "sampling_rate": RATE, **DIA_TOKENS}
    _write(
        folder / "processor_config.json",
        {"processor_class": "DiaProcessor", "audio_tokenizer": codec, "audio_kwargs": of_audio},
    )
    return folder


def _dia(frames: int, *, ends: bool) -> Any:
    import torch  # noqa: PLC0415 (as above)
    from transformers import DiaConfig, DiaForConditionalGeneration, GenerationConfig  # noqa: PLC0415

    torch.manual_seed(6)  # with these weights, some seeds end the audio early, and some not at all
    sizes = {"hidden_size": 16, "intermediate_size": 32, **SMALL}
    decoder = {
        **sizes,
        **DIA_TOKENS,
        "max_position_embeddings": frames + 8,
        "cross_num_attention_heads": 2,
        "cross_head_dim": 8,
        "cross_num_key_value_heads": 2,
        "cross_hidden_size": 16,
        "vocab_size": CODES + 4,
        "num_channels": CHANNELS,
        "initializer_range": 1.0,
    }
    config = DiaConfig(
        encoder_config={**sizes, "max_position_embeddings": DIA_TEXT},
        decoder_config=decoder,
        delay_pattern=DELAYS,
        initializer_range=1.0,
    )
    model = DiaForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        do_sample=True,
        guidance_scale=3.0,
        top_k=4,
        max_length=frames,
        min_length=None if ends else frames,
        decoder_start_token_id=DIA_TOKENS["bos_token_id"],
        **DIA_TOKENS,
    )
    return model


def _dac() -> Any:
    from transformers import DacConfig, DacModel  # noqa: PLC0415 (as above)

    config = DacConfig(
        encoder_hidden_size=4,
        downsampling_ratios=[2, 4],
        decoder_hidden_size=16,
        n_codebooks=CHANNELS,
        codebook_size=CODES,
        codebook_dim=4,
        sampling_rate=RATE,
    )
    return DacModel(config)


def write_bark(folder: Path, *, presets: tuple[str, ...] = PRESETS) -> Path:
    """Write a Bark that knows letters, with a voice for each of ``presets``."""
    import numpy as np  # noqa: PLC0415 (as above)
    import torch  # noqa: PLC0415
    from transformers import (  # noqa: PLC0415
        BarkCoarseConfig,
        BarkConfig,
        BarkFineConfig,
        BarkModel,
        BarkSemanticConfig,
        BertTokenizer,
        EncodecConfig,
    )

    folder.mkdir(exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz.!?,"
    words = {word: place for place, word in enumerate(["[PAD]", "[UNK]", *letters, *(f"##{each}" for each in letters)])}
    torch.manual_seed(0)
    small = {"num_layers": 1, "num_heads": 2, "hidden_size": 16, "block_size": 128, "initializer_range": 1.0}
    text_offset = SEMANTICS + 10
    semantic_inputs, coarse_inputs = text_offset + len(words) + 2, SEMANTICS + CHANNELS * CODES + 4
    config = BarkConfig(
        semantic_config=BarkSemanticConfig(
            input_vocab_size=semantic_inputs, output_vocab_size=text_offset, **small
        ).to_dict(),
        coarse_acoustics_config=BarkCoarseConfig(
            input_vocab_size=coarse_inputs, output_vocab_size=coarse_inputs, **small
        ).to_dict(),
        fine_acoustics_config=BarkFineConfig(
            input_vocab_size=CODES + 1, output_vocab_size=CODES + 1, n_codes_total=BARK_CODEBOOKS, **small
        ).to_dict(),
        codec_config=EncodecConfig(
            sampling_rate=RATE,
            target_bandwidths=[12.0],
            num_filters=4,
            hidden_size=16,
            codebook_size=CODES,
            codebook_dim=16,
            upsampling_ratios=[4, 2],
            num_lstm_layers=1,
        ).to_dict(),
    )
    model = BarkModel(config)
    _fill_codebooks(model.codec_model)
    model.save_pretrained(folder)
    tokenizer = BertTokenizer(vocab=words, model_max_length=512)
    tokenizer.save_pretrained(folder)
    _write(folder / "generation_config.json", _generation_of_bark(text_offset, len(words)))
    listed: dict[str, dict[str, str]] = {}
    (folder / "speaker_embeddings" / "v2").mkdir(parents=True, exist_ok=True)
    for number, preset in enumerate(presets):
        draws = np.random.default_rng(number)
        shapes = {"semantic_prompt": (12,), "coarse_prompt": (CHANNELS, 12), "fine_prompt": (BARK_CODEBOOKS, 12)}
        listed[preset] = {key: f"speaker_embeddings/{preset}_{key}.npy" for key in shapes}
        for key, shape in shapes.items():
            np.save(folder / listed[preset][key], draws.integers(0, CODES, shape))
    if presets:
        _write(folder / "speaker_embeddings_path.json", {"repo_or_path": "suno/bark", **listed})
    return folder


def _generation_of_bark(text_offset: int, words: int) -> dict[str, Any]:
    semantic = {
        "eos_token_id": SEMANTICS,
        "do_sample": True,
        "temperature": 20.0,
        "max_new_tokens": FRAMES,
        "text_encoding_offset": text_offset,
        "text_pad_token": text_offset + words,
        "semantic_infer_token": text_offset + words + 1,
        "semantic_vocab_size": SEMANTICS,
        "max_input_semantic_length": BARK_TEXT,
        "semantic_rate_hz": 50.0,
    }
    coarse = {
        "do_sample": True,
        "coarse_semantic_pad_token": SEMANTICS + CHANNELS * CODES,
        "coarse_infer_token": SEMANTICS + CHANNELS * CODES + 1,
        "coarse_rate_hz": 75,
        "max_coarse_input_length": BARK_TEXT,
        "max_coarse_history": 24,
        "sliding_window_len": 12,
    }
    fine = {"max_fine_history_length": 16, "max_fine_input_length": 32, "n_fine_codebooks": BARK_CODEBOOKS}
    return {
        "codebook_size": CODES,
        "sample_rate": RATE,
        "semantic_config": semantic,
        "coarse_acoustics_config": coarse,
        "fine_acoustics_config": fine,
    }


def write_csm(folder: Path, *, has_codec: bool = True, context: int = CSM_CONTEXT, ends: bool = True) -> Path:
    """Write a CSM of two codebooks, with or without the weights of its codec.

    Without ``ends``, it speaks until its ``context`` is full.
    """
    import torch  # noqa: PLC0415 (as above)
    from transformers import CsmConfig, CsmForConditionalGeneration  # noqa: PLC0415

    folder.mkdir(exist_ok=True)
    words = _write_csm_tokenizer(folder)
    torch.manual_seed(0)
    model = CsmForConditionalGeneration(CsmConfig(**_csm_sizes(words, context)))
    _fill_codebooks(model.codec_model)
    model.generation_config.do_sample = True
    model.generation_config.suppress_tokens = None if ends else [0]
    model.depth_decoder.generation_config.do_sample = True
    model.save_pretrained(folder)
    return folder if has_codec else without_tensors(folder, "codec_model.")


def _write_csm_tokenizer(folder: Path) -> dict[str, int]:
    """Write a tokenizer of bytes; return its tokens with their numbers."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors  # noqa: PLC0415 (as above)
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: place for place, word in enumerate([*alphabet, *CSM_SPECIAL])}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.add_special_tokens(list(CSM_SPECIAL))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    begin, end, pad, _ = CSM_SPECIAL
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(name, words[name]) for name in (begin, end)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=begin, eos_token=end, pad_token=pad).save_pretrained(
        folder
    )
    return words


def _csm_sizes(words: dict[str, int], context: int) -> dict[str, Any]:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "vocab_size": CODES + 3, "num_codebooks": CHANNELS, **SMALL}
    begin, _, audio, audio_end = CSM_SPECIAL
    return {
        **sizes,
        "text_vocab_size": len(words),
        "max_position_embeddings": context,
        "codebook_pad_token_id": CODES + 2,
        "codebook_eos_token_id": 0,
        "bos_token_id": words[begin],
        "pad_token_id": words[audio],
        "audio_token_id": words[audio],
        "audio_eos_token_id": words[audio_end],
        "initializer_range": 1.0,
        "depth_decoder_config": {
            **sizes,
            "backbone_hidden_size": 16,
            "max_position_embeddings": CHANNELS + 1,
            "initializer_range": 1.0,
        },
        "codec_config": {
            **SMALL,
            "model_type": "mimi",
            "sampling_rate": RATE,
            "frame_rate": RATE / 16,
            "num_filters": 4,
            "hidden_size": 16,
            "codebook_size": 2 * CODES,  # a power of 2, and more than there are tokens
            "codebook_dim": 8,
            "vector_quantization_hidden_dimension": 8,
            "num_quantizers": CHANNELS,
            "num_semantic_quantizers": 1,
            "upsampling_ratios": [4, 2],
            "intermediate_size": 32,
            "upsample_groups": 16,
        },
    }


def _fill_codebooks(codec: Any) -> None:
    """Give a codec entries that differ: a new one has none but zeros, and each sound is the same."""
    for name, values in codec.named_buffers():
        if name.endswith(("codebook.embed", "codebook.embed_sum")):
            values.normal_()


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))
