"""The kinds that transformers loads: what is read from its source is what the library itself says."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from modelhost.engines.transformers.text_kinds import known_kinds, why_not_loaded
from modelhost.engines.transformers.vision_kinds import PROCESSORS

MODELS = """
from collections import OrderedDict
MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = OrderedDict([("llama", "LlamaForCausalLM")])
MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES = OrderedDict([("fuyu2", ("Fuyu2", "Fuyu2Text"))])
"""
CONFIGURATIONS = 'CONFIG_MAPPING_NAMES = OrderedDict([("llama", "LlamaConfig"), ("fuyu2", "Fuyu2Config")])'


def test_the_answer_for_each_kind_is_that_of_the_library() -> None:
    from transformers.models.auto import modeling_auto  # noqa: PLC0415 (takes seconds)
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES as KINDS  # noqa: PLC0415

    writing = {KINDS[kind] for kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}
    seeing = {KINDS[kind] for kind in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES}
    known = known_kinds()
    assert known is not None
    assert known.configurations.keys() >= KINDS.keys()
    for kind, configuration in KINDS.items():
        reason = known.why_not_loaded(kind) or ""
        if configuration in writing or kind in PROCESSORS:
            assert not reason, kind
        else:
            words = (
                f"for images of the kind {kind} are not" if configuration in seeing else f"no models of the kind {kind}"
            )
            assert words in reason, kind
    assert "does not know models of the kind frobnicate" in (why_not_loaded("frobnicate") or "")


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the lists of a library that is installed."""
    spec = ModuleSpec("transformers", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("modelhost.engines.transformers.text_kinds.find_spec", lambda _: spec)
    folder = tmp_path / "models" / "auto"
    folder.mkdir(parents=True)
    (folder / "modeling_auto.py").write_text(MODELS)
    (folder / "configuration_auto.py").write_text(CONFIGURATIONS)
    return folder


def test_the_lists_are_those_of_the_library_that_is_installed(library: Path) -> None:
    assert why_not_loaded("llama") is None
    assert "for images of the kind fuyu2" in (why_not_loaded("fuyu2") or "")
    assert "does not know" in (why_not_loaded("qwen3") or "")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("modeling_auto.py", None),
        ("modeling_auto.py", "what is this"),
        ("modeling_auto.py", MODELS.replace('[("llama"', '[*others, ("llama"')),
        ("modeling_auto.py", MODELS.replace("CAUSAL_LM", "WRITING")),
        ("configuration_auto.py", None),
        ("configuration_auto.py", CONFIGURATIONS.replace("fuyu2", "fuyu3")),
    ],
)
def test_lists_in_another_form_claim_nothing(library: Path, name: str, content: str | None) -> None:
    if content is None:
        (library / name).unlink()
    else:
        (library / name).write_text(content)
    assert why_not_loaded("frobnicate") is None


def test_without_the_library_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelhost.engines.transformers.text_kinds.find_spec", lambda _: None)
    assert why_not_loaded("frobnicate") is None
