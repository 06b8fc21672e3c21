"""What the tests of the HTTP API share."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.talk import Talk
from tests.support.serving import ServedHost


@pytest.fixture(scope="session", params=["nano", "scripted"])
def any_host(request: pytest.FixtureRequest) -> ServedHost:
    """Both engines, one after the other, for what has to be true of any."""
    host: ServedHost = request.getfixturevalue(f"{request.param}_host")
    return host


@pytest.fixture(scope="session")
def nano(nano_host: ServedHost) -> Talk:
    """The bundled model."""
    return Talk(nano_host)


@pytest.fixture(scope="session")
def scripted(scripted_host: ServedHost) -> Talk:
    """The scripted engine."""
    return Talk(scripted_host)


@pytest.fixture(scope="session")
def any_talk(any_host: ServedHost) -> Talk:
    """Both, one after the other."""
    return Talk(any_host)


@pytest.fixture
def weather_tools() -> list[dict[str, Any]]:
    """Two tools."""
    city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return [
        {"type": "function", "function": {"name": name, "description": text, "parameters": city}}
        for name, text in (("get_weather", "Tells the weather of a city."), ("book_hotel", "Books a hotel in a city."))
    ]
