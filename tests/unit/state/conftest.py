"""Stores on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from modelhost.config.settings import Settings
from modelhost.state.store import StateStore

MakeStore = Callable[..., StateStore]


@pytest.fixture
async def make_store(database_url: str, tmp_path: Path) -> AsyncIterator[MakeStore]:
    """Makes stores on one database: ``make_store(**settings)``; they are closed with the test."""
    async with AsyncExitStack() as stores:

        def make(**settings: Any) -> StateStore:
            given = {"database_url": database_url, "data_dir": str(tmp_path)} | settings
            store = StateStore(Settings.model_validate(given))
            stores.push_async_callback(store.close)
            return store

        yield make


@pytest.fixture
async def store(make_store: MakeStore) -> StateStore:
    """A store with the usual limits."""
    return make_store()
