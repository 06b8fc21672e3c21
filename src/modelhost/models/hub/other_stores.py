"""Models that other programs have downloaded: Ollama's store and LM Studio's folder. They are read and never written.

Ollama keeps a manifest for each name (``manifests/HOST/NAMESPACE/MODEL/TAG``, as container registries have them) and
the content in ``blobs/sha256-...``, below ``OLLAMA_MODELS`` or ``~/.ollama/models``
(https://github.com/ollama/ollama/blob/main/docs/faq.mdx). LM Studio keeps ``PUBLISHER/MODEL/FILE.gguf`` below
``~/.lmstudio/models``, before version 0.3 below ``~/.cache/lm-studio/models``
(https://lmstudio.ai/docs/app/advanced/import-model).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from modelhost.config import environment
from modelhost.config.paths import expand_home
from modelhost.models.files.model_files import part_names, servable_models, stem

OLLAMA, LM_STUDIO = "ollama:", "lmstudio:"
"""Prefixes of names of models in these stores. Ollama's models without an owner are found without it, too."""
STORE_VARIABLE: Final = "OLLAMA_MODELS"
STORE: Final = "~/.ollama/models"
FOLDERS: Final = ("~/.lmstudio/models", "~/.cache/lm-studio/models")
LATEST: Final = "latest"
_HOST, _NAMESPACE = "registry.ollama.ai", "library"
"""Parts of a manifest's path that are left out of its name."""
_LAYER: Final = "application/vnd.ollama.image."


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A model in GGUF that another program has downloaded."""

    name: str
    """By which it is served."""
    store: Literal["ollama", "lmstudio"]
    path: Path
    size_bytes: int
    why_not: str | None = None
    """Why it cannot be served as that program serves it."""


def stored_models() -> list[StoredModel]:
    """Return the models in the stores of other programs, by name."""
    return sorted([*_in_ollama(), *_in_lm_studio()], key=lambda model: (model.store, model.name))


def find_stored(name: str) -> StoredModel | None:
    """Return the model called ``name``, with or without the tag ``latest``; ``None`` if no store has it."""
    if name.startswith(LM_STUDIO):
        return next((model for model in _in_lm_studio() if model.name == name), None)
    if "/" in name and not name.startswith(OLLAMA):
        return None  # it means the hub
    name = name.removeprefix(OLLAMA)
    wanted = {name, f"{name}:{LATEST}"}
    return next((model for model in _in_ollama() if model.name.removeprefix(OLLAMA) in wanted), None)


def _in_ollama() -> Iterator[StoredModel]:
    store = Path.cwd() / expand_home(environment.current().get(STORE_VARIABLE) or STORE)
    for file in (store / "manifests").glob("*/*/*/*"):
        host, namespace, model, tag = file.parts[-4:]
        layers = _layers(file)
        blob = store / "blobs" / str(layers.get("model", {}).get("digest", "")).replace(":", "-", 1)
        if "model" not in layers or not blob.is_file():
            continue
        name = f"{model}:{tag}"
        if (host, namespace) != (_HOST, _NAMESPACE):
            name = f"{OLLAMA}{'' if host == _HOST else f'{host}/'}{namespace}/{name}"
        has_adapter = "adapter" in layers
        yield StoredModel(
            name=name,
            store="ollama",
            path=blob,
            size_bytes=blob.stat().st_size,
            why_not="it has an adapter, which is not taken over from Ollama" if has_adapter else None,
        )


def _layers(manifest: Path) -> dict[str, dict[str, Any]]:
    """Return the layers of a manifest by kind; none if the file is not a manifest."""
    try:
        value = orjson.loads(manifest.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    layers = value.get("layers") if isinstance(value, dict) else None
    found = [layer for layer in layers or () if isinstance(layer, dict)] if isinstance(layers, list) else []
    return {str(layer.get("mediaType", "")).removeprefix(_LAYER): layer for layer in reversed(found)}


def _in_lm_studio() -> Iterator[StoredModel]:
    for folder in (path for text in FOLDERS for path in expand_home(text).glob("*/*") if path.is_dir()):
        models = servable_models([file.name for file in folder.iterdir()])
        for model in models:
            parts = [folder / part for part in part_names(model)]
            if not all(part.is_file() for part in parts):
                continue
            own = f"{LM_STUDIO}{folder.parent.name}/{folder.name}"
            yield StoredModel(
                name=own if len(models) == 1 else f"{own}/{stem(model)}",
                store="lmstudio",
                path=parts[0],
                size_bytes=sum(part.stat().st_size for part in parts),
            )
