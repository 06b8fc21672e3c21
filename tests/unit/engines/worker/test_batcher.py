"""The order of work, with a library that computes nothing: each token is the one before it plus one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from modelhost.engines.worker.batcher import Batcher, Event, Job, PrefixCache
from modelhost.engines.worker.library import ImageFailed, vocab_size
from modelhost.engines.worker.sampling import Sampler, Sampling

VOCABULARY = 100
END = 50


class Counting:
    """A cache is the list of its tokens; ``log`` is what was computed."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.can_fork = True

    def new_cache(self) -> list[int]:
        return []

    def prefill(self, cache: list[int], tokens: Sequence[int]) -> Any:
        self.log.append(("prefill", len(tokens)))
        cache += tokens
        return _scores(cache)

    def prefill_scored(self, cache: list[int], tokens: Sequence[int]) -> Any:
        self.log.append(("prefill_scored", len(tokens)))
        rows = []
        for token in tokens:
            cache.append(token)
            rows.append(_scores(cache))
        return np.stack(rows)

    def fork(self, cache: list[int], length: int) -> list[int] | None:
        return cache[:length] if self.can_fork else None

    def size_bytes(self, cache: list[int]) -> int:
        return len(cache)

    def new_batch(self) -> CountingBatch:
        return CountingBatch(self)


class CountingBatch:
    def __init__(self, library: Counting) -> None:
        self._library = library
        self.rows: list[list[int]] = []

    def add(self, caches: Sequence[list[int]]) -> None:
        self.rows += caches

    def remove(self, rows: Sequence[int]) -> list[list[int]]:
        removed = [self.rows[row] for row in rows]
        self.rows = [cache for row, cache in enumerate(self.rows) if row not in rows]
        return removed

    def step(self, tokens: Sequence[int]) -> Any:
        self._library.log.append(("step", len(tokens)))
        for cache, token in zip(self.rows, tokens, strict=True):
            cache.append(token)
        return np.stack([_scores(cache) for cache in self.rows])


def _scores(cache: list[int]) -> Any:
    scores = np.zeros(VOCABULARY, np.float32)
    scores[(cache[-1] + 1) % VOCABULARY] = 1
    return scores


class World:
    def __init__(self, **options: Any) -> None:
        self.library = Counting()
        settings: dict[str, Any] = {"slots": 2, "chunk_tokens": 8, "prefix_bytes": 1000, **options}
        self.batcher = Batcher(self.library, deliver=self._deliver, **settings)
        self.events: dict[Job, list[Event]] = {}

    def _deliver(self, events: list[tuple[Job, Event]]) -> None:
        for job, event in events:
            job.on_event(event)

    def job(
        self,
        prompt: list[int],
        most_tokens: int = 5,
        prompt_logprobs: int | None = None,
        prefill: Callable[[list[int], Sequence[int]], Any] | None = None,
    ) -> Job:
        events: list[Event] = []
        job = Job(
            prompt=prompt,
            most_tokens=most_tokens,
            sampler=Sampler(Sampling(temperature=0.0), prompt),
            eos_ids=frozenset({END}),
            on_event=events.append,
            prompt_logprobs=prompt_logprobs,
            prefill=prefill,
        )
        self.events[job] = events
        self.batcher.submit(job)
        return job

    def tokens(self, job: Job) -> list[int]:
        return [event.choice.token for event in self.events[job] if event.choice is not None]

    def reason(self, job: Job) -> str | None:
        return self.events[job][-1].finish_reason if self.events[job] else None

    def until_done(self, *jobs: Job) -> None:
        while any(self.reason(job) is None for job in jobs):
            self.batcher.turn()


def test_several_requests_are_one_batch_and_the_rest_wait_in_order() -> None:
    world = World()
    jobs = [world.job([start]) for start in (10, 20, 30)]
    world.until_done(*jobs)
    assert [world.tokens(job) for job in jobs] == [[start + step for step in range(1, 6)] for start in (10, 20, 30)]
    assert {world.reason(job) for job in jobs} == {"length"}
    assert world.library.log[:3] == [("prefill", 1), ("prefill", 1), ("step", 2)]
    assert ("step", 3) not in world.library.log


def test_the_end_of_a_text_is_no_text() -> None:
    world = World()
    job = world.job([END - 2])
    world.until_done(job)
    assert [event.is_text for event in world.events[job]] == [True, False]
    assert world.reason(job) == "stop"


def test_a_prompt_with_images_is_read_by_what_sees_them_and_the_others_by_the_library() -> None:
    world, chunks = World(), list[int]()

    def prefill(cache: list[int], tokens: Sequence[int]) -> Any:
        chunks.append(len(tokens))
        return world.library.prefill(cache, tokens)

    seeing, plain = world.job(list(range(11)), prefill=prefill), world.job([20])
    world.until_done(seeing, plain)
    assert chunks == [8, 3]
    assert (world.tokens(seeing)[0], world.tokens(plain)[0]) == (11, 21)


def test_a_request_whose_image_fails_ends_and_the_others_go_on() -> None:
    def prefill(_cache: list[int], _tokens: Sequence[int]) -> Any:
        raise ImageFailed("it is too small")

    world = World()
    running = world.job([1])
    world.batcher.turn()
    failing, after = world.job([5], prefill=prefill), world.job([30])
    world.until_done(running, after)
    assert [event.failure for event in world.events[failing]] == ["it is too small"]
    assert world.tokens(after) == [31, 32, 33, 34, 35]
    assert world.batcher.figures().running == 0


def test_a_long_prompt_does_not_hold_up_the_answers_at_work() -> None:
    world = World()
    short = world.job([1], most_tokens=20)
    world.batcher.turn()
    long = world.job(list(range(30)))
    world.until_done(short, long)
    chunks = [position for position, entry in enumerate(world.library.log) if entry[0] == "prefill"][1:]
    assert [world.library.log[position] for position in chunks] == [("prefill", 8)] * 3 + [("prefill", 6)]
    assert all(world.library.log[position + 1][0] == "step" for position in chunks)


def test_a_request_that_is_given_up_stops_at_once_wherever_it_is() -> None:
    world = World(slots=1)
    running, waiting = world.job([1], most_tokens=50), world.job([60], most_tokens=3)
    world.batcher.turn()
    world.batcher.cancel(waiting)
    world.batcher.cancel(running)
    after = world.job(list(range(30)))
    world.batcher.turn()
    world.batcher.cancel(after)
    last = world.job([70])
    world.until_done(last)
    assert len(world.tokens(running)) == 2
    assert world.tokens(waiting) == world.tokens(after) == []
    assert world.tokens(last) == [71, 72, 73, 74, 75]
    world.batcher.cancel(last)  # too late, and no harm
    again = world.job([80])
    world.until_done(again)


def test_what_was_computed_is_not_computed_again() -> None:
    world = World()
    first = world.job([1, 2, 3, 4])
    world.until_done(first)
    longer = world.job([*range(1, 9), 90])
    world.until_done(longer)
    assert world.events[longer][-1].cached_tokens == 8  # the last token of an answer was never put in
    other = world.job([1, 2, 3, 80])
    world.until_done(other)
    assert world.events[other][-1].cached_tokens == 3
    same = world.job([1, 2, 3, 80])
    world.until_done(same)
    assert world.events[same][-1].cached_tokens == 3  # the scores after the last one are needed


def test_scores_that_are_no_numbers_end_the_request_and_nothing_else() -> None:
    world = World()
    good, bad = world.job([1]), world.job([2], most_tokens=50)
    world.batcher.turn()
    step = CountingBatch.step

    def with_nan(batch: CountingBatch, tokens: Sequence[int]) -> Any:
        scores = step(batch, tokens)
        scores[[cache[0] == 2 for cache in batch.rows]] = np.nan
        return scores

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CountingBatch, "step", with_nan)
        world.until_done(good)
    assert "not numbers" in (world.events[bad][-1].failure or "")
    assert world.tokens(good) == [2, 3, 4, 5, 6]
    after = world.job([9])
    world.until_done(after)


def test_the_step_that_counts_the_scores_finds_weights_that_are_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Counting()
    assert vocab_size(library) == VOCABULARY
    forbidden = np.full(VOCABULARY, -np.inf, np.float32)
    monkeypatch.setattr(library, "prefill", lambda _cache, _tokens: forbidden)
    assert vocab_size(library) == VOCABULARY
    forbidden[3] = np.nan
    with pytest.raises(ValueError, match="not numbers: its weights are damaged"):
        vocab_size(library)


def test_a_model_that_cannot_go_back_uses_whole_caches_only() -> None:
    library = Counting()
    library.can_fork = False
    prefixes = PrefixCache(library, most_bytes=100)
    prefixes.put([1, 2, 3], [1, 2, 3])
    assert prefixes.take([1, 2, 9]) == ([], 0)
    assert prefixes.take([1, 2, 3, 4]) == ([1, 2, 3], 3)


def test_kept_caches_stay_within_their_bytes_and_the_oldest_goes() -> None:
    prefixes = PrefixCache(Counting(), most_bytes=6)
    for start in (10, 20, 30):
        prefixes.put([start, start + 1, start + 2], [start, start + 1, start + 2])
    assert [prefixes.take([start, start + 1, 99])[1] for start in (10, 20, 30)] == [0, 2, 2]
    prefixes.put(list(range(40, 50)), list(range(40, 50)))
    assert prefixes.take([40, 41, 42])[1] == 0


def test_a_continued_cache_replaces_what_it_continues() -> None:
    prefixes = PrefixCache(Counting(), most_bytes=8)
    prefixes.put([1, 2, 3], [1, 2, 3])
    prefixes.put([7, 8], [7, 8])
    prefixes.put([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])  # 7 bytes with [7, 8]; [1, 2, 3] has gone
    assert prefixes.take([7, 8, 9])[1] == 2
    assert prefixes.take([1, 2, 3, 4, 5, 6])[1] == 5


def test_a_prompt_is_scored_in_pieces_however_much_of_it_is_cached() -> None:
    world = World(chunk_tokens=100)
    prompt = [*range(1, 40), *range(60, 95), 7]
    world.until_done(world.job(prompt))
    world.library.log.clear()
    job = world.job(prompt, most_tokens=1, prompt_logprobs=2)
    world.until_done(job)
    assert world.library.log == [("prefill_scored", 64), ("prefill_scored", 11)]
    *of_prompt, last = world.events[job]
    assert [event.choice.token for event in of_prompt if event.choice] == prompt
    assert all(event.is_prompt for event in of_prompt)
    logprobs = [event.choice.logprob for event in of_prompt if event.choice]
    assert logprobs[0] is None
    likely = max(value for value in logprobs if value is not None)
    assert [at for at, value in enumerate(logprobs) if value is not None and value < likely] == [39, 74]
    assert last.choice is not None
    assert (last.is_prompt, last.choice.token, last.finish_reason) == (False, 8, "length")


def test_a_prompt_may_be_all_that_is_wanted() -> None:
    world = World()
    job = world.job([1, 2, 3], most_tokens=0)
    world.until_done(job)
    assert (world.tokens(job), world.reason(job)) == ([], "length")
    assert world.library.log == [("prefill", 3)]
