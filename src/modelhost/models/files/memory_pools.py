"""Memory by pool: main memory, each GPU's, and the number of loaded models, limited by the same arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MODELS = "models"
"""The pool that counts models."""

Bytes = Mapping[str, int]
"""Bytes of memory by pool: ``ram``, ``gpu:0``, ``gpu:1`` ..."""

RAM = "ram"

GPU = "gpu:"


def gpus_in(pools: Iterable[str]) -> tuple[int, ...]:
    return tuple(sorted(int(pool.removeprefix(GPU)) for pool in pools if pool.startswith(GPU)))


def total(charges: Iterable[Bytes]) -> dict[str, int]:
    """Return the sum by pool."""
    found: dict[str, int] = {}
    for charge in charges:
        for pool, count in charge.items():
            found[pool] = found.get(pool, 0) + count
    return found


def memory_in(charge: Bytes) -> dict[str, int]:
    """Return what of ``charge`` is memory."""
    return {pool: count for pool, count in charge.items() if pool != MODELS}


def without_gpus(charge: Bytes) -> dict[str, int]:
    """Return what of ``charge`` is of no GPU."""
    return {pool: count for pool, count in charge.items() if not pool.startswith(GPU)}


def on_gpus(charge: Bytes) -> dict[str, int]:
    """Return what of ``charge`` is memory of GPUs."""
    return {pool: count for pool, count in charge.items() if pool.startswith(GPU)}


def largest(one: Bytes, other: Bytes) -> dict[str, int]:
    """Return the larger of both, by pool."""
    return {pool: max(one.get(pool, 0), other.get(pool, 0)) for pool in {**one, **other}}
