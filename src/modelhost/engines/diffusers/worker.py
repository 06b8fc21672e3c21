"""The worker process of one model that makes images.

Started as the module ``modelhost.engines.diffusers.worker`` (:mod:`modelhost.engines.launch`), usually by the Python of
an environment of its own. A request is JSON; the answer is events: ``started``, ``progress`` before the first step of
an image and after each one, ``partial`` and ``image`` with an image in base64, and at the end ``done``, or ``failed``
with an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from modelhost.engines.diffusers.loading import load_pipeline
from modelhost.engines.media.routes import Prepare
from modelhost.engines.media.starting import LoadedMedia, run
from modelhost.engines.worker.asgi import read_json
from modelhost.engines.worker.process import read_config, watch_lifeline

GENERATIONS: Final = "/v1/images/generations"
EDITS: Final = "/v1/images/edits"


def load(config: Mapping[str, Any]) -> LoadedMedia:
    """Return the model of ``config``; raises what the library raises."""
    warnings.simplefilter("ignore", FutureWarning)  # the library's own, about itself
    pipeline = load_pipeline(config)
    from modelhost.engines.diffusers.painting import Painter  # noqa: PLC0415 (imports the library)

    painter = Painter(pipeline, config)

    def prepare_for(raw: bytes) -> Any:
        return painter.prepare(read_json(raw))

    tasks: dict[str, tuple[str, Prepare]] = {"images": (GENERATIONS, prepare_for)}
    if painter.can_edit:
        tasks["image_edits"] = (EDITS, prepare_for)
    return LoadedMedia(tasks=tasks, version=f"diffusers {version('diffusers')}")


if __name__ == "__main__":
    given = read_config()
    watch_lifeline()
    run(given, load)
