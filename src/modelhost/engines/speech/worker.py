"""The worker process of one model that speaks.

Started as the module ``modelhost.engines.speech.worker`` (:mod:`modelhost.engines.launch`), usually by the Python of an
environment of its own, which has what its lock file lists and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelhost.engines.media.speaking import Speaker, loaded_speaker
from modelhost.engines.media.starting import LoadedMedia, run
from modelhost.engines.speech.voices import Hibari, SherpaVoices
from modelhost.engines.worker.process import read_config, watch_lifeline


def load(config: Mapping[str, Any]) -> LoadedMedia:
    """Return the model of ``config``; raises what the library raises."""
    return loaded_speaker(_speaker(config))


def _speaker(config: Mapping[str, Any]) -> Speaker:
    if config["path"] is None:
        try:
            return Hibari(names=config["voices"], threads=config["threads"])
        except ModuleNotFoundError as error:
            way_out = "modelhost engines install speech --voice hibari"
            raise ModuleNotFoundError(f"the voice hibari is not installed: {way_out}") from error
    return SherpaVoices(Path(config["path"]), kind=config["kind"], names=config["voices"], threads=config["threads"])


if __name__ == "__main__":
    given = read_config()
    watch_lifeline()
    run(given, load)
