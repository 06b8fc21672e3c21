"""What the tests of doors share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelhost.chat.notes import ON_NOTE


@pytest.fixture
def notes() -> Iterator[list[str]]:
    """The notes on a request, in their order."""
    found: list[str] = []
    token = ON_NOTE.set(found.append)
    yield found
    ON_NOTE.reset(token)
