"""The bundled model, with an output layer that cannot end a text.

Servers have different ways to forbid the end, or none, and most of them cost something. With these weights every one
of them writes as many tokens as it is asked for, all of which are text.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors.numpy import load_file, save_file

SOURCE = Path(__file__).parent.parent / "tests" / "assets" / "nano-hf"
MARKERS = 3  # the first tokens of its vocabulary: the end of a document, and the begin and end of a message


def write_endless(folder: Path) -> Path:
    """Write the model into ``folder``, which does not exist, and return ``folder``."""
    shutil.copytree(SOURCE, folder)
    weights = load_file(folder / "model.safetensors")
    # Its output layer is the table of its inputs; the copy gives those tokens a score of 0, and text has more.
    output = weights["model.embed_tokens.weight"].copy()
    output[:MARKERS] = 0
    save_file({**weights, "lm_head.weight": output}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    return folder
