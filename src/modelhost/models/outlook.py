"""What a model that is not loaded will be: read from its files beforehand, as far as they are on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from modelhost.errors import ModelhostError
from modelhost.models import refusals
from modelhost.models.book import Book
from modelhost.models.finding import resolved_as_found
from modelhost.models.ledger import Ledger
from modelhost.models.planner import plan
from modelhost.models.registry import ModelEntry
from modelhost.models.resolve import Resolved, files_here
from modelhost.models.states import Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a look at a model's files told. Neither of the two: they have to be downloaded."""

    resolved: Resolved | None = None
    error: ModelhostError | None = None
    """Why it cannot be loaded."""


def look(entry: ModelEntry) -> Outlook:
    """Return what the files of ``entry`` tell; nothing is downloaded or started. Blocks: call it in a thread."""
    resolved = None
    try:
        located = files_here(entry.settings)
        if located is not None:
            resolved, _ = resolved_as_found(entry, located)
            resolved.engine.launch(resolved.spec, "")  # which refuses what the engine cannot honour
    except ModelhostError as error:
        return Outlook(resolved=resolved, error=error)
    return Outlook(resolved=resolved)


def no_room(book: Book, need: Bytes, ledger: Ledger) -> ModelhostError | None:
    """Return why a model that needs ``need`` does not fit, whoever may be unloaded; ``None`` if it does."""
    residents = [
        resident for other in ledger.books.values() if other is not book and (resident := other.resident()) is not None
    ]
    found = plan(need, ledger.budget, residents)
    if not found.missing:
        return None
    return refusals.insufficient(book, found, need, {name: ledger.book(name).charge for name in found.holders})
