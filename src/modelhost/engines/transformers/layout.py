"""What models of transformers need besides their own files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

CONFIG: Final = "config.json"
DIA: Final = "dia"
PROCESSORS: Final = ("processor_config.json", "audio_tokenizer_config.json")
"""Files that name the codec of a Dia."""
CODEC: Final = "descript/dac_44khz"
"""The codec of a Dia that names none."""
CODEC_FOLDERS: Final = ("dac", "dac_44khz")
"""Where it is looked for in the folder of the Dia, besides the folder of its name."""
VOICE_PRESETS: Final = "speaker_embeddings_path.json"
"""Lists the voices of a Bark, which are files beside it that end in ``PRESET_FILES``."""
PRESET_FILES: Final = ".npy"


def codec_of(folder: Path) -> str | None:
    """Return the name of the codec of the Dia in ``folder``, a model of its own; ``None``: there is another model."""
    if _read(folder / CONFIG).get("model_type") != DIA:
        return None
    for name in PROCESSORS:
        given = _read(folder / name)
        named = given.get("audio_tokenizer") or given
        if isinstance(named, Mapping) and (found := named.get("audio_tokenizer_name_or_path")):
            return str(found)
    return CODEC


def codec_in(folder: Path, name: str) -> Path | None:
    """Return the folder of the codec called ``name`` in ``folder``, that of its Dia; ``None`` if it is not there."""
    places = [folder / each for each in (name, Path(name).name, *CODEC_FOLDERS)]
    return next((each for each in places if (each / CONFIG).is_file() and each.resolve() != folder.resolve()), None)


def _read(path: Path) -> Mapping[str, Any]:
    """Return the JSON object at ``path``; empty if there is none."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, Mapping) else {}
