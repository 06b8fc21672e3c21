"""The bundled model as a Hugging Face directory, and its tokenizer, whose library takes seconds to import."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from modelhost.engines.worker.grammars import Grammars
from modelhost.engines.worker.text import Vocabulary

NANO_HF: Final = Path(__file__).parents[1] / "assets" / "nano-hf"
VOCABULARY_SIZE: Final = 1024
END_TOKEN: Final = 2


@cache
def nano_tokenizer() -> Any:
    """The tokenizer; one for all tests, which leave it as it is."""
    return new_nano_tokenizer()


def new_nano_tokenizer() -> Any:
    """A tokenizer that a test may change."""
    return tokenizer_of(NANO_HF)


def tokenizer_of(directory: Path) -> Any:
    from transformers import AutoTokenizer  # noqa: PLC0415

    return AutoTokenizer.from_pretrained(directory)


@cache
def nano_vocabulary() -> Vocabulary:
    return Vocabulary(nano_tokenizer())


@cache
def nano_grammars() -> Grammars:
    return Grammars(nano_tokenizer(), vocab_size=VOCABULARY_SIZE, eos_ids=frozenset({END_TOKEN}))
