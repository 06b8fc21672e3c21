"""The record of the build of llama.cpp in its environment, and whether this machine can run that build.

It is the content of ``modelhost-engine.json``, written once the build has been checked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, get_args

import orjson

from modelhost.engines.environments import FINISHED, LOCKS, PYTHON, folder_of, python_of
from modelhost.engines.llamacpp.machine import Processor, this_processor
from modelhost.engines.traits import Build

ENGINE: Final = "llamacpp"
DISTRIBUTION: Final = "xllamacpp"
BESIDE_A_CPU: Final = ("cuda", "hip", "vulkan")
"""Builds that compute on a GPU where the wheel computes on the CPU."""


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
    scores_differ_by: float | None = None
    """The largest difference of a logit from the wheel's in the check; ``None``: the record is older than that."""
    other_answers: Mapping[str, float] = field(default_factory=dict)
    """Prompts of the check to which its greedy answer is not the wheel's, with the distance of the scores of the two
    likeliest tokens where they part: within what rounding explains, or it would not have passed."""
    engine: str = ENGINE

    @property
    def gain(self) -> str:
        """The factors, for people."""
        return ", ".join(f"{what} {factor:.2f} times as fast as the wheel" for what, factor in self.factors.items())

    @property
    def is_slower(self) -> bool:
        """Whether it was slower than the wheel in the check, prompts and answers together.

        Unknown of builds for GPUs, for which the bundled model is too small: they count as faster.
        """
        return self.build not in BESIDE_A_CPU and math.prod(self.factors.values()) < 1

    @property
    def likeness(self) -> str:
        """How its results compare with the wheel's, for people; empty if the record does not have it."""
        if self.scores_differ_by is None:
            return ""
        scores = f"scores within {self.scores_differ_by:.4f} of the wheel's"
        if not self.other_answers:
            return f"{scores}, the same answers"
        parted = ", ".join(f'"{prompt}" (two tokens {apart:.4f} apart)' for prompt, apart in self.other_answers.items())
        return f"{scores}; other answers where two tokens are as likely within rounding: {parted}"


def read_record(data_dir: Path) -> BuildRecord | None:
    """Return the record of the build of ``data_dir``; ``None`` if there is no build, or the record is damaged."""
    if python_of(ENGINE, data_dir) is None:
        return None
    try:
        stored: dict[str, Any] = dict(orjson.loads((folder_of(ENGINE, data_dir) / FINISHED).read_bytes()))
        features, needs = tuple(stored.pop("features", ())), tuple(stored.pop("needs"))
        if stored.get("build") not in get_args(Build):
            return None
        factors, others = _numbers(stored.pop("factors", {})), _numbers(stored.pop("other_answers", {}))
        return BuildRecord(features=features, needs=needs, factors=factors, other_answers=others, **stored)
    except (KeyError, TypeError, ValueError):  # among them orjson.JSONDecodeError
        return None


def _numbers(stored: Any) -> Mapping[str, float]:
    return {str(name): float(number) for name, number in dict(stored).items()}


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
    """Return why the installed build is not used; ``None`` if it is, or if there is none.

    A build is put in its place in one piece: a part that is missing was there before.
    """
    folder = folder_of(ENGINE, data_dir)
    if not folder.exists():
        return None
    if (record := read_record(data_dir)) is None:
        return _why_no_record(folder)
    if record.version != locked_version():
        return f"it is version {record.version}, and this modelhost is made for {locked_version()}"
    if lacking := sorted(set(record.needs) - (processor or this_processor()).flags):
        was_for = f" (it was built on {record.processor})" if record.processor else ""
        return f"this processor lacks what it was compiled for: {', '.join(lacking)}{was_for}"
    return None


def _why_no_record(folder: Path) -> str:
    if not (folder / FINISHED).exists():
        return f"{folder / FINISHED} is missing"
    if not (folder / PYTHON).exists():
        return f"its Python, {folder / PYTHON}, is missing, or the one that it was made with"
    return f"{folder / FINISHED} is damaged"
