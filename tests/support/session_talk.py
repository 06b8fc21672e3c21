"""Short ways to talk to a served host in a session, and to see what it keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx2

from tests.support.serving import ServedHost

CHAT = "/v1/chat/completions"


def post(host: ServedHost, said: str | Sequence[Any], headers: dict[str, str] | None = None, **fields: Any) -> Any:
    """The answer to a chat request, whatever it is."""
    messages = [{"role": "user", "content": said}] if isinstance(said, str) else list(said)
    return host.http.post(CHAT, json={"messages": messages, **fields}, headers=headers)


def ask(host: ServedHost, said: str | Sequence[Any], session_id: str, **fields: Any) -> str:
    """The text of a whole answer in a session."""
    answer = post(host, said, session_id=session_id, **fields)
    assert answer.status_code == httpx2.codes.OK, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def ask_streaming(host: ServedHost, said: str | Sequence[Any], session_id: str, **fields: Any) -> str:
    """The text of a streamed answer in a session; its end has to come."""
    messages = [{"role": "user", "content": said}] if isinstance(said, str) else list(said)
    body = {"messages": messages, "stream": True, "session_id": session_id, **fields}
    with host.http.stream("POST", CHAT, json=body) as answer:
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]", events[-1]
    chunks = [json.loads(event) for event in events[:-1]]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def stored(host: ServedHost, session_id: str) -> list[dict[str, Any]]:
    """The messages that the host keeps."""
    answer = host.http.get(f"/v1/sessions/{session_id}")
    if answer.status_code == httpx2.codes.NOT_FOUND:
        assert answer.json()["error"]["code"] == "session_not_found"
        return []
    found: list[dict[str, Any]] = answer.json()["messages"]
    return found


def texts(host: ServedHost, session_id: str) -> list[str]:
    """What was said, without who said it."""
    return [message["content"] for message in stored(host, session_id)]


def refusal(answer: Any) -> tuple[int, str]:
    """The status and the code of an answer that is an error."""
    return answer.status_code, answer.json()["error"]["code"]
