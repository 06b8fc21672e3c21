"""kill -9 of the host while responses are stored and made in the background: whatever it told, it still knows."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.eventually import eventually
from tests.support.serving import ServedHost

ROUNDS = int(os.environ.get("MODELHOST_TEST_KILL_ROUNDS", "5"))
CLIENTS = 24
SEED = 20260102
RESPONSES, CONVERSATIONS = "/v1/responses", "/v1/conversations"
Json = dict[str, Any]


class Client:
    """Has numbers echoed in a conversation of its own, one after the other, and notes what it was told."""

    def __init__(self, number: int) -> None:
        self.kind = ("whole", "streamed", "background")[number % 3]
        self.conversation: str | None = None
        self.acknowledged: dict[str, str] = {}
        """Texts by the ids of the responses that came to their ends, or that were accepted in the background."""
        self._said = 0

    def talk(self, url: str) -> None:
        """Go on until the host is gone."""
        with closing(HTTPConnection(urlsplit(url).netloc, timeout=60)) as connection:
            try:
                if self.conversation is None:
                    self.conversation = json.loads(_post(connection, CONVERSATIONS, {}))["id"]
                while True:
                    self._say(connection)
            except (OSError, HTTPException):
                return

    def _say(self, connection: HTTPConnection) -> None:
        text = f"n{self._said}"
        self._said += 1
        body = {"input": f"/echo {text}", "conversation": self.conversation, "store": True}
        body |= {"stream": self.kind == "streamed", "background": self.kind == "background"}
        answer = _post(connection, RESPONSES, body)
        if self.kind == "streamed":
            told = [json.loads(line[6:]) for line in answer.decode().splitlines() if line.startswith("data: {")]
            if not told or told[-1]["type"] != "response.completed":
                return
            self.acknowledged[told[-1]["response"]["id"]] = text
        else:
            self.acknowledged[json.loads(answer)["id"]] = text


def _post(connection: HTTPConnection, path: str, body: Json) -> bytes:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    assert response.status == 200, answer
    return answer


def check(host: ServedHost, client: Client) -> None:
    """Every acknowledged response is there, finished or incomplete with a reason; its items are there once."""
    assert client.acknowledged
    finished = set()
    for response_id, text in client.acknowledged.items():
        found = host.http.get(f"{RESPONSES}/{response_id}").json()
        if found["status"] == "completed":
            assert text_of(found["output"][0]) == text
            finished.add(text)
        else:
            assert client.kind == "background"
            assert (found["status"], found["incomplete_details"]) == ("incomplete", {"reason": "host_stopped"})
        if client.kind == "background":
            check_events(host, response_id)
    items = items_of(host, client.conversation)
    questions = [text_of(item).removeprefix("/echo ") for item in items if item["role"] == "user"]
    answers = [text_of(item) for item in items if item["role"] == "assistant"]
    assert [item["role"] for item in items] == ["user", "assistant"] * (len(items) // 2)
    assert questions == answers
    assert len(set(questions)) == len(questions)
    assert finished <= set(questions)


def check_events(host: ServedHost, response_id: str) -> None:
    text = host.http.get(f"{RESPONSES}/{response_id}?stream=true").text
    told = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    ends = [event for event in told if event["type"] in {"response.completed", "response.incomplete"}]
    assert ends == told[-1:]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))


def items_of(host: ServedHost, conversation: str | None) -> list[Json]:
    found: list[Json] = []
    after, has_more = "", True
    while has_more:
        path = f"{CONVERSATIONS}/{conversation}/items?order=asc&limit=100&after={after}"
        page = host.http.get(path).json()
        found, has_more, after = [*found, *page["data"]], page["has_more"], page["last_id"]
    return found


def text_of(item: Json) -> str:
    return "".join(part["text"] for part in item["content"])


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_every_acknowledged_response_is_there_after_kill_9(
    start_host: Callable[..., ServedHost], tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    rounds = ROUNDS if database == "sqlite" else max(2, ROUNDS // 5)
    settings = {
        "engine": "scripted",
        "data_dir": str(tmp_path / "data"),
        "max_in_flight": 2 * CLIENTS,
        "slots": CLIENTS,
        "log_level": "warning",
    }
    if database == "postgresql":
        settings["database_url"] = request.getfixturevalue("postgres").new_database()
    clients = [Client(number) for number in range(CLIENTS)]
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
        check(host, client)


def has_answered(clients: Sequence[Client], count: int) -> bool:
    return told(clients) >= count and all(client.acknowledged for client in clients)


def told(clients: Sequence[Client]) -> int:
    """How many responses came to their ends, or were accepted."""
    return sum(len(client.acknowledged) for client in clients)
