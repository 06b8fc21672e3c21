"""Every page of the reference, as it should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tools.reference import settings
from tools.reference.commands import cli_page
from tools.reference.compatibility import compatibility_page
from tools.reference.doors import doors_page
from tools.reference.dotenv_example import dotenv_example
from tools.reference.endpoints import endpoints_page
from tools.reference.engines import engines_page
from tools.reference.errors import errors_page
from tools.reference.metrics import metrics_page
from tools.reference.tables_sql import tables_sql

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs" / "reference"
DOTENV_EXAMPLE: Final = ROOT / ".env.example"
SCHEMA: Final = ROOT / "src" / "modelhost" / "state" / "schema"
MARK: Final = "<!-- Written by `make docs` from the code: change it there. -->\n\n"
PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "settings.md": settings.markdown,
    "endpoints.md": endpoints_page,
    "doors.md": doors_page,
    "engines.md": engines_page,
    "errors.md": errors_page,
    "metrics.md": metrics_page,
    "cli.md": cli_page,
    "compatibility.md": compatibility_page,
}


def generated() -> Mapping[Path, str]:
    """Return the text of every page, of the example of a ``.env`` file and of the tables in SQL, by its path."""
    return {
        **{FOLDER / name: MARK + page() for name, page in PAGES.items()},
        **{SCHEMA / f"{dialect}.sql": text for dialect, text in tables_sql().items()},
        DOTENV_EXAMPLE: dotenv_example(),
    }
