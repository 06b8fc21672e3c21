"""Long lists of prompts on a real engine, and the others who want something of it meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2

from tests.support.eventually import eventually
from tests.support.serving import ServedHost

PROMPTS = [f"Once upon a time {number}" for number in range(128)]
LIST = {"prompt": PROMPTS, "n": 4, "max_tokens": 6, "ignore_eos": True, "echo": True}
CHAT = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8}


def complete(host: ServedHost, body: dict[str, Any]) -> dict[str, Any]:
    answer = host.http.post("/v1/completions", json=body)
    found: dict[str, Any] = answer.json()
    assert answer.status_code == httpx2.codes.OK, found
    return found


def test_a_chat_is_answered_beside_a_long_list_which_comes_whole_and_in_order(nano_host: ServedHost) -> None:
    idle = nano_host.metric("modelhost_requests_in_flight")
    with ThreadPoolExecutor(1) as pool:
        listed = pool.submit(complete, nano_host, LIST)
        eventually(lambda: nano_host.metric("modelhost_requests_in_flight") > idle)
        assert nano_host.http.post("/v1/chat/completions", json=CHAT).status_code == httpx2.codes.OK
        assert not listed.done()
        choices = listed.result()["choices"]
    assert [choice["index"] for choice in choices] == list(range(512))
    assert all(choice["text"].startswith(PROMPTS[choice["index"] // 4]) for choice in choices)


def test_a_list_that_is_too_long_is_refused_with_the_way_out(nano_host: ServedHost) -> None:
    answer = nano_host.http.post("/v1/completions", json={**LIST, "n": 64})
    assert answer.status_code == httpx2.codes.BAD_REQUEST
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", "prompt")
    assert "Split it into several requests" in error["message"]
