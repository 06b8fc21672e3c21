"""Importing many modules at once."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Without the collector, which would walk through thousands of new classes again and again and find nothing.

    What is there at the end is never looked at again: https://docs.python.org/3/library/gc.html#gc.freeze.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """Make imports of ``packages`` fail that are not imported yet: for a library that takes them if they are there."""
    kept_away = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(kept_away))  # type: ignore[arg-type]  # None: the import system then raises
    try:
        yield
    finally:
        for package in kept_away:
            del sys.modules[package]
