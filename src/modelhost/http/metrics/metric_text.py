"""One metric in Prometheus' text format, of which each series keeps its lines until it changes.

Of a thousand models, nearly all are at a scrape as they were at the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from modelhost.series import Series

CREATED: Final = "_created"
"""The ending of the samples that the text format has as a metric of their own, after the others."""
BUCKET: Final = "le"
PLAIN_BELOW: Final = 1e6
"""From here on the library writes numbers with an exponent, as Go does, and Python does not."""
ALL_LABELS, LABELS_BEFORE, LABELS_AFTER, THEN_CREATED = "\0", "\1", "\2", "\3"
"""Where a layout takes all labels of a series; those before and after the one of the bucket; where the lines end."""
SERIES_AT_ONCE: Final = 64
WRITTEN_AT_ONCE: Final = 8
"""Series that are written anew for a piece: a fraction of a millisecond."""


class _Text(NamedTuple):
    """The lines of a series as of this change; that of the metric for its creation, or nothing."""

    change: int
    lines: bytes
    created: bytes


class MetricText:
    """Writes one metric."""

    def __init__(self, family: Metric, labels: Sequence[str], *, with_created: bool = True) -> None:
        """``family`` has no samples; ``labels`` are the names of the labels of its series."""
        self._family, self._with_created = family, with_created
        self._head = _head(family)
        self._labels = _Labels(labels)
        self._layout: str | None = None
        self._texts: dict[tuple[str, ...], _Text] = {}

    def pieces(self, series: Mapping[tuple[str, ...], Series]) -> Iterator[bytes]:
        """Yield the text in pieces of a few lines each; ``series`` are by the values of their labels."""
        yield self._head
        piece, written, created = [], 0, []
        for labels, one in series.items():
            text = self._texts.get(labels)
            if text is None or text.change != one.change:
                text = self._texts[labels] = self._written(labels, one)
                written += 1
            piece.append(text.lines)
            if text.created:
                created.append(text.created)
            if written == WRITTEN_AT_ONCE or len(piece) == SERIES_AT_ONCE:
                yield b"".join(piece)
                piece, written = [], 0
        yield b"".join(piece)
        if created:
            yield _head(Metric(self._family.name + CREATED, self._family.documentation, "gauge"))
            yield b"".join(created)

    def _written(self, labels: Sequence[str], series: Series) -> _Text:
        change, values = series.change, series.values()  # in this order: what changes meanwhile is written again
        self._layout = layout = self._layout or self._laid_out(series)
        is_plain = -PLAIN_BELOW < sum(values) < PLAIN_BELOW
        numbers: list[object] = list(values if is_plain else map(_Number, values))
        if not layout.endswith(THEN_CREATED):
            numbers.append(_Number(series.created()))
        lines, created = self._labels.put_into(layout % tuple(numbers), labels).split(THEN_CREATED)
        return _Text(change, lines.encode(), created.encode())

    def _laid_out(self, series: Series) -> str:
        """Return the lines of any series of the metric, with ``%r`` for each number."""
        lines, created = "", ""
        for sample in series._child_samples():
            bound = sample.labels.get(BUCKET)
            labels = ALL_LABELS if bound is None else f'{LABELS_BEFORE}{BUCKET}="{bound}"{LABELS_AFTER}'
            line = f"{self._family.name}{sample.name}{labels} %r\n"
            if sample.name != CREATED:
                lines += line
            elif self._with_created:
                created += line
        return lines + THEN_CREATED + created


class _Labels:
    """The labels of the series of a metric, sorted by name as the library does."""

    def __init__(self, names: Sequence[str]) -> None:
        self._order = sorted(range(len(names)), key=names.__getitem__)
        pairs = [f'{names[number]}="%s"' for number in self._order]
        self._first = sum(name < BUCKET for name in names)
        self._all = "{" + ",".join(pairs) + "}" if pairs else ""
        self._before = "{" + "".join([f"{pair}," for pair in pairs[: self._first]])
        self._after = "".join([f",{pair}" for pair in pairs[self._first :]]) + "}"

    def put_into(self, lines: str, labels: Sequence[str]) -> str:
        """Return ``lines`` of a layout with the values ``labels``."""
        values = tuple([escaped(labels[number]) for number in self._order])
        if LABELS_BEFORE in lines:
            lines = lines.replace(LABELS_BEFORE, self._before % values[: self._first])
            lines = lines.replace(LABELS_AFTER, self._after % values[self._first :])
        return lines.replace(ALL_LABELS, self._all % values)


class _Number(float):
    """A number that is written as the library writes it."""

    def __repr__(self) -> str:
        text: str = floatToGoString(self)  # type: ignore[no-untyped-call]
        return text


class _Alone(Collector):
    """What the library writes as text: one metric, here without samples."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _head(family: Metric) -> bytes:
    return generate_latest(_Alone(family))


def escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
