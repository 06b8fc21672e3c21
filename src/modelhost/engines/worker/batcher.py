"""The thread that runs the model: it accepts requests, runs several in one batch, and emits their events.

The model is used in this one thread only. Between two steps of the batch, at most ``chunk_tokens`` of new prompts are
processed, so that a long prompt does not delay the answers that are being generated. Caches of finished conversations
are kept for requests that begin with the same tokens, which have the same keys and values.
"""

from __future__ import annotations

import queue
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from modelhost.engines.worker.library import Cache, ImageFailed, Library, Scores
from modelhost.engines.worker.sampling import Choice, NoTokenAllowed, Sampler, scored_choice


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    tokens: NDArray[np.int64]
    cache: Cache
    size_bytes: int


class PrefixCache:
    """Keeps up to ``most_bytes`` of caches and evicts the least recently used. Used in one thread."""

    def __init__(self, library: Library, *, most_bytes: int) -> None:
        self._library = library
        self._most_bytes = most_bytes
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._count = 0
        self._bytes = 0

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def take(self, prompt: Sequence[int]) -> tuple[Cache, int]:
        """Return a cache with a prefix of ``prompt``, possibly a new one, and the number of its tokens.

        The last token is never among them, since its scores are needed.
        """
        wanted = np.asarray(prompt[:-1], np.int64)
        found = [(_common(entry.tokens, wanted), key) for key, entry in self._entries.items()]
        for length, key in sorted(found, reverse=True):
            if length == 0:
                break
            entry = self._entries[key]
            if length == len(entry.tokens):
                self._drop(key)  # it is continued; it comes back longer
                return entry.cache, length
            fork = self._library.fork(entry.cache, length)
            if fork is not None:
                self._entries.move_to_end(key)
                return fork, length
        return self._library.new_cache(), 0

    def put(self, tokens: Sequence[int], cache: Cache) -> None:
        """Keep ``cache``, which holds ``tokens``, in place of the caches that it continues."""
        size_bytes = self._library.size_bytes(cache)
        if not tokens or size_bytes > self._most_bytes:
            return
        held = np.asarray(tokens, np.int64)
        for key, entry in list(self._entries.items()):
            if _common(entry.tokens, held) == len(entry.tokens):
                self._drop(key)
        while self._bytes + size_bytes > self._most_bytes:
            self._drop(next(iter(self._entries)))
        self._count += 1
        self._entries[self._count] = _Entry(held, cache, size_bytes)
        self._bytes += size_bytes

    def _drop(self, key: int) -> None:
        self._bytes -= self._entries.pop(key).size_bytes


def _common(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    length = min(len(one), len(other))
    differing = np.flatnonzero(one[:length] != other[:length])
    return int(differing[0]) if len(differing) else length


SCORED_TOKENS = 64
"""Tokens per step of a prompt whose scores are needed: each has a score for every entry of the vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event of a request: a token (``is_text`` unless it ends the text), the end, or both."""

    choice: Choice | None = None
    is_text: bool = True
    is_prompt: bool = False
    """Whether it is a token of the prompt; such events are emitted if the request needs their scores."""
    finish_reason: str | None = None
    failure: str | None = None
    """The reason for a premature end."""
    cached_tokens: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One request. Changed by the thread of the :class:`Batcher` only."""

    prompt: Sequence[int]
    most_tokens: int
    sampler: Sampler
    eos_ids: frozenset[int]
    on_event: Callable[[Event], None]
    """Called in the event loop's thread."""
    prompt_logprobs: int | None = None
    """The number of alternatives to report for each token of the prompt; ``None``: no log probabilities."""
    prefill: Callable[[Cache, Sequence[int]], Scores] | None = None
    """Takes the place of :meth:`~.library.Library.prefill` for a prompt with images."""
    cache: Cache = None
    held: list[int] = field(default_factory=list)
    """The tokens in its cache."""
    last: int = -1
    written: int = 0
    cached_tokens: int = 0


JobEvent = tuple[Job, Event]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFigures:
    """What a batcher has done since it began, and holds now."""

    steps: int
    step_requests: int
    """The requests in all steps."""
    running: int
    waiting: int
    held_tokens: int
    """Tokens of the requests in the batch."""
    kept_bytes: int
    """Size of the kept beginnings of prompts."""


class Batcher:
    """Runs up to ``slots`` requests at once; the others wait in their order of arrival."""

    def __init__(
        self,
        library: Library,
        *,
        slots: int,
        chunk_tokens: int,
        prefix_bytes: int,
        deliver: Callable[[list[JobEvent]], None],
    ) -> None:
        self._library = library
        self._slots, self._chunk_tokens = slots, chunk_tokens
        self._deliver = deliver
        self._orders: queue.SimpleQueue[tuple[Job, bool]] = queue.SimpleQueue()
        self._prefixes = PrefixCache(library, most_bytes=prefix_bytes)
        self._batch = library.new_batch()
        self._running: list[Job] = []  # in the order of the batch
        self._waiting: deque[Job] = deque()
        self._filling: Job | None = None
        self._events: list[JobEvent] = []
        self._steps = self._step_requests = 0

    def submit(self, job: Job) -> None:
        """Start ``job``; may be called in any thread."""
        self._orders.put((job, True))

    def cancel(self, job: Job) -> None:
        """Stop ``job`` before its next token, if it is running; may be called in any thread."""
        self._orders.put((job, False))

    def figures(self) -> BatchFigures:
        """Return what it has done; may be called in any thread."""
        running = tuple(self._running)
        return BatchFigures(
            steps=self._steps,
            step_requests=self._step_requests,
            running=len(running),
            waiting=len(self._waiting),
            held_tokens=sum(len(job.held) for job in running),
            kept_bytes=self._prefixes.size_bytes,
        )

    def run(self) -> None:
        """Process requests forever."""
        while True:
            self.turn()

    def turn(self) -> None:
        """Wait until there is work, and do one round."""
        self._take_orders()
        self._fill()
        self._step()
        if self._events:
            events, self._events = self._events, []
            self._deliver(events)

    def _take_orders(self) -> None:
        is_idle = not self._running and not self._waiting and self._filling is None
        try:
            while True:
                job, is_new = self._orders.get(block=is_idle)
                is_idle = False
                if is_new:
                    self._waiting.append(job)
                else:
                    self._cancel(job)
        except queue.Empty:
            pass

    def _cancel(self, job: Job) -> None:
        if job is self._filling:
            self._filling = None
            self._prefixes.put(job.held, job.cache)
        elif job in self._running:
            self._leave([job])
        elif job in self._waiting:
            self._waiting.remove(job)

    def _fill(self) -> None:
        """Process the prompts of waiting requests, and add those with a complete prompt to the batch."""
        budget, ready = self._chunk_tokens, list[Job]()
        while budget > 0:
            job = self._filling or self._next(len(ready))
            if job is None:
                break
            try:
                scores, chunk = self._read(job, budget)
            except ImageFailed as error:
                self._filling = None
                self._fail(job, str(error))
                continue
            budget -= chunk
            is_through = len(job.held) == len(job.prompt)
            self._filling = None if is_through else job
            if is_through and job.most_tokens == 0:
                self._events.append((job, Event(finish_reason="length", cached_tokens=job.cached_tokens)))
                self._prefixes.put(job.held, job.cache)
            elif is_through and self._goes_on(job, scores):
                ready.append(job)
        if ready:
            self._batch.add([job.cache for job in ready])
            self._running += ready
            for job in ready:
                job.cache = job.prefill = None

    def _read(self, job: Job, budget: int) -> tuple[Scores, int]:
        """Process the next tokens of a prompt; return the scores after them, and their number."""
        begin = len(job.held)
        if job.prompt_logprobs is None:
            chunk = job.prompt[begin : begin + budget]
            scores = (job.prefill or self._library.prefill)(job.cache, chunk)
        else:
            chunk = job.prompt[begin : begin + min(budget, SCORED_TOKENS)]
            rows = self._library.prefill_scored(job.cache, chunk)
            scores = rows[-1]
            self._tell_of_prompt(job, begin, rows)
        job.held += chunk
        return scores, len(chunk)

    def _tell_of_prompt(self, job: Job, begin: int, rows: Scores) -> None:
        assert job.prompt_logprobs is not None
        choices = [Choice(token=job.prompt[0])] if begin == 0 else []
        # The scores after the last token of the prompt belong to the answer.
        following = zip(rows, job.prompt[begin + 1 :], strict=False)
        choices += [scored_choice(row, token, job.prompt_logprobs) for row, token in following]
        self._events += [(job, Event(choice=choice, is_prompt=True)) for choice in choices]

    def _next(self, ready: int) -> Job | None:
        if not self._waiting or len(self._running) + ready >= self._slots:
            return None
        job = self._waiting.popleft()
        if job.prompt_logprobs is not None:
            job.cache = self._library.new_cache()  # what is cached has no scores any more
            return job
        job.cache, job.cached_tokens = self._prefixes.take(job.prompt)
        job.held = list(job.prompt[: job.cached_tokens])
        return job

    def _step(self) -> None:
        if not self._running:
            return
        scores = self._batch.step([job.last for job in self._running])
        self._steps += 1
        self._step_requests += len(self._running)
        ended = []
        for row, job in enumerate(self._running):
            job.held.append(job.last)
            if not self._goes_on(job, scores[row]):
                ended.append(job)
        if ended:
            self._leave(ended)

    def _goes_on(self, job: Job, scores: Scores) -> bool:
        """Choose the next token of ``job`` and emit it; return whether another one follows."""
        try:
            choice = job.sampler.choose(scores)
        except NoTokenAllowed as error:
            self._fail(job, str(error))
            return False
        job.last = choice.token
        job.written += 1
        is_text = choice.token not in job.eos_ids
        reason = None
        if not is_text or choice.is_last:
            reason = "stop"
        elif job.written >= job.most_tokens:
            reason = "length"
        event = Event(choice=choice, is_text=is_text, finish_reason=reason, cached_tokens=job.cached_tokens)
        self._events.append((job, event))
        if reason is not None and job.cache is not None:
            self._prefixes.put(job.held, job.cache)
        return reason is None

    def _fail(self, job: Job, reason: str) -> None:
        self._events.append((job, Event(failure=reason, cached_tokens=job.cached_tokens)))

    def _leave(self, jobs: Sequence[Job]) -> None:
        """Remove ``jobs`` from the batch and keep their caches."""
        rows = [self._running.index(job) for job in jobs]
        for job, cache in zip(jobs, self._batch.remove(rows), strict=True):
            self._prefixes.put(job.held, cache)
        self._running = [job for job in self._running if job not in jobs]
