"""``docs/reference/compatibility.md``, from the list of promises and the markers of the tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tests.compatibility.markers import proofs
from tests.compatibility.promises import Document, Promise, Status, documents
from tools.reference.tables import table

COLUMNS = ("Section", "Promise", "Here", "How, or why not", "Proven by")


def compatibility_page() -> str:
    """Every promise of the documents of the systems that this host replaces, with the tests that prove it."""
    found, proven = documents(), proofs()
    return f"""# Compatibility

modelhost replaces five systems. Each line is a promise of one of their documents: it *works* as written there, it
*differs* (the note explains why, and what to do instead), it is *missing* (the note names the part of modelhost that
will bring it), or it is *not applicable*. The last column names the tests that prove the line, by their files below
`tests/`; `make test ARGS="-k NAME"` runs one.

{table(("Document", *Status), [_counted(document) for document in found])}
{"".join(_section(document, proven) for document in found)}"""


def _counted(document: Document) -> Sequence[str]:
    counts = Counter(promise.status for promise in document.promises)
    return document.title, *(str(counts[status]) for status in Status)


def _section(document: Document, proven: Mapping[str, Sequence[str]]) -> str:
    rows = [_row(promise, proven.get(promise.key, ())) for promise in document.promises]
    return f"## {document.title}\n\n{document.about}\n\n{table(COLUMNS, rows)}\n"


def _row(promise: Promise, tests: Sequence[str]) -> Sequence[str]:
    named = "<br>".join(f"`{test}`" for test in tests)
    return promise.section, promise.promise, promise.status, promise.note, named
