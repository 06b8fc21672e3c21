"""The monitor of a host: records what requests and workers do, keeps its history, and reads it back for any window."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from modelhost.background import cancel_and_wait, log_failures
from modelhost.config.value_types import MetricLevel
from modelhost.errors import DatabaseUnavailable
from modelhost.logs import get_logger
from modelhost.monitor import history
from modelhost.monitor.cells import Cell, Frame, pack
from modelhost.monitor.engine_reports import EngineReport
from modelhost.monitor.journal import EndedRequest, Journal
from modelhost.monitor.measure import RequestMeasure, RunningTurn
from modelhost.monitor.windows import EVERYTHING, Selection, Window, WindowParts, point_step

T = TypeVar("T")


class RecentAnswers:
    """Answers by key, each given again for ``seconds``; with 0, none is kept. For one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: dict[str, tuple[float, Any]] = {}
        """When each was made, and the answer."""
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def get(self, key: str, make: Callable[[], Awaitable[T]]) -> T:
        """Return the answer to ``key``, made by ``make`` unless there is one; those who want the same wait for it.

        What ``make`` raises is raised, and not kept.
        """
        if not self._seconds:
            return await make()
        async with self._making[key]:
            now = asyncio.get_running_loop().time()
            self._forget(now)
            if key not in self._kept:
                self._kept[key] = (now, await make())
            answer: T = self._kept[key][1]
            return answer

    def _forget(self, now: float) -> None:
        for key in [key for key, (made_at, _) in self._kept.items() if now - made_at >= self._seconds]:
            del self._kept[key]
        for key in [key for key, lock in self._making.items() if key not in self._kept and not lock.locked()]:
            del self._making[key]


levels_of = history.levels_of

log = get_logger(__name__)

WRITE_SECONDS: Final = 10.0
"""How long frames are collected before they are written; as much is lost if the process is killed."""
MOST_WAITING: Final = 3600
"""Frames that wait for a database that fails; beyond it the oldest are lost."""
PURGE_SECONDS: Final = 600.0


class Monitor:
    """Records requests and loads; a task of its own writes them to ``store``. Its methods belong to one event loop.

    Nothing is written while nothing happens. A database that fails delays nothing: frames wait for it.
    """

    def __init__(
        self,
        store: history.HistoryStore,
        levels: Sequence[MetricLevel],
        *,
        source: str,
        cache_seconds: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``cache_seconds``: for how long :attr:`answers` are kept."""
        self.levels = levels
        self.answers = RecentAnswers(cache_seconds)
        self._store = store
        self._clock = clock
        self._source = source
        self._writer = uuid.uuid4().hex[:8]
        self._frames: dict[int, Frame] = {}
        """What is not written yet, by start."""
        self._journal = Journal(clock, levels[0].step, self._cell)
        self._turns: dict[RunningTurn, None] = {}
        self._has_turns = asyncio.Event()
        self._roll_ups = history.RollUps(levels, source)
        self._is_found = False
        """Whether it is known what an earlier process has left to be merged."""
        self._recorded = asyncio.Event()
        self._using = asyncio.Lock()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._purged_at = 0.0
        self._is_broken = False
        self.engine_reports: dict[str, EngineReport] = {}
        """What engines reported last, by the main name of the model that is loaded."""
        self._counted_at: float | None = None

    @property
    def longest_seconds(self) -> int:
        """How far back history reaches."""
        return max(level.keep for level in self.levels)

    @property
    def generated_tokens(self) -> int:
        """Since the start of this host."""
        return self._journal.generated_tokens

    @property
    def last_recorded_at(self) -> float | None:
        """When something was recorded last, in seconds since 1970."""
        return max(filter(None, (self._counted_at, self._journal.noted_at)), default=None)

    # What is recorded: that of requests is noted in the journal, the rest, which is rare, is counted at once.

    def record(
        self, request: RequestMeasure, *, model: str, seconds: float, code: str | None, is_cancelled: bool = False
    ) -> None:
        """Record a request that has ended, after ``seconds``, and with the error ``code`` if it failed.

        ``model`` is the main name of a known model, or empty.
        """
        self._journal.request(model, EndedRequest(request, seconds, code, is_cancelled))
        self._recorded.set()

    def turn_began(self, model: str, now: float) -> None:
        """Count a turn at work on ``model``; ``now`` is of :func:`time.perf_counter`."""
        self._journal.turns(model, now, 1)

    def turn_ended(self, model: str, now: float) -> None:
        """Count one less."""
        self._journal.turns(model, now, -1)

    def follow(self, turn: RunningTurn) -> None:
        """Count the tokens of ``turn`` as they come: in each interval, if the monitor is started, and when read."""
        self._turns[turn] = None
        self._has_turns.set()

    def stop_following(self, turn: RunningTurn, tokens: int) -> None:
        """Count the rest of the ``tokens`` of a turn that has ended."""
        del self._turns[turn]
        if not self._turns:
            self._has_turns.clear()
        self._count_tokens(turn, tokens)

    def _count_tokens(self, turn: RunningTurn, tokens: int) -> None:
        fresh = tokens - turn.counted
        if fresh:  # it is less than none after events that were no tokens
            self._journal.tokens(turn.model, fresh)
            turn.counted += fresh
            turn.request.tokens_counted += fresh

    def loaded(self, model: str, seconds: float) -> None:
        cell = self._present(model)
        cell.count("loads")
        cell.observe("load", seconds)

    def evicted(self, model: str) -> None:
        """Record that a model was unloaded to make room for another one."""
        self._present(model).count("evictions")

    def worker_exited(self, model: str) -> None:
        self._present(model).count("worker_exits")

    def engine_reported(self, model: str, report: EngineReport, before: EngineReport | None) -> None:
        """Record what the engine of a loaded model reports; ``before`` is its previous report, if it has one."""
        self.engine_reports[model] = report
        before, cell = before or EngineReport(), self._present(model)
        if report.kv_usage is not None:
            cell.count("kv_sum", report.kv_usage)
            cell.count("kv_samples")
        steps, requests = _increases(report.steps, before.steps)
        if steps > 0:
            cell.count("batch_sum", requests)
            cell.count("batch_samples", steps)
        elif report.steps is None and report.running:
            cell.count("batch_sum", report.running)
            cell.count("batch_samples")
        drafted, accepted = _increases(report.drafts, before.drafts)
        if drafted > 0:
            cell.count("drafted", drafted)
            cell.count("accepted", accepted)

    def _present(self, model: str) -> Cell:
        """Return the cell for what is counted now."""
        self._counted_at = self._clock()
        return self._cell(int(self._counted_at), model)

    def _cell(self, at: int, model: str) -> Cell:
        start = at // self.levels[0].step * self.levels[0].step
        frame = self._frames.get(start)
        if frame is None:
            frame = self._frames[start] = {}
            self._recorded.set()
        cell = frame.get(model)
        if cell is None:
            cell = frame[model] = Cell()
        return cell

    # What is read.

    async def window(
        self, seconds: int, *, points: int = 0, source: str | None = None, only: Selection = EVERYTHING
    ) -> Window:
        """Return what happened in the last ``seconds``, of all hosts of the database or one of them.

        With ``points`` there are about so many parts of it, too. Frames are merged in a thread.

        Raises:
            DatabaseUnavailable: the window is longer than what is in memory, and the database cannot be used.
        """
        self._count_running()
        span, parts = self._begin(seconds, points, only)
        async with self._using:
            stored = await self._store.read(lambda rows: list(history.frames_of(rows, self.levels, span, source)))
            over = self._unwritten(span, parts) if source in (None, self._source) else ()
            return await asyncio.to_thread(_window_of, parts, stored, over, end=span.now, seconds=seconds)

    async def unwritten_window(self, seconds: int, *, points: int = 0, only: Selection = EVERYTHING) -> Window:
        """Return what this host has recorded in the last ``seconds`` and not written yet."""
        self._count_running()
        span, parts = self._begin(seconds, points, only)
        over = self._unwritten(span, parts)
        return await asyncio.to_thread(_window_of, parts, (), over, end=span.now, seconds=seconds)

    def _begin(self, seconds: int, points: int, only: Selection) -> tuple[history.Span, WindowParts]:
        now = self._clock()
        # A window ends with the present interval, which is not over, and begins with a whole one.
        step_seconds = self.levels[0].step
        end = int(now) // step_seconds * step_seconds + step_seconds
        start = int(now - seconds) // step_seconds * step_seconds
        place = history.level_for(self.levels, seconds, points)
        step = point_step(seconds, points, self.levels[place].step) if points else None
        return history.Span(start=start, end=end, place=place, now=now), WindowParts(
            start, step, only, points_start=end - seconds
        )

    def _unwritten(self, span: history.Span, parts: WindowParts) -> Sequence[tuple[int, Frame]]:
        """Return the frames whose interval is over; that of the present one, which changes, is merged at once."""
        present = span.end - self.levels[0].step
        if present in self._frames:
            parts.merge(present, self._frames[present])
        return [(at, frame) for at, frame in self._frames.items() if span.start <= at < present]

    def _count_running(self) -> None:
        """Count the work and the tokens up to now of turns that have not ended."""
        for turn in self._turns:
            self._count_tokens(turn, max(turn.written(), turn.counted))
        self._journal.running(time.perf_counter())
        self._journal.count()

    # What is written.

    async def flush(self) -> None:
        """Write the frames whose interval is over, merge those of coarser intervals that are over, delete old ones.

        Raises:
            DatabaseUnavailable: the database cannot be used; the frames still wait for it.
        """
        self._count_running()
        now, step = self._clock(), self.levels[0].step
        async with self._using:
            over = {start: frame for start, frame in self._frames.items() if start + step <= now}
            purges = now - self._purged_at >= PURGE_SECONDS
            due = await self._store.write(lambda rows: self._write(rows, over, now, purges=purges))
            self._roll_ups.settle(due)
            self._is_found = True
            self._purged_at = now if purges else self._purged_at
            for start in over:
                del self._frames[start]

    def _write(
        self, rows: history.HistoryRows, frames: dict[int, Frame], now: float, *, purges: bool
    ) -> tuple[frozenset[int], ...]:
        if not self._is_found:
            self._roll_ups.find(rows)
        step = self.levels[0].step
        packed = rows.apart(lambda: {start: pack(frame) for start, frame in frames.items()})
        rows.put(
            [
                history.StoredFrame(step=step, start=start, source=self._source, writer=self._writer, content=content)
                for start, content in packed.items()
            ]
        )
        due = self._roll_ups.run(rows, self._roll_ups.with_frames(list(frames)), now)
        if purges:
            for level in self.levels:
                rows.purge(step=level.step, before=int(now - level.keep))
        return due

    def start(self) -> None:
        """Start writing from time to time; until then, what is recorded waits."""
        self._tasks = (
            asyncio.create_task(self._keep_writing(), name="writing metrics"),
            asyncio.create_task(self._keep_following(), name="following turns"),
        )

    async def close(self) -> None:
        """Write what there is. Record nothing afterwards.

        A database that was never opened is opened only for requests.
        """
        await cancel_and_wait(*self._tasks)
        if self._store.is_open or self._has_requests():
            with suppress(DatabaseUnavailable):  # logged when it began
                self._clock = _later(self._clock, self.levels[0].step)
                await self.flush()

    def _has_requests(self) -> bool:
        self._journal.count()
        return any(cell.total("requests") for frame in self._frames.values() for cell in frame.values())

    async def _keep_following(self) -> None:
        while True:
            await self._has_turns.wait()
            await asyncio.sleep(self.levels[0].step)
            with log_failures("following turns"):
                self._count_running()

    async def _keep_writing(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds_to_roll_up()):
                    await self._recorded.wait()
            self._recorded.clear()
            await asyncio.sleep(WRITE_SECONDS)
            with log_failures("writing metrics"):
                await self._write_now()
            if self._frames or not self._journal.is_empty:
                self._recorded.set()
            else:
                self._recorded.clear()

    def _seconds_to_roll_up(self) -> float | None:
        at = self._roll_ups.next_at
        return None if at is None else max(0.0, at - self._clock())

    async def _write_now(self) -> None:
        try:
            await self.flush()
        except DatabaseUnavailable as error:
            if not self._is_broken:
                log.warning("metrics_wait", reason=error.message)
            self._is_broken = True
            lost = sorted(self._frames)[:-MOST_WAITING]
            for start in lost:
                del self._frames[start]
            if lost:
                log.warning("metrics_lost", frames=len(lost))
        else:
            if self._is_broken:
                log.info("metrics_written_again")
            self._is_broken = False


def _window_of(
    parts: WindowParts,
    stored: Sequence[tuple[int, bytes]],
    unwritten: Sequence[tuple[int, Frame]],
    *,
    end: float,
    seconds: int,
) -> Window:
    parts.merge_stored(stored)
    for start, frame in unwritten:
        parts.merge(start, frame)
    return parts.window(end=end, seconds=seconds)


def _increases(now: tuple[float, float] | None, before: tuple[float, float] | None) -> tuple[float, float]:
    """Return by how much two counters have grown since the worker was loaded, or since ``before``."""
    if now is None:
        return 0.0, 0.0
    first, second = before or (0.0, 0.0)
    return now[0] - first, now[1] - second


def _later(clock: Callable[[], float], seconds: float) -> Callable[[], float]:
    return lambda: clock() + seconds
