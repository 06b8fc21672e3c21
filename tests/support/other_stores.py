"""The stores of other programs in their documented layouts, written by tests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def write_ollama(store: Path, name: str, content: bytes, *, layers: tuple[str, ...] = ("model",)) -> Path:
    """Add a model to Ollama's store; ``name`` is ``HOST/NAMESPACE/MODEL/TAG``. Returns the file of its weights."""
    digest = hashlib.sha256(content).hexdigest()
    blob = store / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    manifest = store / "manifests" / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    described = [
        {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}
        for kind in layers
    ]
    manifest.write_text(
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": {
                    "mediaType": "application/vnd.docker.container.image.v1+json",
                    "digest": f"sha256:{digest}",
                    "size": 1,
                },
                "layers": described,
            }
        )
    )
    return blob


def write_lm_studio(models: Path, name: str, content: bytes) -> Path:
    """Add a file ``PUBLISHER/MODEL/FILE.gguf`` to LM Studio's folder ``models``."""
    file = models / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file
