"""Makes tiny pipelines with random weights: the Python of the engine for images runs ``make_pipelines.py DIR KINDS``.

What they paint is noise; sizes, steps, seeds and files are those of real ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
TORCH_SEED: Final = 7
CLIP_TOKENS: Final = 77
END: Final = "<|endoftext|>"


def clip_tokenizer() -> CLIPTokenizer:
    """Return a tokenizer of letters."""
    tokens = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", END]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=CLIP_TOKENS, pad_token=END)


def clip_encoder(kind: Any = CLIPTextModel) -> Any:
    """Return an encoder of the class ``kind``."""
    config = CLIPTextConfig(
        vocab_size=2 * len(LETTERS) + 2,
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=32,
        max_position_embeddings=CLIP_TOKENS,
        hidden_act="gelu",
        bos_token_id=2 * len(LETTERS),
        eos_token_id=2 * len(LETTERS) + 1,
        pad_token_id=1,
    )
    return kind(config)


def t5() -> dict[str, Any]:
    """Return the tokenizer and the encoder."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -1.0) for letter in f"{LETTERS} ")]
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(Unigram(pieces, unk_id=2)), **names)
    config = T5Config(vocab_size=len(pieces), d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    return {"tokenizer": tokenizer, "encoder": T5EncoderModel(config)}


def stable_diffusion() -> StableDiffusionPipeline:
    """Return a Stable Diffusion whose pictures have 64x64 pixels."""
    return StableDiffusionPipeline(
        unet=UNet2DConditionModel(
            block_out_channels=(32, 64),
            layers_per_block=1,
            sample_size=8,
            in_channels=4,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
        ),
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False),
        vae=autoencoder(latent_channels=4),
        text_encoder=clip_encoder(),
        tokenizer=clip_tokenizer(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def autoencoder(**more: Any) -> AutoencoderKL:
    """Return one whose latents are an eighth of the picture, as in all of these pipelines."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        in_channels=3,
        out_channels=3,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=64,
        **more,
    )


def stable_diffusion_xl() -> StableDiffusionXLPipeline:
    """Return an SDXL whose pictures have 64x64 pixels."""
    return StableDiffusionXLPipeline(
        unet=UNet2DConditionModel(
            block_out_channels=(32, 64),
            layers_per_block=1,
            sample_size=8,
            in_channels=4,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=80,
            cross_attention_dim=64,
        ),
        scheduler=EulerDiscreteScheduler(steps_offset=1, beta_schedule="scaled_linear", timestep_spacing="leading"),
        vae=autoencoder(latent_channels=4),
        text_encoder=clip_encoder(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip_encoder(CLIPTextModelWithProjection),
        tokenizer_2=clip_tokenizer(),
    )


def stable_diffusion_3() -> StableDiffusion3Pipeline:
    """Return an SD3 whose pictures have 64x64 pixels."""
    text = t5()
    return StableDiffusion3Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder(
            latent_channels=16, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5
        ),
        text_encoder=clip_encoder(CLIPTextModelWithProjection),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip_encoder(CLIPTextModelWithProjection),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=text["encoder"],
        tokenizer_3=text["tokenizer"],
        transformer=SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=16,
            out_channels=16,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=32,
            pooled_projection_dim=64,
        ),
    )


def flux() -> FluxPipeline:
    """Return a Flux, whose pictures have the size that a request names."""
    text = t5()
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder(
            latent_channels=1, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5
        ),
        text_encoder=clip_encoder(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=text["encoder"],
        tokenizer_2=text["tokenizer"],
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
        ),
    )


KINDS: Final[dict[str, Callable[[], Any]]] = {
    "stable-diffusion": stable_diffusion,
    "stable-diffusion-xl": stable_diffusion_xl,
    "stable-diffusion-3": stable_diffusion_3,
    "flux": flux,
}


def main(kind: str, folder: Path) -> None:
    """Write a pipeline of ``kind`` to ``folder``, and an adapter for Stable Diffusion beside it."""
    torch.manual_seed(TORCH_SEED)
    pipeline = KINDS[kind]()
    pipeline.save_pretrained(folder, safe_serialization=True)
    if kind == "stable-diffusion":
        wanted = LoraConfig(r=4, lora_alpha=32, init_lora_weights=False, target_modules=["to_q", "to_v"])
        pipeline.unet.add_adapter(wanted)
        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipeline.unet))
        StableDiffusionPipeline.save_lora_weights(folder.parent, unet_lora_layers=layers)


if __name__ == "__main__":
    for wanted in sys.argv[2:]:
        main(wanted, Path(sys.argv[1]) / wanted)
