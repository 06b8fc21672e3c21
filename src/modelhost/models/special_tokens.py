"""The special tokens of a model that the host neutralises, from its files and from its settings."""

from __future__ import annotations

from collections.abc import Mapping

from modelhost.config.settings import Settings
from modelhost.engines.base import Engine
from modelhost.engines.special_tokens import ControlTokens, meaningful_names
from modelhost.models import gguf_vocabulary, hf_tokenizer
from modelhost.models.locate import Located


def control_tokens(located: Located, settings: Settings, engine: Engine, template: str | None) -> ControlTokens | None:
    """Return those of the model at ``located``, whose prompts ``template`` makes; ``None`` if there are none.

    Raises:
        ModelFileInvalid: a file of its vocabulary is damaged.
    """
    if settings.special_tokens == "raw":
        return None
    found = meaningful_names(_in_files(located), template) if engine.parses_special_tokens else ()
    names = (*settings.special_token_list, *found)
    return ControlTokens(names) if names else None


def _in_files(located: Located) -> Mapping[str, bool]:
    if located.header is not None:
        return gguf_vocabulary.special_tokens(located.header.files[0])
    if located.directory is not None and located.path is not None:
        return hf_tokenizer.special_tokens(located.path)
    return {}
