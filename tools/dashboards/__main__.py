"""``python -m tools.dashboards``: write the files."""

from __future__ import annotations

from tools.dashboards.files import generated

for path, text in generated().items():
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
