"""Tiny models that see, with random weights, as transformers writes them, and the tokenizer of the bundled model."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any, Final

from tests.support.nano_hf import VOCABULARY_SIZE, new_nano_tokenizer

SIDE: Final = 24
"""Of what the encoder sees at once."""
PATCH: Final = 6
PIECES: Final = (SIDE // PATCH) ** 2
"""Of what it sees at once, and in LLaVA the tokens of an image."""
CONTEXT: Final = 1024
WIDTH: Final = 32
IMAGE: Final = "<image>"
OF_IDEFICS: Final = (
    *("<fake_token_around_image>", IMAGE, "<end_of_utterance>", "<global-img>"),
    *(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)),
)
SCALE: Final = 2
"""Pieces in each direction that are one token in Idefics 3."""
LISTS: Final = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}{% if part.type == 'image' %}<image>{% elif part.type == 'text' %}{{ part.text }}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A chat template that takes messages in parts only, as LLaVA's."""
TEXTS: Final = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content + '<|im_end|>' }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""One that takes texts only."""


def write_llava(folder: Path, *, template: str = LISTS, **sizes: int) -> Path:
    """Write a LLaVA model: CLIP, of which ``sizes`` may be others, and a Llama of two layers."""
    from transformers import (  # noqa: PLC0415 (takes seconds; few tests need it)
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer, encoder = _tokenizer((IMAGE,)), {**_encoder(), **sizes}
    side = encoder["image_size"]
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**encoder),
        text_config=_text(len(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-2,
    )
    images = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=encoder["patch_size"],
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    return _written(folder, LlavaForConditionalGeneration, config, processor)


def write_llava_next(folder: Path) -> Path:
    """Write a LLaVA-NeXT model, which sees an image as a whole and in up to two parts."""
    from transformers import (  # noqa: PLC0415 (as above)
        CLIPVisionConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessorPil,
        LlavaNextProcessor,
    )

    tokenizer = _tokenizer((IMAGE,))
    grid = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE]]
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**_encoder()),
        text_config=_text(len(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        image_grid_pinpoints=grid,
        vision_feature_layer=-2,
    )
    square = {"height": SIDE, "width": SIDE}
    images = LlavaNextImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=square, image_grid_pinpoints=grid)
    processor = LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LISTS,
    )
    return _written(folder, LlavaNextForConditionalGeneration, config, processor)


def write_idefics(folder: Path, *, is_smolvlm: bool = False, **sizes: int) -> Path:
    """Write an Idefics 3 or SmolVLM model, which sees an image as a whole and in four parts.

    ``sizes`` are those of its encoder that are to be others.
    """
    from transformers import (  # noqa: PLC0415 (as above)
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessorPil,
    )

    tokenizer, encoder = _tokenizer(OF_IDEFICS), {**_encoder(), **sizes}
    side = encoder["image_size"]
    tokens = (side // encoder["patch_size"] // SCALE) ** 2
    kind = SmolVLMConfig if is_smolvlm else Idefics3Config
    config = kind(
        vision_config=encoder,
        text_config=_text(len(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        scale_factor=SCALE,
        pad_token_id=0,
    )
    edges: dict[str, Any] = {"size": {"longest_edge": 2 * side}, "max_image_size": {"longest_edge": side}}
    images = SmolVLMImageProcessorPil(**edges) if is_smolvlm else Idefics3ImageProcessorPil(**edges)
    processor = Idefics3Processor(images, tokenizer, image_seq_len=tokens, chat_template=LISTS)
    of_model = SmolVLMForConditionalGeneration if is_smolvlm else Idefics3ForConditionalGeneration
    return _written(folder, of_model, config, processor)


def _tokenizer(names: tuple[str, ...]) -> Any:
    tokenizer = new_nano_tokenizer()
    tokenizer.add_tokens(list(names), special_tokens=True)
    return tokenizer


def _encoder() -> dict[str, int]:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    return {**sizes, "image_size": SIDE, "patch_size": PATCH}


def _text(vocab_size: int) -> Any:
    from transformers import LlamaConfig  # noqa: PLC0415 (as above)

    assert vocab_size > VOCABULARY_SIZE
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )


def _written(folder: Path, kind: Any, config: Any, processor: Any) -> Path:
    """Write a model with weights that are large enough for every part of a prompt to matter."""
    import torch  # noqa: PLC0415 (as above)

    torch.manual_seed(0)
    model = kind(config)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.normal_(0, weights[0].numel() ** -0.5)
        model.get_input_embeddings().weight.normal_()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def in_older_layout(folder: Path, *, has_processor: bool = True) -> Path:
    """Arrange the model in ``folder`` as transformers 4 wrote it: a file for what reads images, one for the template.

    Args:
        has_processor: with a file for the processor, which the first LLaVA models lack.
    """
    shared, template = folder / "processor_config.json", folder / "chat_template.jinja"
    config = json.loads(shared.read_text())
    images = config.pop("image_processor")
    kind = images["image_processor_type"].removesuffix("Pil")
    (folder / "preprocessor_config.json").write_text(json.dumps({**images, "image_processor_type": kind}))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template.read_text()}))
    template.unlink()
    if has_processor:
        shared.write_text(json.dumps(config))
    else:
        shared.unlink()
    return folder


def without_processor(folder: Path) -> Path:
    """Remove what says how the model in ``folder`` reads images."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        (folder / name).unlink(missing_ok=True)
    return folder


def renamed(folder: Path, model_type: str, architecture: str) -> Path:
    """Have the model in ``folder`` say that it is of another kind."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "model_type": model_type, "architectures": [architecture]}))
    return folder


def picture(seed: int, width: int = 40, height: int = 30) -> Any:
    """An image of random pixels."""
    import numpy as np  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def png(image: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, format="PNG")
    return sink.getvalue()


def image_part(image: Any) -> dict[str, Any]:
    """Return ``image`` as a part of a message."""
    url = f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
