"""``POST /``, beside the other endpoints and alone."""

from __future__ import annotations

from typing import Final

from tests.goldens.http_scenarios import Scenario, one

PROMPT: Final = "POST /"

PROMPTS: Final[tuple[Scenario, ...]] = (
    one("prompt", PROMPT, {"prompt": "/echo one two"}),
    one("prompt at another path", "POST /ask", {"prompt": "/echo one two"}),
    one("no JSON", PROMPT, b"{"),
    one("no prompt", PROMPT, {}),
    one("empty prompt", PROMPT, {"prompt": " "}),
    one("unknown field", PROMPT, {"prompt": "/echo one", "temperature": 0}),
    one("body that is too large", PROMPT, {"prompt": "x" * 20_000}),
    one("other method", "GET /"),
    one("engine that fails", PROMPT, {"prompt": "/error 500"}),
    one("page of somebody else", PROMPT, {"prompt": "hello"}, headers={"Origin": "https://evil.example"}),
    one("prompt where there is nothing else", PROMPT, {"prompt": "/echo one two"}, host="alone"),
    one("probe where there is nothing else", "GET /health", host="alone"),
    one("prompt without a key", PROMPT, {"prompt": "/echo one two"}, host="locked"),
)
