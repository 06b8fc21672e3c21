"""Well-known names of Ollama's library."""

from __future__ import annotations

import pytest

from modelhost.http.ollama.names import FAMILIES, library_reference
from modelhost.models.hub.references import parse_reference


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("llama3.2", "bartowski/Llama-3.2-3B-Instruct-GGUF"),
        ("llama3.2:latest", "bartowski/Llama-3.2-3B-Instruct-GGUF"),
        ("Llama3.2:1B", "bartowski/Llama-3.2-1B-Instruct-GGUF"),
        ("library/llama3.2:1b", "bartowski/Llama-3.2-1B-Instruct-GGUF"),
        ("llama3.2:1b-instruct-q4_K_M", "bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M"),
        ("llama3.2:3b-instruct-fp16", "bartowski/Llama-3.2-3B-Instruct-GGUF:F16"),
        ("qwen3:0.6b", "Qwen/Qwen3-0.6B-GGUF"),
        ("nomic-embed-text", "nomic-ai/nomic-embed-text-v1.5-GGUF"),
        ("mixtral:8x7b", "TheBloke/Mixtral-8x7B-Instruct-v0.1-GGUF"),
    ],
)
def test_a_well_known_name_is_a_repository(name: str, found: str) -> None:
    assert str(library_reference(name)) == found


@pytest.mark.parametrize("name", ["unheard-of", "llama3.2:5b", "llama3.2:1b-text-q4_0", "org/llama3.2"])
def test_any_other_name_is_none(name: str) -> None:
    assert library_reference(name) is None


def test_every_repository_is_an_id_of_the_hub_and_every_family_has_its_usual_size() -> None:
    for family in FAMILIES.values():
        assert family.latest in family.repositories
        for repository in family.repositories.values():
            assert "SIZE" not in repository
            assert parse_reference(repository) is not None
