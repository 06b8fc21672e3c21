"""What a machine has that a build of llama.cpp can be made for: its processor, and the kinds of GPUs in it."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

Accelerator = Literal["cuda", "hip", "vulkan"]

ROOT: Final = Path("/")
ARCHITECTURES: Final[Mapping[str, str]] = {"AMD64": "x86_64", "arm64": "aarch64"}
"""Other names of the same."""
COMPILED_FOR: Final = re.compile(
    r"(ssse3|sse4|avx|amx|fma|f16c|bmi|abm|adx|movbe|popcnt|aes|vaes|vpclmul|pclmul|gfni|sha|xop|tbm|rdseed|"
    r"asimd|sve|sme(2|_|$)|i8mm|bf16|fphp|atomics|lrcpc|fcma|jscvt|crc32|pmull|sb$|ssbs$)"
)
"""The beginnings of the flags for which a compiler writes instructions when it compiles for the processor at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """The processor of this machine. ``flags`` are those of ``/proc/cpuinfo``; there are none where there is no such
    file."""

    architecture: str
    name: str = ""
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What decides which build is the best."""

    processor: Processor
    accelerator: Accelerator | None = None
    """What computes on the GPU that is there."""
    platform: str = sys.platform


def this_machine(accelerator: Accelerator | None) -> Machine:
    """Return this one, with the GPU that others have found in it."""
    return Machine(processor=this_processor(), accelerator=accelerator)


@cache
def this_processor() -> Processor:
    """Return that of this machine."""
    return read_processor(ROOT, platform.machine())


def read_processor(root: Path, architecture: str) -> Processor:
    """Return the first processor that ``/proc/cpuinfo`` below ``root`` describes."""
    about: dict[str, str] = {}
    path = root / "proc/cpuinfo"
    if path.exists():
        with path.open() as lines:
            # Line by line, to the first empty one: the kernel writes as much again for each of hundreds of cores.
            for line in lines:
                name, _, value = line.partition(":")
                if not name.strip():
                    break
                about[name.strip()] = value.strip()
    flags = about.get("flags") or about.get("Features") or ""
    return Processor(
        architecture=ARCHITECTURES.get(architecture, architecture),
        name=about.get("model name", ""),
        flags=frozenset(flags.split()),
    )


def compiled_for(flags: Iterable[str]) -> tuple[str, ...]:
    """Return those of ``flags`` that what is compiled for the processor may need to run."""
    return tuple(sorted(flag for flag in flags if COMPILED_FOR.match(flag)))
