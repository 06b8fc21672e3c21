"""The files beside the configuration file that are read without being named, if they are in the working directory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from modelhost.config.fields import SETTINGS
from modelhost.config.links import is_named
from modelhost.config.origins import Given, Origin
from modelhost.errors import ConfigError

DEFAULT_FILES: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {"models_config": ("models.yaml", "models.yml", "models.json"), "mcp_config": ("mcp.json",)}
)
"""The usual names of the file that a setting names."""


def default_file(key: str, cwd: Path) -> Path | None:
    """The file in ``cwd`` that the setting ``key`` has as its default; relative to ``cwd``.

    Raises:
        ConfigError: several of the usual names are there.
    """
    present = [name for name in DEFAULT_FILES[key] if is_named(cwd / name)]
    if len(present) > 1:
        flag = SETTINGS[key].flags[0]
        raise ConfigError(f"{' and '.join(present)} are both here; keep one, or name one with {flag}")
    return Path(present[0]) if present else None


def found_in(cwd: Path, keys: Iterable[str]) -> Iterator[Given]:
    """The settings of ``keys`` whose file is there, with it as their value; raises as :func:`default_file` does."""
    for key in keys:
        file = default_file(key, cwd)
        if file is not None:
            name = str(file)
            origin = Origin(kind="default file", name=name)
            yield Given(setting=SETTINGS[key], value=name, origin=origin, label=name)
