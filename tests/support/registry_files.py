"""Registry files of a test: their entries, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from modelhost.config.settings import Settings
from modelhost.errors import ConfigError
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.registry.registry import Registry, read_registry


def registry_of(tmp_path: Path, text: str, base: Settings | None = None, name: str = "models.yaml") -> Registry:
    path = tmp_path / name
    path.write_text(dedent(text))
    return read_registry(path, base or Settings())


def entry_of(tmp_path: Path, keys: str = "", base: Settings | None = None, *, source: str = "hf_id: a/b") -> ModelEntry:
    """The one entry ``x`` with ``keys``, lines of YAML."""
    lines = "".join(f"    {line}\n" for line in dedent(keys).strip().splitlines())
    return registry_of(tmp_path, f"models:\n  - name: x\n    {source}\n{lines}", base).entries[0]


def problems_of(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        registry_of(tmp_path, text)
    return list(caught.value.details.get("problems", [caught.value.message]))


def problem_of(tmp_path: Path, keys: str, *, source: str = "hf_id: a/b") -> str:
    """What is wrong with the entry ``x`` that has ``keys``."""
    with pytest.raises(ConfigError) as caught:
        entry_of(tmp_path, keys, source=source)
    (problem,) = caught.value.details["problems"]
    return str(problem).removeprefix('models.yaml: models[0] "x": ')
