"""What the engine of a worker reports of itself, in Prometheus' text format.

Only what carries the engine's own prefix is kept: a worker also reports its Python and its process, under names that
belong to nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_SAMPLE = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+\d+)?", re.ASCII)
_SUFFIXES = ("_bucket", "_sum", "_count")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedSample:
    """One line: its labels and its value as the engine writes them."""

    name: str
    labels: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedFamily:
    """One metric with its samples."""

    name: str
    kind: str
    """``counter``, ``gauge``, ``histogram`` or ``untyped``."""
    help: str
    samples: tuple[ReportedSample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReport:
    """The metrics of one worker, and what is known from them; ``None`` is not reported."""

    families: tuple[ReportedFamily, ...] = ()
    kv_usage: float | None = None
    """The share of the KV cache in use."""
    running: float | None = None
    """Requests at work now, of an engine that does not count them by step."""
    steps: tuple[float, float] | None = None
    """Steps of the model since it was loaded, and the requests in all of them."""
    drafts: tuple[float, float] | None = None
    """Tokens drafted since it was loaded, and those of them that were accepted, unless its answers have both."""
    gpu_cached_bytes: int | None = None
    """GPU memory that the engine keeps for later use."""
    gpu_largest_free_bytes: int | None = None
    """The largest block in that memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineMetrics:
    """Where an engine's workers report, and what its names are. Of several names, a version of the engine has one."""

    prefix: str
    path: str = "/metrics"
    slots_path: str | None = None
    """Where slots are reported with the tokens in them, as llama.cpp does."""
    kv_usage: Sequence[str] = ()
    running: str | None = None
    steps: str | None = None
    step_requests: str | None = None
    """The requests in all steps."""
    requests_per_step: str | None = None
    """Their mean."""
    drafted: str | None = None
    accepted: str | None = None
    gpu_cached_bytes: str | None = None
    gpu_largest_free_bytes: str | None = None

    def read(self, text: str, slots: object = None) -> EngineReport:
        """Return the report in ``text``, with the usage of the KV cache that ``slots``, decoded JSON, have."""
        families = tuple(parse_families(text, self.prefix))
        values = _Values(families)
        cached, largest = values.get(self.gpu_cached_bytes), values.get(self.gpu_largest_free_bytes)
        return EngineReport(
            families=families,
            kv_usage=next((found for name in self.kv_usage if (found := values.get(name)) is not None), None)
            if slots is None
            else slot_usage(slots),
            running=values.get(self.running),
            steps=self._steps(values),
            drafts=_both(values.total(self.drafted), values.total(self.accepted)),
            gpu_cached_bytes=None if cached is None else int(cached),
            gpu_largest_free_bytes=None if largest is None else int(largest),
        )

    def _steps(self, values: _Values) -> tuple[float, float] | None:
        steps, mean = values.total(self.steps), values.get(self.requests_per_step)
        requests = values.total(self.step_requests) if mean is None or steps is None else mean * steps
        return _both(steps, requests)


@dataclass(frozen=True, slots=True)
class _Values:
    """The values of samples without a suffix; several of one name belong to parts of the engine."""

    families: Iterable[ReportedFamily]
    found: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for family in self.families:
            for sample in family.samples:
                self.found.setdefault(sample.name, []).append(float(sample.value))

    def get(self, name: str | None) -> float | None:
        """Return the mean."""
        values = self.found.get(name or "")
        return sum(values) / len(values) if values else None

    def total(self, name: str | None) -> float | None:
        """Return the sum."""
        values = self.found.get(name or "")
        return sum(values) if values else None


def _both(first: float | None, second: float | None) -> tuple[float, float] | None:
    return None if first is None or second is None else (first, second)


def slot_usage(slots: object) -> float | None:
    """Return the share of the places in all slots that hold a token; ``None`` if that is unknown."""
    if not isinstance(slots, list) or not all(isinstance(slot, Mapping) and slot.get("n_ctx") for slot in slots):
        return None
    places = sum(int(slot["n_ctx"]) for slot in slots)
    used = sum(int(slot.get("n_prompt_tokens") or 0) for slot in slots)
    return min(1.0, used / places) if places else None


def parse_families(text: str, prefix: str) -> Iterator[ReportedFamily]:
    """Yield the metrics whose names begin with ``prefix``; lines that are none are passed over."""
    kinds: dict[str, str] = {}
    helps: dict[str, str] = {}
    samples: dict[str, list[ReportedSample]] = {}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "#":
            what, _, described = rest.partition(" ")
            name, _, value = described.partition(" ")
            if what in {"TYPE", "HELP"} and name.startswith(prefix):
                (kinds if what == "TYPE" else helps)[name] = value
        elif line.startswith(prefix) and (found := _SAMPLE.fullmatch(line.strip())) and _is_number(found[3]):
            sample = ReportedSample(name=found[1], labels=(found[2] or "").strip().rstrip(","), value=found[3])
            samples.setdefault(_family_of(found[1], kinds), []).append(sample)
    for name, own in samples.items():
        yield ReportedFamily(name=name, kind=kinds.get(name, "untyped"), help=helps.get(name, ""), samples=tuple(own))


def _family_of(sample: str, kinds: Mapping[str, str]) -> str:
    if sample in kinds:
        return sample
    bases = (sample.removesuffix(suffix) for suffix in _SUFFIXES if sample.endswith(suffix))
    return next((base for base in bases if base in kinds), sample)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
