"""The span of an HTTP request, recorded by a tracer in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpx2
import pytest

from modelhost.config.settings import Settings
from modelhost.http.edge import Edge
from modelhost.tracing import spans
from modelhost.tracing.spans import Tracer


class Recorded:
    """A span, and the tracer that makes it."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}
        self.is_error = False

    def set(self, attributes: dict[str, Any]) -> None:
        self.attributes.update(attributes)

    def rename(self, name: str) -> None:
        self.attributes["name"] = name

    def fail(self, code: str, *, is_fault: bool = True) -> None:
        self.attributes[spans.ERROR_TYPE] = code
        self.is_error = self.is_error or is_fault

    @contextmanager
    def request(self, name: str, attributes: dict[str, Any], **_more: Any) -> Iterator[Recorded]:
        self.attributes |= {"name": name, **attributes}
        yield self


@pytest.fixture
def span() -> Iterator[Recorded]:
    made = Recorded()
    spans.use(cast("Tracer", made))
    yield made
    spans.use(None)


async def _broken(*_: Any) -> None:
    raise RuntimeError("a fault of the application")


async def _unavailable(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 503, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    ("app", "settings", "expected"),
    [
        (_broken, {}, (500, "internal_error", True)),
        (_unavailable, {}, (503, "503", True)),
        (_broken, {"api_keys": ("secret",)}, (401, "invalid_api_key", False)),
    ],
)
async def test_span_has_the_code_of_the_error_and_the_status_only_without_one(
    app: Any, settings: dict[str, Any], expected: tuple[int, str, bool], span: Recorded
) -> None:
    transport = httpx2.ASGITransport(Edge(app, settings=Settings.model_validate(settings)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        await client.get("/v1/models")
    found = span.attributes
    assert (found["http.response.status_code"], found["error.type"], span.is_error) == expected
