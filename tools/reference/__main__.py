"""``python -m tools.reference``: write the pages."""

from __future__ import annotations

from tools.reference.pages import FOLDER, generated

FOLDER.mkdir(exist_ok=True)
for path, text in generated().items():
    path.write_text(text, "utf-8")
