"""What builds and settings of llama.cpp are compared by: prompts to read and answers to write, over HTTP."""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from bench.sides import Side, StartError

FIRST_TOKEN, LAST_TOKEN = 3, 250  # of the prompts, out of a vocabulary that has more
ANSWER_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 0.05
BUSY_THREADS: Final = 2
SPIN: Final = "while True: pass"
DATA, END = b"data: ", b"[DONE]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What each client has done: a prompt read, and tokens written."""

    name: str
    prompt: int
    tokens: int
    clients: int = 1
    is_streamed: bool = False

    @property
    def counted(self) -> int:
        """The tokens of all clients that the speed is about."""
        return self.clients * (self.tokens if self.tokens > 1 else self.prompt)


SHORT: Final = Work(name="prompt of 450", prompt=450, tokens=1)
LONG: Final = Work(name="prompt of 1,500", prompt=1500, tokens=1)
ANSWER: Final = Work(name="one answer", prompt=8, tokens=64)
ANSWERS: Final = Work(name="four answers", prompt=8, tokens=64, clients=4)
WORKS: Final = (SHORT, LONG, ANSWER, ANSWERS)
STREAMED: Final = (
    replace(ANSWER, name="one, streamed", is_streamed=True),
    replace(ANSWERS, name="four, streamed", is_streamed=True),
)
SLOTS, CONTEXT = ANSWERS.clients, 2048
Build = Callable[[Work], float]
"""Does the work and returns the seconds."""


@dataclass(frozen=True, slots=True)
class OverHttp:
    """Does the work through a server's ``/v1/completions``."""

    side: Side

    def __call__(self, work: Work) -> float:
        """Do it, and return the seconds."""
        with ThreadPoolExecutor(work.clients) as pool:
            begun = time.perf_counter()
            for answer in [pool.submit(_answer, self.side, work) for _ in range(work.clients)]:
                answer.result()
            return time.perf_counter() - begun


@contextmanager
def other_work(*, is_there: bool = True) -> Iterator[None]:
    """Keep ``BUSY_THREADS`` cores busy with another job, if ``is_there``."""
    jobs = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(BUSY_THREADS * is_there)]
    try:
        yield
    finally:
        for job in jobs:
            job.kill()
            job.wait()


def wait_for_model(build: Build, seconds: float) -> None:
    """Return when a server that listens before it has its model has answered; raises what it said last if it does not
    within ``seconds``.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            build(ANSWER)
        except (OSError, StartError):
            if time.monotonic() > until:
                raise
            time.sleep(RETRY_SECONDS)
        else:
            return


def _last_event(answer: bytes) -> dict[str, Any]:
    """Return the whole answer, or the last event of a streamed one, which tells the usage."""
    events = [event.removeprefix(DATA) for event in answer.split(b"\n\n") if not event.endswith(END)]
    last: dict[str, Any] = json.loads([event for event in events if event][-1])
    return last


def _answer(side: Side, work: Work) -> None:
    """Have one prompt read and one text written.

    Raises:
        StartError: it was refused, or has another length.
    """
    address = urlsplit(side.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=ANSWER_SECONDS)
    prompt = random.choices(range(FIRST_TOKEN, LAST_TOKEN), k=work.prompt)
    body: dict[str, Any] = {"prompt": prompt, "max_tokens": work.tokens, "temperature": 0, "ignore_eos": True}
    body["cache_prompt"] = False
    if work.is_streamed:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    headers = {"Content-Type": "application/json"}
    if side.api_key is not None:
        headers["Authorization"] = f"Bearer {side.api_key}"
    try:
        connection.request("POST", "/v1/completions", json.dumps(body), headers)
        answer = _last_event(connection.getresponse().read())
    finally:
        connection.close()
    usage = answer.get("usage") or {}
    if (usage.get("prompt_tokens"), usage.get("completion_tokens")) != (work.prompt, work.tokens):
        raise StartError(f"llama.cpp did other work than it was given: {answer.get('error') or usage}")
