"""Each engine in turn, with a host that the tests share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.integration.engines.served import CONTEXT, NAME, SERVED, Asking, Served
from tests.support.serving import ServedHost

OF_ENGINES = {"mistralrs": "test_mistralrs.py", "vllm": "test_vllm.py"}
collect_ignore = [file for engine, file in OF_ENGINES.items() if engine not in {served.engine for served in SERVED}]


@pytest.fixture(scope="session", params=SERVED, ids=lambda served: served.label or served.engine)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """One engine after the other; a remote model is another host's."""
    found: Served = request.param
    if found.why_not:
        pytest.skip(found.why_not)
    if found.engine != "remote":
        yield found
        return
    with ServedHost(alias=[NAME], context_length=CONTEXT, slots=4) as there:
        yield replace(found, model=f"{there.url}/v1", there=there)


@pytest.fixture(scope="session")
def asking(served: Served) -> Iterator[Asking]:
    """A shared host of it; to be left as it is."""
    with ServedHost(**served.host_settings) as host:
        yield Asking(host)
