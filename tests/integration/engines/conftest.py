"""Each engine in turn, with a host that the tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.engines.served import SERVED, Asking, Served
from tests.support.serving import ServedHost


@pytest.fixture(scope="session", params=SERVED, ids=lambda served: served.engine)
def served(request: pytest.FixtureRequest) -> Served:
    """One engine after the other."""
    found: Served = request.param
    return found


@pytest.fixture(scope="session")
def asking(served: Served) -> Iterator[Asking]:
    """A shared host of it; to be left as it is."""
    with ServedHost(**served.host_settings) as host:
        yield Asking(host)
