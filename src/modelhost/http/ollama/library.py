"""Well-known names of Ollama's library, and the repositories on the hub with the same models in GGUF."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from modelhost.models.hub.references import HubReference

QUANTIZATION: Final = re.compile(r"i?q\d\w*|b?f16|fp16|f32", re.IGNORECASE)
"""The last part of a tag, such as ``3b-instruct-q4_K_M``."""
TUNINGS: Final = frozenset({"chat", "instruct", "it"})
"""Parts of tags that say what all of these models are."""
SIZES: Final = "SIZE"


@dataclass(frozen=True, slots=True)
class Family:
    """A family of models: its repositories by the size in the tag, and the size without a tag."""

    latest: str
    repositories: Mapping[str, str]


def _family(latest: str, pattern: str, **named: str) -> Family:
    """Return a family whose repositories have the words of ``named`` in the place of ``SIZE``, by their sizes."""
    sizes = {name.strip("_").replace("_", "."): word for name, word in named.items()}
    return Family(latest, {size: pattern.replace(SIZES, word) for size, word in sizes.items()})


FAMILIES: Final[Mapping[str, Family]] = {
    "codellama": _family("7b", "TheBloke/CodeLlama-SIZE-Instruct-GGUF", _7b="7B", _13b="13B", _34b="34B"),
    "deepseek-coder-v2": _family("16b", "bartowski/DeepSeek-Coder-V2-SIZE-Instruct-GGUF", _16b="Lite"),
    "deepseek-r1": _family(
        "8b",
        "bartowski/DeepSeek-R1-Distill-SIZE-GGUF",
        _1_5b="Qwen-1.5B",
        _7b="Qwen-7B",
        _8b="Llama-8B",
        _14b="Qwen-14B",
        _32b="Qwen-32B",
        _70b="Llama-70B",
    ),
    "gemma2": _family("9b", "bartowski/gemma-2-SIZE-it-GGUF", _2b="2b", _9b="9b", _27b="27b"),
    "gemma3": _family("4b", "ggml-org/gemma-3-SIZE-it-GGUF", _1b="1b", _4b="4b", _12b="12b", _27b="27b"),
    "gpt-oss": _family("20b", "ggml-org/gpt-oss-SIZE-GGUF", _20b="20b", _120b="120b"),
    "granite3.3": _family("8b", "ibm-granite/granite-3.3-SIZE-instruct-GGUF", _2b="2b", _8b="8b"),
    "hermes3": _family("8b", "NousResearch/Hermes-3-Llama-SIZE-GGUF", _3b="3.2-3B", _8b="3.1-8B"),
    "llama2": _family("7b", "TheBloke/Llama-2-SIZE-GGUF", _7b="7B-Chat", _13b="13B-chat", _70b="70B-Chat"),
    "llama3": _family("8b", "bartowski/Meta-Llama-3-SIZE-Instruct-GGUF", _8b="8B", _70b="70B"),
    "llama3.1": _family("8b", "bartowski/Meta-Llama-3.1-SIZE-Instruct-GGUF", _8b="8B", _70b="70B"),
    "llama3.2": _family("3b", "bartowski/Llama-3.2-SIZE-Instruct-GGUF", _1b="1B", _3b="3B"),
    "llama3.3": _family("70b", "bartowski/Llama-3.3-SIZE-Instruct-GGUF", _70b="70B"),
    "mistral": _family("7b", "bartowski/Mistral-SIZE-Instruct-v0.3-GGUF", _7b="7B"),
    "mistral-nemo": _family("12b", "bartowski/Mistral-SIZE-Instruct-2407-GGUF", _12b="Nemo"),
    "mistral-small": _family(
        "24b", "bartowski/Mistral-Small-SIZE-GGUF", _22b="Instruct-2409", _24b="24B-Instruct-2501"
    ),
    "mixtral": _family("8x7b", "TheBloke/Mixtral-SIZE-Instruct-v0.1-GGUF", _8x7b="8x7B"),
    "nomic-embed-text": _family("v1.5", "nomic-ai/nomic-embed-text-SIZE-GGUF", v1_5="v1.5"),
    "olmo2": _family("7b", "allenai/OLMo-2-1124-SIZE-Instruct-GGUF", _7b="7B", _13b="13B"),
    "openchat": _family("7b", "TheBloke/openchat-SIZE-GGUF", _7b="3.5-0106"),
    "phi3.5": _family("3.8b", "bartowski/Phi-3.5-SIZE-instruct-GGUF", _3_8b="mini"),
    "phi4": _family("14b", "bartowski/phi-SIZE-GGUF", _14b="4"),
    "phi4-mini": _family("3.8b", "bartowski/microsoft_Phi-4-SIZE-instruct-GGUF", _3_8b="mini"),
    "qwen2": _family("7b", "Qwen/Qwen2-SIZE-Instruct-GGUF", _0_5b="0.5B", _1_5b="1.5B", _7b="7B", _72b="72B"),
    "qwen2.5": _family(
        "7b",
        "Qwen/Qwen2.5-SIZE-Instruct-GGUF",
        _0_5b="0.5B",
        _1_5b="1.5B",
        _3b="3B",
        _7b="7B",
        _14b="14B",
        _32b="32B",
        _72b="72B",
    ),
    "qwen2.5-coder": _family(
        "7b",
        "Qwen/Qwen2.5-Coder-SIZE-Instruct-GGUF",
        _0_5b="0.5B",
        _1_5b="1.5B",
        _3b="3B",
        _7b="7B",
        _14b="14B",
        _32b="32B",
    ),
    "qwen2.5vl": _family("7b", "ggml-org/Qwen2.5-VL-SIZE-Instruct-GGUF", _3b="3B", _7b="7B"),
    "qwen3": _family(
        "8b",
        "Qwen/Qwen3-SIZE-GGUF",
        _0_6b="0.6B",
        _1_7b="1.7B",
        _4b="4B",
        _8b="8B",
        _14b="14B",
        _30b="30B-A3B",
        _32b="32B",
    ),
    "qwen3-embedding": _family("8b", "Qwen/Qwen3-Embedding-SIZE-GGUF", _0_6b="0.6B", _4b="4B", _8b="8B"),
    "qwq": _family("32b", "Qwen/QwQ-SIZE-GGUF", _32b="32B"),
    "smollm2": _family("1.7b", "HuggingFaceTB/SmolLM2-SIZE-Instruct-GGUF", _360m="360M", _1_7b="1.7B"),
    "solar": _family("10.7b", "TheBloke/SOLAR-SIZE-Instruct-v1.0-GGUF", _10_7b="10.7B"),
    "tinyllama": _family("1.1b", "TheBloke/TinyLlama-SIZE-Chat-v1.0-GGUF", _1_1b="1.1B"),
    "vicuna": _family("7b", "TheBloke/vicuna-SIZE-v1.5-GGUF", _7b="7B", _13b="13B"),
    "zephyr": _family("7b", "TheBloke/zephyr-SIZE-beta-GGUF", _7b="7B"),
}
"""By the name without a tag, in lower case."""


def library_reference(name: str) -> HubReference | None:
    """Return the model of the hub that ``name`` means in Ollama's library; ``None``: the name is not known here.

    A tag is a size, possibly with a tuning and a quantization behind dashes.
    """
    family_name, _, tag = name.lower().removeprefix("library/").partition(":")
    family = FAMILIES.get(family_name)
    if family is None:
        return None
    parts = tag.split("-") if tag and tag != "latest" else []
    wanted = parts.pop() if parts and QUANTIZATION.fullmatch(parts[-1]) else None
    size = parts.pop(0) if parts else family.latest
    repository = family.repositories.get(size)
    if repository is None or not TUNINGS.issuperset(parts):
        return None
    return HubReference(repository=repository, wanted=None if wanted is None else wanted.upper().replace("FP16", "F16"))
