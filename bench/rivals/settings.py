"""The settings of the ``llamacpp`` engine, each changed alone, beside what it has by default.

Measured on an idle machine, and on one that two other threads keep busy: what waits by spinning is quick on the first,
and may be very slow on the second.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from bench.engines import bundled
from bench.larger import KINDS, write_larger
from bench.rivals.works import CONTEXT, SLOTS, WORKS, Build, OverHttp, Work, other_work
from bench.sides import Order, worker_process
from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.workers.machine import computing_cores

DEFAULT: Final = "as it is"
LOADS: Final = ("idle", "busy")
SPINS: Final = (1000, 3000, 10_000, 30_000, 100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One setting that is another than by default."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Engine options."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of :class:`~modelhost.engines.launch.ModelSpec`."""
    env: Mapping[str, str] = field(default_factory=dict)


VARIANTS: Final = (
    Variant(name=DEFAULT),
    Variant(name="1 thread", settings={"threads": 1}),
    Variant(name="pin_threads false", options={"pin_threads": False}),
    Variant(name="OpenMP's own spinning", env={"GOMP_SPINCOUNT": "300000"}),
    Variant(name="no spinning", env={"GOMP_SPINCOUNT": "0"}),
    *(Variant(name=f"spinning {times:,} times", env={"GOMP_SPINCOUNT": str(times)}) for times in SPINS),
    Variant(name="flash_attention off", options={"flash_attention": "off"}),
    Variant(name="flash_attention on", options={"flash_attention": "on"}),
    Variant(name="micro_batch_size 128", options={"micro_batch_size": 128}),
    Variant(name="micro_batch_size 1024", options={"micro_batch_size": 1024}),
    Variant(name="batch_size 512", options={"batch_size": 512}),
    Variant(name="kv_cache_type q8_0", settings={"kv_cache_type": "q8_0"}),
    Variant(name="embeddings false", options={"embeddings": False}),
    Variant(name="n_cache_reuse 256", options={"n_cache_reuse": 256}),
    Variant(name="speculation ngram-simple", options={"speculation": "ngram-simple"}),
    Variant(name="speculation ngram-mod", options={"speculation": "ngram-mod"}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One setting with one file on an idle or a busy machine: tokens per second by work, for each round."""

    kind: str
    load: str
    variant: str
    speeds: Mapping[str, tuple[float, ...]]

    def speed(self, work: Work) -> float:
        """The median over the rounds."""
        return statistics.median(self.speeds[work.name])


def measure_settings(rounds: int, named: str | None, kinds: Sequence[str], log: Path) -> Iterator[SettingRow]:
    """Yield the rows of each kind of file; of the variants those with ``named`` in their name, beside the default; or
    all, on the machine of :data:`LOADS` that it names.

    Raises:
        StartError: a worker did not start.
    """
    loads = [named] if named in LOADS else LOADS
    chosen = [each for each in VARIANTS if each.name == DEFAULT or named in (None, *LOADS) or named in each.name]
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds or KINDS:
            model = write_larger(bundled(None), Path(folder) / f"{kind}.gguf", kind)
            with ExitStack() as stack:
                found = {each.name: stack.enter_context(_worker(each, model, log)) for each in chosen}
                for build in found.values():
                    build(WORKS[-1])  # what a first time costs is no part of it
                for load in loads:
                    with other_work(is_there=load == LOADS[1]):
                        yield from _rows(found, kind, load, rounds)
            model.unlink()


def _rows(found: Mapping[str, Build], kind: str, load: str, rounds: int) -> Iterator[SettingRow]:
    speeds: dict[str, dict[str, list[float]]] = {name: {work.name: [] for work in WORKS} for name in found}
    for _ in range(rounds):
        for work in WORKS:
            for name, build in found.items():
                speeds[name][work.name].append(work.counted / build(work))
    for name, each in speeds.items():
        yield SettingRow(kind=kind, load=load, variant=name, speeds={what: tuple(seen) for what, seen in each.items()})


@contextmanager
def _worker(variant: Variant, model: Path, log: Path) -> Iterator[Build]:
    spec = ModelSpec(name="larger", path=model, context_length=CONTEXT, slots=SLOTS, threads=computing_cores())
    launch = LlamaCpp().launch(replace(spec, options=dict(variant.options), **variant.settings), "k")
    env = {**launch.env, **variant.env}
    order = Order(argv=launch.argv, env=env, config=launch.config, api_key="k")
    with worker_process(order, log) as side:
        yield OverHttp(side)
