"""Which file of a repository is served, decided without a network."""

from __future__ import annotations

import pytest

from modelhost.errors import DownloadFailed
from modelhost.models.hub.references import HubReference
from modelhost.models.hub.repository_files import HubFile, choose_files

QUANTIZED = ("m-Q2_K.gguf", "m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m-Q8_0.gguf", "mmproj-m-f16.gguf", "m.imatrix.gguf")


def _choose(names: tuple[str, ...], wanted: str | None = None) -> list[str]:
    listing = [HubFile(name=name, size_bytes=1, sha256=None, blob="0" * 40) for name in names]
    return [file.name for file in choose_files(listing, HubReference(repository="org/m", wanted=wanted))]


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (None, "m-Q4_K_M.gguf"),
        ("Q8_0", "m-Q8_0.gguf"),
        ("q4_k_s", "m-Q4_K_S.gguf"),
        ("m-Q2_K.gguf", "m-Q2_K.gguf"),
    ],
)
def test_wish_finds_its_file(wanted: str | None, name: str) -> None:
    assert _choose(QUANTIZED, wanted) == [name, "mmproj-m-f16.gguf"]


@pytest.mark.parametrize(
    ("names", "wanted", "name"),
    [
        (("m-Q4_K_M-MTP.gguf", "m-Q4_K_M.gguf"), None, "m-Q4_K_M.gguf"),
        (("m-Q4_K_M-MTP.gguf", "m-Q4_K_M.gguf"), "Q4_K_M", "m-Q4_K_M.gguf"),
        (("m-Q4_K_M-MTP.gguf", "m-Q4_K_M.gguf"), "Q4_K_M-MTP", "m-Q4_K_M-MTP.gguf"),
        (("MTP/m-Q4_K_M.gguf", "m-Q4_K_M.gguf", "mtp-m-Q4_K_M.gguf", "m-draft-Q4_K_M.gguf"), None, "m-Q4_K_M.gguf"),
        (("m-MTP-Q4_K_M.gguf", "m-MTP-Q8_0.gguf"), None, "m-MTP-Q4_K_M.gguf"),
        (("m-Q8_0-v2.gguf", "m-Q8_0.gguf"), None, "m-Q8_0.gguf"),
        (("m.gguf", "m-MTP.gguf"), None, "m.gguf"),
        (("a/m.gguf", "m.gguf"), "m.gguf", "m.gguf"),
    ],
)
def test_a_model_is_preferred_to_its_variants(names: tuple[str, ...], wanted: str | None, name: str) -> None:
    assert _choose(names, wanted) == [name]


def test_any_part_of_a_split_model_means_all_of_it() -> None:
    parts = [f"Q4_K_M/m-0000{part}-of-00002.gguf" for part in (1, 2)]
    assert _choose((*parts, "m-Q8_0.gguf"), parts[1]) == parts
    assert _choose((*parts, "m-Q8_0.gguf"), "m-00002-of-00002.gguf") == parts


def test_only_model_needs_no_known_name() -> None:
    assert _choose(("README.md", "ggml-model.gguf", "mmproj.gguf")) == ["ggml-model.gguf", "mmproj.gguf"]


def test_a_vision_encoder_is_taken_from_beside_its_model_only() -> None:
    files = ("a/see-Q4_0.gguf", "a/mmproj-F16.gguf", "b/write-Q8_0.gguf", "mmproj-F32.gguf")
    assert _choose(files, "Q4_0") == ["a/see-Q4_0.gguf", "a/mmproj-F16.gguf"]
    assert _choose(files, "Q8_0") == ["b/write-Q8_0.gguf"]


def test_the_voices_of_a_bark_come_with_it() -> None:
    model = ("config.json", "speaker_embeddings_path.json", "model.safetensors")
    voices = tuple(f"speaker_embeddings/v2/en_speaker_0_{part}_prompt.npy" for part in ("coarse", "fine", "semantic"))
    assert _choose((*model, *voices, "samples/a.wav", "coarse.pt")) == [*model[:2], *voices, model[2]]
    assert _choose(("config.json", "model.safetensors", *voices)) == ["config.json", "model.safetensors"]


def test_without_the_usual_quantization_the_next_best_is_taken() -> None:
    assert _choose(("m-f16.gguf", "m-q8_0.gguf", "m-q2_k.gguf")) == ["m-q8_0.gguf"]


def test_split_model_brings_all_its_parts() -> None:
    parts = tuple(f"Q4_K_M/m-0000{part}-of-00002.gguf" for part in (1, 2))
    assert _choose((*parts, "m-Q8_0.gguf"), "q4_k_m") == list(parts)


def test_split_model_without_a_part_is_refused() -> None:
    with pytest.raises(DownloadFailed, match="lacks parts"):
        _choose(("m-Q4_0-00001-of-00002.gguf",))


def test_unknown_wish_lists_what_is_there() -> None:
    with pytest.raises(DownloadFailed, match=r"has no 'Q3_K_M'; it has m-Q2_K\.gguf"):
        _choose(QUANTIZED, "Q3_K_M")


def test_ambiguous_wish_lists_the_candidates() -> None:
    with pytest.raises(DownloadFailed, match=r"fits several files of org/m: a-Q4_0\.gguf, b-Q4_0\.gguf"):
        _choose(("a-Q4_0.gguf", "b-Q4_0.gguf"))


DIRECTORY = (
    *("README.md", "config.json", "tokenizer.json", "chat_template.jinja", "model-00001-of-00002.safetensors"),
    *(
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "onnx/model.onnx",
        "consolidated.safetensors",
    ),
)


def test_repository_with_safetensors_only_brings_its_directory() -> None:
    assert _choose(DIRECTORY) == [
        *("config.json", "chat_template.jinja", "model.safetensors.index.json", "tokenizer.json"),
        *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
    ]


def test_safetensors_can_be_wanted_where_there_is_gguf_too() -> None:
    assert _choose((*QUANTIZED, "config.json", "model.safetensors"), "safetensors") == [
        "config.json",
        "model.safetensors",
    ]


def test_a_file_of_safetensors_means_the_directory() -> None:
    assert _choose((*QUANTIZED, *DIRECTORY), "model-00001-of-00002.safetensors") == _choose(DIRECTORY)


def test_safetensors_that_are_not_there_can_be_done_without() -> None:
    with pytest.raises(DownloadFailed, match=r"org/m has no safetensors, only GGUF: leave engine out, or name .*Q8_0"):
        _choose(QUANTIZED, "safetensors")


def test_pickled_weights_are_refused() -> None:
    with pytest.raises(DownloadFailed, match="may run code"):
        _choose(("config.json", "pytorch_model.bin"))


def test_repository_without_a_model_says_what_it_holds() -> None:
    with pytest.raises(DownloadFailed, match=r"holds README\.md"):
        _choose(("README.md",))
