"""The kinds of models that the installed ``transformers`` loads to write text, by ``model_type``.

They are read from the source of its lists, since importing the library takes seconds:
https://github.com/huggingface/transformers/tree/main/src/transformers/models/auto
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from modelhost.engines.transformers.vision_kinds import PROCESSORS

CONFIGURATIONS: Final = ("auto_mappings.py", "configuration_auto.py")
MODELS: Final = "modeling_auto.py"
WRITING: Final = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
SEEING: Final = "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES"
CONFIG_CLASS: Final = "Config"
"""The end of the names of classes of configurations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKinds:
    """What the lists of the library say."""

    configurations: Mapping[str, str]
    """The class of the configuration of each kind."""
    writing: frozenset[str]
    """The kinds that are loaded for text."""
    seeing: frozenset[str]
    """Those that are loaded for images and text."""

    def why_not_loaded(self, model_type: str) -> str | None:
        """Return why models of the kind ``model_type`` cannot be served; ``None``: these lists have them."""
        if model_type in PROCESSORS:
            return None
        if model_type not in self.configurations:
            return (
                f"the transformers that is installed does not know models of the kind {model_type}: install a newer "
                "one, or take a GGUF file of it, for llama.cpp"
            )
        # The library finds the class of a model by that of its configuration, which kinds may share.
        kind = self.configurations[model_type]
        if any(self.configurations.get(each) == kind for each in self.writing):
            return None
        if any(self.configurations.get(each) == kind for each in self.seeing):
            return why_images_are_not_served(model_type)
        return f"transformers has no models of the kind {model_type} that write text: take a GGUF file of it, if any"


def why_images_are_not_served(model_type: str) -> str:
    """Say that models for images of this kind are none of those that the engine serves."""
    return (
        f"models for images of the kind {model_type} are not served by this engine, only those of the "
        f"kinds {', '.join(sorted(PROCESSORS))}: take vllm, or a GGUF file of it, for llama.cpp"
    )


def why_not_loaded(model_type: str) -> str | None:
    """Return why the library in this Python cannot load models of the kind ``model_type`` to write text.

    ``None``: nothing is known against it, or the library is not here, or its lists are no longer as they were.
    """
    known = known_kinds()
    return None if known is None else known.why_not_loaded(model_type)


def known_kinds() -> KnownKinds | None:
    """Return what the lists of the library in this Python say; ``None`` if they cannot be read."""
    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "models" / "auto"
    paths = tuple(path for name in (*CONFIGURATIONS, MODELS) if (path := folder / name).is_file())
    return _read(paths, tuple(path.stat().st_mtime_ns for path in paths))


@lru_cache(1)
def _read(paths: tuple[Path, ...], _written: tuple[int, ...]) -> KnownKinds | None:
    try:
        trees = {path.name: ast.parse(path.read_bytes()) for path in paths}
    except (OSError, SyntaxError):  # the worker, which imports the library, says what is wrong with it
        return None
    if MODELS not in trees:
        return None
    writing, seeing = _listed(trees[MODELS], WRITING), _listed(trees[MODELS], SEEING)
    configurations = {
        kind: name for tree in trees.values() for kind, name in _texts_by_text(tree) if name.endswith(CONFIG_CLASS)
    }
    if not (writing and seeing and writing | seeing <= configurations.keys()):
        return None
    return KnownKinds(configurations=configurations, writing=writing, seeing=seeing)


def _listed(tree: ast.Module, name: str) -> frozenset[str]:
    """Return the kinds in the list ``name``; none if it is not a plain list of pairs."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=ast.Call(args=[ast.List(elts=elements)])) if (
                found == name
            ):
                kinds = [_kind(element) for element in elements]
                return frozenset(kind for kind in kinds if kind is not None) if None not in kinds else frozenset()
    return frozenset()


def _kind(element: ast.expr) -> str | None:
    match element:
        case ast.Tuple(elts=[ast.Constant(value=str(kind)), _]):
            return kind
    return None


def _texts_by_text(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the pairs of texts in ``tree``, in tuples and in dictionaries."""
    for node in ast.walk(tree):
        match node:
            case ast.Tuple(elts=[ast.Constant(value=str(kind)), ast.Constant(value=str(text))]):
                yield kind, text
            case ast.Dict(keys=keys, values=values):
                for pair in zip(keys, values, strict=True):
                    match pair:
                        case ast.Constant(value=str(kind)), ast.Constant(value=str(text)):
                            yield kind, text
