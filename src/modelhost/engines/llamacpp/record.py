"""The record of the build of llama.cpp in its environment, and whether this machine can run that build.

It is the content of ``modelhost-engine.json``, written once the build has been checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

from modelhost.engines.environments import FINISHED, LOCKS, folder_of, python_of
from modelhost.engines.llamacpp.machine import Processor, this_processor

ENGINE: Final = "llamacpp"
DISTRIBUTION: Final = "xllamacpp"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecord:
    """A build, checked on the machine where it was made."""

    version: str
    build: str
    is_compiled_here: bool = True
    """False for a wheel from an index."""
    has_llguidance: bool = False
    """Whether it accepts grammars of llguidance."""
    features: tuple[str, ...] = ()
    """Its features, by llama.cpp's names."""
    needs: tuple[str, ...] = ()
    """Flags of the processor that it was compiled for, without which it may end with an illegal instruction."""
    processor: str = ""
    factors: Mapping[str, float] = field(default_factory=dict)
    """Its speed in the check, as a multiple of the wheel's: with ``prompts`` and with ``answers``."""
    engine: str = ENGINE

    @property
    def gain(self) -> str:
        """The factors, for people."""
        return ", ".join(f"{what} {factor:.2f} times as fast as the wheel" for what, factor in self.factors.items())


def read_record(data_dir: Path) -> BuildRecord | None:
    """Return the record of the build of ``data_dir``; ``None`` if there is no build, or the record is damaged."""
    if python_of(ENGINE, data_dir) is None:
        return None
    try:
        stored: dict[str, Any] = orjson.loads((folder_of(ENGINE, data_dir) / FINISHED).read_bytes())
        features, needs = tuple(stored.pop("features", ())), tuple(stored.pop("needs", ()))
        return BuildRecord(features=features, needs=needs, **stored)
    except (orjson.JSONDecodeError, TypeError):
        return None


def write_record(record: BuildRecord, folder: Path) -> None:
    """Write the record, so that the environment at ``folder`` counts as installed."""
    (folder / FINISHED).write_bytes(orjson.dumps(asdict(record), option=orjson.OPT_INDENT_2) + b"\n")


@cache
def locked_version() -> str:
    """Return the version of llama.cpp's wheel that this modelhost is made for."""
    found = re.search(rf"^{DISTRIBUTION}==(\S+)", (LOCKS / f"{ENGINE}.txt").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def why_unused(data_dir: Path, processor: Processor | None = None) -> str | None:
    """Return why the installed build is not used; ``None`` if it is, or if there is none."""
    if python_of(ENGINE, data_dir) is None:
        return None
    record = read_record(data_dir)
    if record is None:
        return f"{folder_of(ENGINE, data_dir) / FINISHED} is damaged"
    if record.version != locked_version():
        return f"it is version {record.version}, and this modelhost is made for {locked_version()}"
    if lacking := sorted(set(record.needs) - (processor or this_processor()).flags):
        was_for = f" (it was built on {record.processor})" if record.processor else ""
        return f"this processor lacks what it was compiled for: {', '.join(lacking)}{was_for}"
    return None
