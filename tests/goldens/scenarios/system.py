"""Probes, documents, and what is answered to what there is not."""

from __future__ import annotations

from typing import Final

from tests.goldens.http_scenarios import CHAT, Raw, Scenario, one

SYSTEM: Final[tuple[Scenario, ...]] = (
    one("health", "GET /health"),
    one("health by HEAD", "HEAD /health"),
    one("models by HEAD", "HEAD /v1/models"),
    one("ready", "GET /ready"),
    one("version", "GET /version"),
    one("metrics", "GET /metrics", shows_body=False),
    one("OpenAPI document", "GET /openapi.json", shows_body=False),
    one("documentation", "GET /docs", shows_body=False),
    one("id of the caller", "GET /health", headers={"X-Request-Id": "mine"}),
    one("no such path", "GET /v1/nothing"),
    one("no such method of generation", "GET /v1/chat/completions"),
    one("no such method of a probe", "POST /health", {}),
    one("no such method of an operation", "PUT /v1/models/load", {}),
    one("question of a browser before it asks", "OPTIONS /v1/chat/completions"),
    one("encoding that is not read", CHAT, b"{}", headers={"Content-Encoding": "br"}),
    Scenario(
        name="no Host, which only HTTP/1.0 allows",
        steps=(Raw(sent=b"GET /version HTTP/1.1\r\n\r\n"), Raw(sent=b"GET /version HTTP/1.0\r\n\r\n")),
    ),
    one("name of somebody else", "GET /v1/models", headers={"Host": "evil.example"}),
    one("page of somebody else", CHAT, {}, headers={"Origin": "https://evil.example"}),
)
