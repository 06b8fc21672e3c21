"""What the host adds to images, and how chats beside them fare.

The same image by the bare library, in a process of its own as the worker has it, and as a request to the host, in
turns, with one thread and the same seed; the files are compared. Then four paced chat streams of the same host, alone
and beside images that are made one after the other.
"""

from __future__ import annotations

import base64
import json
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any, Final

from rich.table import Table

from bench.bare_library import PART, THREADS, WHOLE, Times, in_turns, library, posted
from bench.figures import Call, Job, Seen
from bench.loads import scripted as paced
from bench.measure import LoadGenerator, load_generator
from bench.sides import Side, StartError, host
from bench.targets import Check
from tests.support.image_pipelines import data_dir_with_engine, write_pipelines
from tests.support.registries import scripted, write_registry

ENVIRONMENT: Final = "MODELHOST_TEST_IMAGES"
FOLDER: Final = Path(__file__).parents[1] / ".venv-images"
KIND: Final = "stable-diffusion"
PIXELS: Final = 256
"""The side of an image."""
STEPS: Final = 20
STREAMS: Final = 4
TOKENS_PER_SECOND: Final = 50
"""Of each stream."""
MOST_ADDED_SECONDS: Final = 0.02
MOST_ADDED_SHARE: Final = 0.05
LEAST_PACE: Final = 0.9

PAINT: Final = f"""{PART}
import io
import torch
from diffusers import DiffusionPipeline
torch.set_num_threads(int(sys.argv[1]))
pipeline = DiffusionPipeline.from_pretrained(
    sys.argv[2], torch_dtype=torch.float32, use_safetensors=True, local_files_only=True
)
pipeline.set_progress_bar_config(disable=True)
part(b"")
for line in sys.stdin:
    asked = json.loads(line)
    made = pipeline(**asked["fields"], generator=torch.Generator("cpu").manual_seed(asked["seed"]))
    file = io.BytesIO()
    made.images[0].save(file, format="PNG")
    part(file.getvalue())
    part(b"")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCosts:
    """Seconds of an image by the library and by the host, in pairs, and what chats saw alone and beside images."""

    library: tuple[Times, ...]
    host: tuple[Times, ...]
    alone: tuple[Seen, ...]
    beside: tuple[Seen, ...]
    images_beside: int
    """Made while the chats ran."""

    @property
    def added(self) -> float:
        """The median of what the host takes longer for an image, in seconds."""
        pairs = zip(self.library, self.host, strict=True)
        return statistics.median(there[WHOLE] - here[WHOLE] for here, there in pairs)

    @property
    def share(self) -> float:
        """The same as a share of the library's time."""
        return self.added / statistics.median(here[WHOLE] for here in self.library)

    @property
    def pace(self) -> float:
        """The tokens per second beside images over those alone: the median of the rounds."""
        rounds = zip(self.alone, self.beside, strict=True)
        return statistics.median(beside.tokens_per_second / alone.tokens_per_second for alone, beside in rounds)


def images_python() -> str | None:
    """Return the Python with the engine; ``None``: there is none."""
    python = Path(os.environ.get(ENVIRONMENT, FOLDER)) / "bin" / "python"
    return str(python) if python.exists() else None


def measure_images(log: Path, *, pairs: int, quick: bool) -> ImageCosts:
    """Measure ``pairs`` images, and rounds of chats.

    Raises:
        StartError: the engine is not there, a side did not start or did not answer, or the images differ.
    """
    python = images_python()
    if python is None:
        raise StartError("there is no engine for images; `make test-images` installs it")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_pipelines(python, folder / "pipelines", KIND) / KIND
        with _sides(python, model, folder, log) as (ask_library, side):
            return _measured(ask_library, side, pairs, rounds=1 if quick else 3, seconds=4 if quick else 10)


@contextmanager
def _sides(python: str, model: Path, folder: Path, log: Path) -> Iterator[tuple[Any, Side]]:
    registry = write_registry(
        folder / "models.yaml", {"name": "painter", "local_path": str(model)}, scripted("chat", params={})
    )
    data_dir = data_dir_with_engine(python, folder / "data")
    options = ["--models-config", registry, "--threads", str(THREADS), "--data-dir", str(data_dir)]
    with library(python, PAINT, [str(model)], log) as ask, host(options, log) as side:
        yield ask, side


def _measured(ask_library: Any, side: Side, pairs: int, *, rounds: int, seconds: int) -> ImageCosts:
    fields = {"prompt": "a lighthouse at dusk", "width": PIXELS, "height": PIXELS, "num_inference_steps": STEPS}
    by_library: list[bytes] = []
    by_host: list[bytes] = []

    def library_once() -> Times:
        times, parts = ask_library({"fields": fields, "seed": 1})
        by_library.append(b"".join(parts))
        return Times(times)

    def host_once() -> Times:
        times, answer = _painted(side)
        by_host.append(base64.b64decode(json.loads(answer)["data"][0]["b64_json"]))
        return times

    here, there = in_turns(library_once, host_once, pairs)
    if {*by_library} != {*by_host} or len({*by_host}) != 1:
        raise StartError("the images of the library and of the host differ")
    alone, beside, images = [], [], 0
    with load_generator() as generator:
        _chats(generator, side, 1)  # loads the model
        for _ in range(rounds):
            alone.append(_chats(generator, side, seconds))
            with _painting(side) as made:
                beside.append(_chats(generator, side, seconds))
            images += len(made)
    return ImageCosts(library=here, host=there, alone=tuple(alone), beside=tuple(beside), images_beside=images)


def _painted(side: Side) -> tuple[Times, bytes]:
    fields = {"prompt": "a lighthouse at dusk", "size": f"{PIXELS}x{PIXELS}", "steps": STEPS, "seed": 1}
    body = json.dumps({"model": "painter", **fields}).encode()
    return posted(side.url, "/v1/images/generations", body, "application/json")


@contextmanager
def _painting(side: Side) -> Iterator[list[Times]]:
    """Have images made one after the other; yields how long each took, complete when the block is left."""
    is_over, made = Event(), list[Times]()

    def paint() -> None:
        while not is_over.is_set():
            made.append(_painted(side)[0])

    with ThreadPoolExecutor(max_workers=1) as pool:
        job = pool.submit(paint)
        try:
            yield made
        finally:
            is_over.set()
            job.result()


def _chats(generator: LoadGenerator, side: Side, seconds: int) -> Seen:
    load = paced("", f"/slow {TOKENS_PER_SECOND}", TOKENS_PER_SECOND * seconds, streams=(STREAMS,))
    call = Call(url=side.url, api_key=side.api_key, body={"model": "chat", **load.body}, door=load.door)
    seen = generator.do(
        Job(calls=(call,), streams=STREAMS, requests=1, seconds=0.0, expected_events=load.expected_events)
    )
    if seen.errors:
        raise StartError(f"chats beside images: {seen.errors}")
    return seen


def images_table(costs: ImageCosts) -> Table:
    """Return the table."""
    title = f"images of {PIXELS}x{PIXELS} pixels in {STEPS} steps, tiny random {KIND}, {THREADS} thread (medians)"
    table = Table("", "library", "host", "added, ms", "share", title=title, title_justify="left")
    sides = [statistics.median(each[WHOLE] for each in side) for side in (costs.library, costs.host)]
    table.add_row(
        "an image", *(f"{seconds:,.3f} s" for seconds in sides), f"{costs.added * 1000:,.1f}", f"{costs.share:.1%}"
    )
    paces = [statistics.median(each.tokens_per_second for each in side) for side in (costs.alone, costs.beside)]
    name = f"{STREAMS} chats of {TOKENS_PER_SECOND} tokens/s: alone, beside {costs.images_beside} images"
    table.add_row(name, *(f"{pace:,.1f} tokens/s" for pace in paces), "", f"{costs.pace:.3f}")
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def images_checks(costs: ImageCosts | None) -> list[tuple[str, Check]]:
    """Return the targets, each with where."""
    if costs is None:
        return []
    most = f"at most {MOST_ADDED_SECONDS * 1000:,.0f} ms or {MOST_ADDED_SHARE:.0%}"
    is_little = costs.added <= MOST_ADDED_SECONDS or costs.share <= MOST_ADDED_SHARE
    added = f"{costs.added * 1000:,.1f} ms, {costs.share:.1%}"
    beside = f"{STREAMS} chats beside images"
    return [
        ("an image", Check(what="added to an image", target=most, measured=added, is_reached=is_little)),
        (
            beside,
            Check(
                what="pace, beside images over alone",
                target=f"at least {LEAST_PACE}",
                measured=f"{costs.pace:.3f}",
                is_reached=costs.pace >= LEAST_PACE,
            ),
        ),
    ]


def images_json(costs: ImageCosts | None) -> dict[str, Any]:
    """Return all figures, with the targets."""
    if costs is None:
        return {}
    figures = {"added_seconds": costs.added, "added_share": costs.share, "pace": costs.pace}
    targets: Sequence[Any] = [asdict(check) for _, check in images_checks(costs)]
    return {"images": {**asdict(costs), **figures}, "image_targets": targets}
