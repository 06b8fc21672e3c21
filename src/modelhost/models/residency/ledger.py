"""The ledger: who waits for which model, what is loaded, what has to happen next.

All queue and lifecycle state of the host is in here. It has no clock, no task and no process: its methods take what
happened and when, and return what has to be done (:mod:`~modelhost.models.residency.effects`). Each method
leaves it consistent, so that its one owner, the scheduler, need not lock anything. What it guarantees:

* a request is granted or refused exactly once, unless it is cancelled;
* a model with requests in flight is never stopped, but by force;
* a model that cannot be loaded with another configuration has the earlier one again;
* a model has at most one worker at a time, and a pinned one is never evicted;
* what is loaded, being loaded or not gone yet never counts more than the budget, by what was known when it was loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count

from modelhost.errors import InsufficientMemory, ModelBusy, ModelhostError
from modelhost.models.files.memory_pools import GPU, Bytes, memory_in, total
from modelhost.models.residency import refusals
from modelhost.models.residency.effects import (
    Changed,
    Effect,
    Fetch,
    Grant,
    Load,
    Refuse,
    Removed,
    Settled,
    Stop,
    StopReason,
)
from modelhost.models.residency.placement import place
from modelhost.models.residency.planner import Burst, Bursts, Plan, may_begin, plan
from modelhost.models.residency.record import NEVER, Book, Phase, Terms, Ticket, Trial, Wish
from modelhost.models.resolve.headroom import Room


class Ledger:
    """The state of all models. ``budget`` limits memory by pool, and the pool ``models`` their number."""

    def __init__(self, budget: Bytes, bursts: Bursts | None = None) -> None:
        self.budget = budget
        self.bursts = bursts or Bursts()
        self._books: dict[str, Book] = {}
        self._first: str | None = None
        self._effects: list[Effect] = []
        self._runs = count(1)
        self._is_settled = True
        """Nobody waits for memory, and the budget holds: the end of a request concerns its own model alone."""
        self._timer = NEVER

    # What it says of itself.

    def book(self, name: str) -> Book:
        """Return the record of a model: to look at."""
        return self._books[name]

    @property
    def books(self) -> Mapping[str, Book]:
        return self._books

    def used(self) -> dict[str, int]:
        """Return what is taken of the budget, by pool."""
        return total(memory_in(resident.charge) for book in self._books.values() if (resident := book.resident()))

    def next_timer(self) -> float:
        """Return the time at which to call :meth:`tick`; infinite if never.

        It may turn out that nothing is due then, because a model has been used meanwhile; it is never too late.
        """
        return self._timer

    @property
    def first(self) -> str | None:
        """The model for which others make room now."""
        return self._first

    def room(self, name: str) -> Room:
        """Return the memory of GPUs that a model finds when all others have gone that may.

        Pinned ones stay, or come back.
        """
        pinned = [book for book in self._books.values() if book.terms.is_pinned and book.name != name]
        going = [book for book in self._books.values() if book not in pinned]
        held = total(book.charge or book.need or {} for book in pinned)
        return Room(
            freed=_of_gpus(total(book.charge for book in going)),
            limits={pool: max(0, count - held.get(pool, 0)) for pool, count in _of_gpus(self.budget).items()},
        )

    def queue_position(self, name: str) -> int | None:
        """Return the place of a model among those that wait to be loaded, from 1; ``None`` if it does not wait."""
        waiting = [book for book in self._books.values() if book.phase is Phase.UNLOADED and book.is_wanted]
        waiting.sort(key=lambda book: (book.name != self._first, book.wanted_since))
        names = [book.name for book in waiting]
        return names.index(name) + 1 if name in names else None

    # Models come, change and go.

    def add(self, name: str, terms: Terms, need: Bytes | None = None) -> list[Effect]:
        """Take a model in; ``need`` is unknown as long as its files are not here.

        Raises:
            ValueError: it is here, perhaps on its way out: :meth:`change` it.
        """
        if name in self._books:
            raise ValueError(f"{name} is in the ledger already")
        self._books[name] = Book(name=name, terms=terms, need=need)
        return [Changed(name)]

    def change(self, name: str, terms: Terms, now: float, *, is_outdated: bool) -> list[Effect]:
        """Change what holds for a model, or take back its removal.

        ``is_outdated``: its worker has to be replaced, as soon as it is idle.
        """
        book = self._books[name]
        book.terms = terms
        book.is_removed = False
        if is_outdated:
            book.trial = None
            book.need, book.has_shrunk, book.has_failed, book.retry_at = None, False, False, 0.0
            book.is_outdated = book.phase is not Phase.UNLOADED
        return self._advanced(now)

    def remove(self, name: str, now: float) -> list[Effect]:
        """Let a model go when its last request is done; who waits for it is refused."""
        book = self._books[name]
        book.is_removed = True
        self._give_up(book, refusals.removed(name))
        self._refuse_all(book, lambda book: refusals.removed(book.name))
        return self._advanced(now)

    # Requests come and go.

    def begin_at_once(self, ticket: Ticket, now: float) -> bool:
        """Grant ``ticket`` if nobody is before it and nothing has to be decided: the way of nearly every request."""
        book = self._books[ticket.model]
        if (
            book.phase is not Phase.READY
            or book.queue
            or book.burst is not None
            or book.in_flight >= book.terms.max_in_flight
            or book.is_outdated
            or book.is_removed
        ):
            return False
        ticket.run = book.run
        book.in_flight += 1
        book.last_used = now
        return True

    def request(self, ticket: Ticket, now: float) -> list[Effect]:
        """Let ``ticket`` wait for its turn, which may come at once."""
        book = self._books[ticket.model]
        if book.is_removed:
            return [Refuse(ticket, refusals.removed(book.name))]
        if book.has_failed and now < book.retry_at:
            return [Refuse(ticket, refusals.failed(book, now))]
        if len(book.queue) >= book.terms.queue_size and not self._would_begin(book, now):
            return [Refuse(ticket, refusals.queue_full(book))]
        ticket.asked_at = now
        ticket.deadline = now + book.terms.wait_seconds
        book.queue.append(ticket)
        ticket.position = len(book.queue)
        effects = self._advanced(now)
        if ticket.run:
            ticket.position = 0
        return effects

    def cancel(self, ticket: Ticket, now: float) -> list[Effect]:
        """Take back a ticket that waits or has been granted; one that was refused or is done is no longer known."""
        book = self._books.get(ticket.model)
        if book is None:
            return []
        if ticket.run:
            return self.release(ticket, now)
        if ticket in book.queue:
            book.queue.remove(ticket)
        return self._advanced(now)

    def release(self, ticket: Ticket, now: float) -> list[Effect]:
        """End the turn of a granted ticket."""
        book = self._books.get(ticket.model)
        if book is None or ticket.run != book.run or not ticket.run or not book.in_flight:
            return []
        ticket.run = 0
        book.in_flight -= 1
        book.last_used = now
        if book.in_flight and not book.queue:
            return []
        if not self._is_settled or book.queue or book.is_outdated or book.is_removed:
            return self._advanced(now)
        self._timer = min(self._timer, book.idle_until)
        return []

    # What a person or the registry asks for.

    def want(self, name: str, now: float) -> list[Effect]:
        """Have a model loaded though nobody has a request for it yet; one that failed is tried now."""
        book = self._books[name]
        if book.phase is not Phase.READY and book.wish is not Wish.ASKED:
            book.wish, book.wished_at = Wish.ASKED, now
        book.retry_at, book.has_failed = 0.0, False
        return self._advanced(now)

    def unload(self, name: str, now: float, *, force: bool) -> list[Effect]:
        """Stop the worker of a model, pinned or not.

        Raises:
            ModelBusy: it has requests, at work or waiting, and ``force`` is not given.
        """
        book = self._books[name]
        if (book.in_flight or book.queue) and not force:
            raise ModelBusy(
                f"{name} has {book.in_flight} requests at work and {len(book.queue)} waiting. "
                "Try again later, or end them with force.",
                model=name,
                in_flight=book.in_flight,
                queue_length=len(book.queue),
            )
        self._give_up(book, refusals.unloaded(book))
        self._refuse_all(book, refusals.unloaded)
        if book.phase in (Phase.READY, Phase.LOADING, Phase.FETCHING):
            self._stop(book, "forced" if force and book.in_flight else "asked", now)
        return self._advanced(now)

    def check_fits(self, name: str, need: Bytes) -> None:
        """Check that a model that needs so much could be loaded in the place of the one of that name.

        Raises:
            InsufficientMemory: not even if all others went that may.
        """
        others = [book.resident() for book in self._books.values() if book.name != name]
        decided = plan(need, self.budget, [resident for resident in others if resident is not None])
        if decided.missing:
            raise self._insufficient(self._books[name], decided, need)

    def learn_need(self, name: str, need: Bytes | None) -> None:
        """Count a model that is being unloaded with ``need`` when it is loaded again; ``None``: it is looked up."""
        book = self._books[name]
        book.need, book.has_shrunk = need, False

    def reload(self, name: str, need: Bytes | None, now: float, *, force: bool) -> list[Effect]:
        """Load a model, loaded or not, with another configuration, with which it needs ``need``.

        What is at work ends first, or is ended by ``force``; who waits, waits on. Should it fail, the model is what it
        was: :class:`Settled` says which.
        """
        book = self._books[name]
        if book.trial is None:
            is_there = book.phase in (Phase.READY, Phase.LOADING, Phase.FETCHING)
            book.trial = Trial(need=book.need, has_shrunk=book.has_shrunk, comes_back=is_there or book.is_wanted)
        book.need, book.has_shrunk, book.has_failed, book.retry_at = need, False, False, 0.0
        book.wish, book.wished_at = Wish.ASKED, now
        book.is_outdated = book.phase is not Phase.UNLOADED
        if force and book.phase is Phase.READY and book.in_flight:
            self._stop(book, "forced", now)
        return self._advanced(now)

    def refuse_waiting(self, error: Callable[[], ModelhostError]) -> list[Effect]:
        """Refuse everyone who waits: the host is being stopped."""
        for book in self._books.values():
            book.wish = None
            self._refuse_all(book, lambda _book: error())
        return self._taken(self._books.values())

    # News of the workers.

    def fetched(self, name: str, run: int, need: Bytes, now: float) -> list[Effect]:
        """The files are here, and the model needs this much."""
        book = self._current(name, run, Phase.FETCHING)
        if book is None:
            return []
        book.need = need
        book.enter(Phase.UNLOADED, now)
        return self._advanced(now)

    def outdated(self, name: str, run: int, now: float) -> list[Effect]:
        """The files are no longer those that were found: they are looked at again before the model is loaded."""
        book = self._current(name, run, Phase.LOADING)
        if book is None:
            return []
        book.need, book.has_shrunk = None, False
        book.leave_memory(now)
        return self._advanced(now)

    def corrected(self, name: str, run: int, need: Bytes, error: ModelhostError, now: float) -> list[Effect]:
        """The model could not be loaded, and is tried once more at once in another way, in which it needs ``need``."""
        book = self._current(name, run, Phase.LOADING)
        if book is None:
            return []
        book.need, book.last_error = need, error
        book.leave_memory(now)
        return self._advanced(now)

    def loaded(self, name: str, run: int, measured: Bytes, now: float) -> list[Effect]:
        """The worker is ready and takes this much."""
        book = self._current(name, run, Phase.LOADING)
        if book is None:
            return []
        book.charge = book.need = _larger(book.charge, measured)
        book.loads += 1
        book.wish, book.last_error, book.retry_at = None, None, 0.0
        if book.trial is not None:
            book.trial = None
            self._effects.append(Settled(name))
        book.last_used = now
        book.enter(Phase.READY, now)
        return self._advanced(now)

    def measured(self, name: str, run: int, memory: Bytes, now: float) -> list[Effect]:
        """The worker takes this much now; the most that was ever seen is what it counts with."""
        book = self._current(name, run, Phase.READY)
        if book is None:
            return []
        charge = _larger(book.charge, memory)
        if charge == book.charge:
            return []
        book.charge = charge
        if not book.is_outdated:
            book.need = charge
        return self._advanced(now)

    def load_failed(
        self, name: str, run: int, error: ModelhostError, now: float, *, is_out_of_memory: bool = False
    ) -> list[Effect]:
        """The model could not be found or loaded. Out of memory is tried once more at once, with a smaller context."""
        book = self._current(name, run, Phase.LOADING, Phase.FETCHING)
        if book is None:
            return []
        book.last_error = error
        is_first_time = is_out_of_memory and book.phase is Phase.LOADING and not book.has_shrunk
        book.leave_memory(now)
        if book.trial is not None:
            self._go_back(book, book.trial, error, now)
            return self._advanced(now)
        if is_first_time:
            book.has_shrunk = True
            return self._advanced(now)
        book.retry_at = now + book.backoff.pause()
        book.has_failed = True
        if book.wish is Wish.ASKED and not book.terms.is_pinned:
            book.wish = None
        self._refuse_all(book, lambda book: refusals.failed(book, now))
        return self._advanced(now)

    def lost(self, name: str, run: int, error: ModelhostError, now: float) -> list[Effect]:
        """The worker of a ready model has ended unasked. It is wanted again, after a pause."""
        book = self._current(name, run, Phase.READY)
        if book is None:
            return []
        book.last_error = error
        book.backoff.survived(now - book.began_at)
        book.retry_at = now + book.backoff.pause()
        if not book.is_removed:
            is_asked_for = book.terms.is_pinned or book.trial is not None
            book.wish, book.wished_at = (Wish.ASKED if is_asked_for else Wish.RESTART), now
        book.leave_memory(now)
        return self._advanced(now)

    def retire(self, name: str, run: int, now: float) -> list[Effect]:
        """The worker is not fit any more: it is replaced as soon as it is idle, and no more begins than has to."""
        book = self._current(name, run, Phase.READY)
        if book is None:
            return []
        book.is_outdated = book.comes_back = True
        return self._advanced(now)

    def stopped(self, name: str, run: int, now: float) -> list[Effect]:
        """The worker is gone and its memory is back."""
        book = self._current(name, run, Phase.STOPPING)
        if book is None:
            return []
        book.leave_memory(now)
        return self._advanced(now)

    def tick(self, now: float) -> list[Effect]:
        """Do what is due by now: waits that are over, idle models, second attempts."""
        return self._advanced(now)

    # Inside.

    def _advanced(self, now: float) -> list[Effect]:
        self._forget_removed()
        books = [book for book in self._books.values() if not book.is_at_rest]
        for book in books:
            self._expire(book, now)
            self._grant(book, now)
            self._let_go(book, now)
        self._place(books, now)
        self._timer = min((book.due() for book in books), default=NEVER)
        return self._taken(books)

    def _taken(self, books: Iterable[Book]) -> list[Effect]:
        for book in books:
            if book.told != (news := book.news):
                book.told = news
                self._effects.append(Changed(book.name))
        effects, self._effects = self._effects, []
        return effects

    def _forget_removed(self) -> None:
        for book in [book for book in self._books.values() if book.is_removed and book.phase is Phase.UNLOADED]:
            del self._books[book.name]
            self._effects.append(Removed(book.name))

    def _expire(self, book: Book, now: float) -> None:
        if book.retry_at and now >= book.retry_at:
            book.retry_at = 0.0
        if book.queue:
            overdue = book.overdue(now)
            self._effects += [Refuse(ticket, refusals.timed_out(book, ticket, place)) for place, ticket in overdue]
            for _, ticket in overdue:
                book.queue.remove(ticket)

    def _grant(self, book: Book, now: float) -> None:
        while book.queue and self._would_begin(book, now):
            ticket = book.queue.popleft()
            ticket.run = book.run
            book.in_flight += 1
            book.last_used = now
            if book.burst is not None:
                book.burst = replace(book.burst, begun=book.burst.begun + 1)
            self._effects.append(Grant(ticket))

    def _would_begin(self, book: Book, now: float) -> bool:
        return (
            book.phase is Phase.READY
            and book.in_flight < book.terms.max_in_flight
            and not book.is_removed
            and not book.is_draining
            and may_begin(book.burst, self.bursts, now)
        )

    def _let_go(self, book: Book, now: float) -> None:
        """Stop what is idle and has no reason to stay."""
        if book.phase is Phase.READY and not book.in_flight:
            if book.is_outdated or book.is_removed:
                self._replace(book, now)
            elif not book.queue and now >= book.idle_until:
                self._stop(book, "idle", now)
        elif (book.is_outdated or book.is_removed) and book.phase in (Phase.LOADING, Phase.FETCHING):
            self._replace(book, now)

    def _replace(self, book: Book, now: float) -> None:
        if (book.terms.is_pinned or book.comes_back) and book.trial is None and not book.is_removed:
            book.wish, book.wished_at = (Wish.ASKED if book.terms.is_pinned else Wish.RESTART), now
        self._stop(book, "changed", now)

    def _place(self, books: list[Book], now: float) -> None:
        decided = place(books, self.budget, self._first, now)
        self._first = decided.first
        self._is_settled = decided.first is None and not decided.is_over
        for book in decided.given_up:
            book.wish = None
        tried = [book for book, _ in decided.impossible if book.trial is not None]
        for book, shortage in decided.impossible:
            self._refuse_for_ever(book, shortage, now)
        for book in decided.evict:
            book.evictions += 1
            self._stop(book, "evicted", now)
        for book in decided.load:
            self._start(book, now)
        for book in decided.fetch:
            self._fetch(book, now)
        self._bind(books, decided.contended, now)
        if tried:
            self._place(books, now)  # with the configurations that they had before

    def _bind(self, books: list[Book], contended: list[Book], now: float) -> None:
        """Begin or end the bursts. Those of the models that make room together began together.

        A model whose entry has changed makes room for itself.
        """
        since = min((book.burst.since for book in contended if book.burst is not None), default=now)
        for book in books:
            if book.phase is Phase.READY and (book in contended or book.is_outdated):
                book.burst = book.burst or Burst(since=max(since, book.began_at))
            elif book.burst is not None:
                book.burst = None
                self._grant(book, now)

    def _refuse_for_ever(self, book: Book, shortage: Plan, now: float) -> None:
        if book.trial is not None:
            self._go_back(book, book.trial, self._insufficient(book, shortage, book.need or {}), now)
            return
        book.wish, book.last_error = None, self._insufficient(book, shortage, book.need or {})
        self._refuse_all(book, lambda book: self._insufficient(book, shortage, book.need or {}))

    def _insufficient(self, book: Book, shortage: Plan, need: Bytes) -> InsufficientMemory:
        held = {name: self._books[name].charge for name in shortage.holders}
        return refusals.insufficient(book, shortage, need, held)

    def _go_back(self, book: Book, trial: Trial, error: ModelhostError, now: float) -> None:
        """Return a model to its earlier configuration; those who wait for it are answered with that."""
        book.trial, book.need, book.has_shrunk = None, trial.need, trial.has_shrunk
        book.wish, book.wished_at = (Wish.ASKED if trial.comes_back else None), now
        book.last_error = refusals.returned(book, trial, error)
        self._effects.append(Settled(book.name, book.last_error, has_failed=True))

    def _give_up(self, book: Book, error: ModelhostError) -> None:
        """Have a model not wanted any more, and leave it the configuration that it had."""
        book.wish = None
        if book.trial is not None:
            book.need, book.has_shrunk, book.trial = book.trial.need, book.trial.has_shrunk, None
            self._effects.append(Settled(book.name, error))

    def _refuse_all(self, book: Book, error: Callable[[Book], ModelhostError]) -> None:
        while book.queue:
            self._effects.append(Refuse(book.queue.popleft(), error(book)))

    def _fetch(self, book: Book, now: float) -> None:
        book.run, book.has_failed = next(self._runs), False
        book.enter(Phase.FETCHING, now)
        self._effects.append(Fetch(book.name, book.run))

    def _start(self, book: Book, now: float) -> None:
        book.run, book.has_failed, book.has_worker, book.charge = next(self._runs), False, True, book.need or {}
        book.enter(Phase.LOADING, now)
        self._effects.append(Load(book.name, book.run, book.has_shrunk))

    def _stop(self, book: Book, reason: StopReason, now: float) -> None:
        if book.phase is Phase.READY:
            book.backoff.survived(now - book.began_at)
        book.enter(Phase.STOPPING, now)
        book.in_flight = 0
        self._effects.append(Stop(book.name, book.run, reason))

    def _current(self, name: str, run: int, *phases: Phase) -> Book | None:
        """Return the book if the news is of its present worker."""
        book = self._books.get(name)
        return book if book is not None and book.run == run and book.phase in phases else None


def _of_gpus(memory: Bytes) -> dict[str, int]:
    return {pool: count for pool, count in memory.items() if pool.startswith(GPU)}


def _larger(one: Bytes, other: Bytes) -> dict[str, int]:
    return {pool: max(one.get(pool, 0), other.get(pool, 0)) for pool in {**one, **other}}
