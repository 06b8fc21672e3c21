"""Files of models that see on transformers: what is missing or does not fit together is named when they are loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from modelhost import Host
from modelhost.errors import ModelFileInvalid
from tests.support.nano_hf import NANO_HF
from tests.support.serving import ServedHost
from tests.support.session_talk import post, refusal
from tests.support.tiny_vision import CONTEXT, PATCH, image_part, picture, renamed, without_processor, write_llava

LONGEST_REASON: Final = 600
"""Characters that say why a model is not loaded, with the paths of its files."""


@pytest.mark.parametrize(
    ("has_encoder", "way_out"),
    [
        (True, "has neither preprocessor_config.json nor processor_config.json"),
        (False, "of a kind that this engine takes them with: idefics3, llava"),
    ],
)
def test_a_model_without_what_reads_images_takes_text_only(has_encoder: bool, way_out: str, tmp_path: Path) -> None:
    folder = without_processor(write_llava(tmp_path / "llava")) if has_encoder else NANO_HF
    with ServedHost(model=str(folder), engine="transformers", context_length=CONTEXT) as host:
        assert post(host, [{"role": "user", "content": "Hello"}]).status_code == 200
        answer = post(host, [{"role": "user", "content": [image_part(picture(1))]}])
        assert refusal(answer) == (400, "unsupported_operation")
        message = answer.json()["error"]["message"]
        assert "takes no images" in message
        assert way_out in message
        assert "mmproj" not in message


async def test_a_kind_that_is_not_served_is_named_by_the_host_or_where_it_makes_no_claim_by_the_worker(
    tmp_path: Path,
) -> None:
    folder = renamed(write_llava(tmp_path / "other"), "vipllava", "VipLlavaForConditionalGeneration")
    with pytest.raises(ModelFileInvalid, match="of the kind vipllava are not served by this engine"):
        await Host(model=str(folder), threads=1).start()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {}}))
    with pytest.raises(ModelFileInvalid, match="of the kind vipllava are not served by this engine"):
        await Host(model=str(folder), threads=1).start()


def edited(name: str, **values: Any) -> Callable[[Path], None]:
    """Return what gives the file ``name`` of a model other ``values``."""

    def edit(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return edit


def with_another_shape(folder: Path) -> None:
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 (with torch, which takes seconds)

    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("multi_modal_projector.linear_1.weight"))
    save_file({**tensors, name: tensors[name][:3, :3].clone()}, path, metadata={"format": "pt"})


def without_contents(folder: Path) -> None:
    (folder / "processor_config.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (without_contents, "processor_config.json cannot be used to read images"),
        (
            edited("processor_config.json", image_processor={"image_processor_type": "NoSuchProcessor"}),
            "processor_config.json cannot be used to read images",
        ),
        (edited("config.json", vision_feature_layer=-9), "cannot see an image in the way that config.json"),
        (edited("processor_config.json", patch_size=PATCH + 1), "the processor of images does not fit the model"),
        (with_another_shape, r"multi_modal_projector\.linear_1\.weight has the shape \[3, 3\], where config\.json"),
    ],
)
async def test_files_that_do_not_fit_together_are_named_with_a_way_out(
    damage: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    damage(write_llava(tmp_path / "llava"))
    with pytest.raises(ModelFileInvalid, match=says) as failed:
        await Host(model=str(tmp_path / "llava"), threads=1).start()
    assert re.search(r": download (it|the model) again", failed.value.message)
    assert len(failed.value.message) < LONGEST_REASON
