"""kill -9 of the host while 50 sessions are written: whatever it told, it still knows."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.eventually import eventually
from tests.support.serving import ServedHost

ROUNDS = int(os.environ.get("MODELHOST_TEST_KILL_ROUNDS", "5"))
CLIENTS = 50
SEED = 20260101


class Client:
    """Says numbers in a session of its own, one after the other, and notes those whose answer came to its end."""

    def __init__(self, session_id: str, *, is_streamed: bool) -> None:
        self.session_id = session_id
        self.acknowledged: list[str] = []
        self._is_streamed = is_streamed
        self._said = 0

    def talk(self, url: str) -> None:
        """Go on until the host is gone."""
        with closing(HTTPConnection(urlsplit(url).netloc, timeout=60)) as connection:
            while True:
                text = str(self._said)
                self._said += 1
                try:
                    if not self._is_answered(connection, text):
                        return
                except (OSError, HTTPException):
                    return
                self.acknowledged.append(text)

    def _is_answered(self, connection: HTTPConnection, text: str) -> bool:
        body = {
            "messages": [{"role": "user", "content": f"/echo {text}"}],
            "session_id": self.session_id,
            "stream": self._is_streamed,
        }
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        assert response.status == 200, answer
        if self._is_streamed:
            return answer.endswith(b"data: [DONE]\n\n")
        return bool(json.loads(answer)["choices"][0]["message"]["content"] == text)


def check(found: list[dict[str, str]], acknowledged: list[str]) -> None:
    """Every acknowledged exchange is there, in order, none twice; whole exchanges only."""
    questions = [message["content"].removeprefix("/echo ") for message in found[::2]]
    assert [message["role"] for message in found] == ["user", "assistant"] * (len(found) // 2)
    assert [message["content"] for message in found[1::2]] == questions
    numbers = [int(question) for question in questions]
    assert numbers == sorted(set(numbers))
    assert set(acknowledged) <= set(questions)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_every_acknowledged_message_is_there_after_kill_9(
    start_host: Callable[..., ServedHost], tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    rounds = ROUNDS if database == "sqlite" else max(2, ROUNDS // 5)
    settings = {
        "engine": "scripted",
        "data_dir": str(tmp_path / "data"),
        "max_session_messages": 1_000_000,
        "max_in_flight": CLIENTS,
        "slots": CLIENTS,
        "log_level": "warning",
    }
    if database == "postgresql":
        settings["database_url"] = request.getfixturevalue("postgres").new_database()
    clients = [Client(f"client-{number}", is_streamed=number % 2 == 0) for number in range(CLIENTS)]
    chance = random.Random(SEED)
    for _ in range(rounds):
        host = start_host(**settings)
        before = told(clients)
        threads = [threading.Thread(target=client.talk, args=(host.url,)) for client in clients]
        for thread in threads:
            thread.start()
        # Somewhere in the middle of it, when everyone has been answered.
        eventually(partial(has_answered, clients, before + CLIENTS + chance.randrange(CLIENTS)))
        host.process.kill()
        for thread in threads:
            thread.join()
    host = start_host(**settings)
    for client in clients:
        assert client.acknowledged
        check(host.http.get(f"/v1/sessions/{client.session_id}").json()["messages"], client.acknowledged)


def has_answered(clients: list[Client], count: int) -> bool:
    return told(clients) >= count and all(client.acknowledged for client in clients)


def told(clients: list[Client]) -> int:
    """How many answers came to their ends."""
    return sum(len(client.acknowledged) for client in clients)
