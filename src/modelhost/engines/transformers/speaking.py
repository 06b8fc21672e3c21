"""The worker process of one model that speaks, in safetensors: VITS, Dia, Bark or CSM, by its ``model_type``.

Started as ``python -m modelhost.engines.transformers.speaking`` (:mod:`modelhost.engines.launch`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelhost.engines.media.starting import LoadedMedia, run
from modelhost.engines.worker.process import read_config, watch_lifeline


def load(config: Mapping[str, Any]) -> LoadedMedia:
    """Return the model of ``config``; raises what the library raises."""
    import torch  # noqa: PLC0415 (slow; the lifeline is watched already)
    from transformers.utils import logging  # noqa: PLC0415

    try:
        from modelhost.engines.media.speaking import loaded_speaker  # noqa: PLC0415 (as below)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error.name} is not installed: pip install 'modelhost[transformers]'") from error
    logging.disable_progress_bar()
    torch.set_num_threads(config["threads"])
    return loaded_speaker(speaker_of(config))


def speaker_of(config: Mapping[str, Any]) -> Any:
    """Return the loaded model of ``config`` as a :class:`~modelhost.engines.media.speaking.Speaker`."""
    from modelhost.engines.transformers.bark import Bark  # noqa: PLC0415 (they import what may be missing, as above)
    from modelhost.engines.transformers.csm import Csm  # noqa: PLC0415
    from modelhost.engines.transformers.dia import Dia  # noqa: PLC0415
    from modelhost.engines.transformers.vits import Vits  # noqa: PLC0415

    kind = json.loads((Path(config["path"]) / "config.json").read_bytes())["model_type"]
    return {"bark": Bark, "csm": Csm, "dia": Dia, "vits": Vits}[kind](config)


if __name__ == "__main__":
    given = read_config()
    watch_lifeline()
    run(given, load)
