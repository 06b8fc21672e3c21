"""Which of the wanted models is loaded next, and who makes room for it: a decision over the books, which it reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from modelhost.models.files.memory_pools import Bytes
from modelhost.models.residency.planner import Plan, Resident, Standing, is_over, plan, relief
from modelhost.models.residency.record import Book, Phase, Wish


@dataclass(slots=True, kw_only=True)
class Placement:
    """What to do now. Names are in the order in which it has to be done."""

    fetch: list[Book] = field(default_factory=list)
    load: list[Book] = field(default_factory=list)
    evict: list[Book] = field(default_factory=list)
    contended: list[Book] = field(default_factory=list)
    """Loaded models that have to make room: they finish their bursts."""
    impossible: list[tuple[Book, Plan]] = field(default_factory=list)
    given_up: list[Book] = field(default_factory=list)
    """Restarts that would cost another model its place."""
    first: str | None = None
    """The model for which room is being made; nobody takes it from it."""
    is_over: bool = False
    """What is loaded is over the budget: it turned out larger than thought."""


def place(books: list[Book], budget: Bytes, first: str | None, now: float) -> Placement:
    """Return what to do for the wanted models, the longest waiting first.

    Busy models make room for one model at a time; ``first`` is the one from the last time. Later ones are loaded, and
    idle models go for them, as far as that takes nothing which the first one will need: however long its turn takes to
    come, nobody else's load makes it longer.
    """
    return _Placing(books, budget, now).run(first)


class _Placing:
    """The books and the residents of one decision; residents are joined by what the decision loads."""

    def __init__(self, books: list[Book], budget: Bytes, now: float) -> None:
        self._books = books
        self._budget = budget
        self._now = now
        self._residents = [resident for book in books if (resident := book.resident()) is not None]
        self._reserved: Resident | None = None
        self._leaving: set[str] = set()
        self._found = Placement()

    def run(self, first: str | None) -> Placement:
        waiting = [book for book in self._books if self._waits(book)]
        for book in sorted(waiting, key=lambda book: (book.name != first, book.wanted_since)):
            if book.need is None:
                self._found.fetch.append(book)
            else:
                self._decide(book, book.need)
        self._relieve()
        return self._found

    def _waits(self, book: Book) -> bool:
        is_due = book.phase is Phase.UNLOADED and book.retry_at <= self._now
        return is_due and book.is_wanted and not book.is_removed

    def _decide(self, book: Book, need: Bytes) -> None:
        decided = plan(need, self._budget, self._residents)
        if decided.missing:
            self._found.impossible.append((book, decided))
        elif not book.queue and book.wish is Wish.RESTART and (decided.evict or decided.wait_for):
            self._found.given_up.append(book)
        elif self._reserved is not None:
            self._decide_beside_first(book, need, fits_now=decided.fits_now)
        elif decided.fits_now:
            self._load(book, need)
        else:
            self._found.first = book.name
            self._reserved = Resident(name=book.name, charge=need, standing=Standing.PINNED)
            self._leaving = {*decided.evict, *decided.wait_for, *decided.stopping}
            self._make_room(decided)

    def _decide_beside_first(self, book: Book, need: Bytes, *, fits_now: bool) -> None:
        assert self._reserved is not None
        staying = [resident for resident in self._residents if resident.name not in self._leaving]
        beside = plan(need, self._budget, [*staying, self._reserved])
        if beside.fits_now and fits_now:
            self._load(book, need)
        elif not (beside.missing or beside.wait_for):
            self._evict(beside.evict)

    def _load(self, book: Book, need: Bytes) -> None:
        self._found.load.append(book)
        self._residents.append(Resident(name=book.name, charge=need, standing=Standing.LOADING))

    def _make_room(self, decided: Plan) -> None:
        """Idle models go when the busy ones have become idle: until then they may as well work.

        The busy ones finish their bursts together. A model that was idle when that began may go on until they are
        done, for one of them can take long; then it has to finish too, and nobody is let in again.
        """
        if not decided.wait_for:
            self._evict(decided.evict)
            return
        busy, idle = self._named(decided.wait_for), self._named(decided.evict)
        bound = [book for book in (*busy, *idle) if book.burst is not None]
        if not bound:
            self._found.contended = busy
        elif any(book.in_flight for book in bound):
            self._found.contended = bound
        else:
            self._found.contended = [*busy, *idle]

    def _evict(self, names: Collection[str]) -> None:
        self._found.evict += self._named(names)
        self._residents = [
            replace(resident, standing=Standing.STOPPING) if resident.name in names else resident
            for resident in self._residents
        ]

    def _relieve(self) -> None:
        """Models may turn out larger than thought: then idle ones go until the budget holds again."""
        if is_over(self._budget, self._residents):
            self._found.is_over = True
            self._evict(relief(self._budget, self._residents))

    def _named(self, names: Iterable[str]) -> list[Book]:
        books = {book.name: book for book in self._books}
        return [books[name] for name in names]
