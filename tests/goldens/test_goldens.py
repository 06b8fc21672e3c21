"""What clients see is what was recorded. A change that is meant is recorded by ``make goldens``."""

from __future__ import annotations

import pytest

from tests.goldens import files
from tests.goldens.topics import TOPICS


@pytest.mark.parametrize("topic", TOPICS)
def test_clients_see_what_is_recorded(topic: str) -> None:
    if difference := files.difference(TOPICS[topic]()):
        pytest.fail(difference, pytrace=False)
