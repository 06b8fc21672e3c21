"""Plays scenarios against hosts, and writes down what goes back and forth.

::

    > POST /v1/tokenize                  the request: its line, the headers that matter, the body
    > {"content": "hello"}

    < 200                                the answer: its status, all its headers, the body
    < content-type: application/json
    {"tokens": [1]}

Chunks of the transport are not recorded, and neither are keep-alive comments: both depend on time.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from string import Template
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from tests.goldens.http_scenarios import Act, Metric, Raw, Request, Said, Scenario
from tests.goldens.json_text import json_text, on_a_line
from tests.goldens.normalising import Normaliser
from tests.support.eventually import eventually_async
from tests.support.serving import ServedHost

SECONDS: Final = 60.0
EVENTS: Final = "text/event-stream"
JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
HIDDEN_HEADERS: Final[Mapping[str, str]] = {"content-length": "<bytes>", "date": "<time>"}
Hosts = Mapping[str, ServedHost]


@dataclass(slots=True)
class Answer:
    """What has come of an answer so far."""

    status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    has_news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    @property
    def media_type(self) -> str:
        return dict(self.headers).get("content-type", "").partition(";")[0]

    def tell(self) -> None:
        self.has_news.set()


def record_http(scenarios: Iterable[Scenario], hosts: Hosts, normaliser: Normaliser) -> str:
    """Play ``scenarios`` and return their transcript."""
    return asyncio.run(_recorded(scenarios, hosts, normaliser))


async def _recorded(scenarios: Iterable[Scenario], hosts: Hosts, normaliser: Normaliser) -> str:
    parts = []
    async with httpx2.AsyncClient(timeout=SECONDS, trust_env=False) as client:
        for scenario in scenarios:
            normaliser.begin_scenario()
            async with asyncio.timeout(SECONDS):
                lines = [line async for line in _Playing(client, hosts, normaliser).lines(scenario)]
            parts.append("\n".join([f"=== {scenario.name}", *lines, ""]))
    return "\n".join(parts)


@dataclass(frozen=True, slots=True)
class _Held:
    """A request that is being answered while the scenario goes on."""

    request: Request
    answer: Answer
    task: asyncio.Task[None]


class _Playing:
    """One scenario at play."""

    def __init__(self, client: httpx2.AsyncClient, hosts: Hosts, normaliser: Normaliser) -> None:
        self._client = client
        self._hosts = hosts
        self._normaliser = normaliser
        self._kept: dict[str, str] = {}

    async def lines(self, scenario: Scenario) -> AsyncIterator[str]:
        """Yield the transcript."""
        async with _tasks() as tasks:
            held: list[_Held] = []
            for step in scenario.steps:
                if isinstance(step, Act):
                    await asyncio.to_thread(step.does, self._hosts)
                    yield f"\n* {step.about}"
                    continue
                if isinstance(step, Raw):
                    for line in await self._raw_lines(step):
                        yield line
                    continue
                for line in self._request_lines(step):
                    yield line
                answer = Answer()
                task = asyncio.create_task(self._send(step, answer))
                tasks.append(task)
                if step.held_until is None:
                    await task
                    for line in self._answer_lines(step, answer):
                        yield line
                else:
                    held.append(_Held(step, answer, task))
                    await self._until(step, step.held_until, answer, task)
                    yield "  (goes on meanwhile)"
                self._keep(step, answer)
            for each in sorted(held, key=lambda each: each.request.leaves_after is not None):
                for line in await self._ended(each):
                    yield line

    async def _ended(self, held: _Held) -> list[str]:
        """Wait for the end of an answer, or leave."""
        wanted = held.request.leaves_after
        if wanted is not None:
            await self._until(held.request, wanted, held.answer, held.task)
            held.task.cancel()
        with suppress(asyncio.CancelledError):
            await held.task
        leaving = "" if wanted is None else ", of which the client leaves"
        return [f"\n* the answer to {held.request.line}{leaving}", *self._answer_lines(held.request, held.answer)]

    async def _raw_lines(self, step: Raw) -> list[str]:
        address = urlsplit(self._hosts[step.host].url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(step.sent)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        status, *headers = head.decode().split("\r\n")
        answer = Answer(status=int(status.split()[1]), body=body)
        answer.headers = [(name, value) for name, _, value in (line.partition(": ") for line in headers)]
        first, *rest = step.sent.decode().rstrip("\r\n").split("\r\n")
        to = "" if step.host == "main" else f"  (to {step.host})"
        asked = [f"\n> {_shortened(first)}{to}", *(f"> {_shortened(line)}" for line in rest)]
        return [*asked, *self._answer_lines(Request(line=""), answer)]

    async def _send(self, request: Request, answer: Answer) -> None:
        method, _, path = self._filled(request.line).partition(" ")
        url = self._hosts[request.host].url + path
        headers = {"accept": "*/*", **{name: self._filled(value) for name, value in request.headers.items()}}
        content = self._content(request.body)
        if content is not None and not isinstance(request.body, bytes | str):
            headers.setdefault("content-type", JSON)
        async with self._client.stream(method, url, content=content, headers=headers) as response:
            answer.status = response.status_code
            answer.headers = [(name.decode(), value.decode()) for name, value in response.headers.raw]
            answer.tell()
            async for chunk in response.aiter_bytes():
                answer.body += chunk
                answer.tell()

    def _content(self, body: Any) -> bytes | None:
        if body is None or isinstance(body, bytes):
            return body
        return self._filled(body if isinstance(body, str) else json.dumps(body)).encode()

    async def _until(self, request: Request, wanted: Said | Metric, answer: Answer, task: asyncio.Task[None]) -> None:
        if isinstance(wanted, Metric):
            host = self._hosts[request.host]
            await eventually_async(lambda: host.metric(wanted.name) == wanted.value, seconds=SECONDS)
        else:
            while answer.text.count(wanted.text) < wanted.times:
                answer.has_news.clear()
                news = asyncio.create_task(answer.has_news.wait())
                await asyncio.wait({news, task}, return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    news.cancel()
                    await task
                    assert answer.text.count(wanted.text) >= wanted.times, f"it never said {wanted.text}: {answer.text}"

    def _keep(self, request: Request, answer: Answer) -> None:
        said = "\n".join([*(f"{name}: {value}" for name, value in answer.headers), answer.text])
        for name, pattern in request.keep.items():
            found = re.search(pattern, said)
            assert found is not None, f"{pattern} is not in {said}"
            self._kept[name] = found[1]
            self._normaliser.know(found[1], name)

    def _filled(self, text: str) -> str:
        return Template(text).safe_substitute(self._kept)

    def _request_lines(self, request: Request) -> list[str]:
        to = "" if request.host == "main" else f"  (to {request.host})"
        lines = [f"\n> {self._filled(request.line)}{to}"]
        lines += [f"> {name}: {self._filled(value)}" for name, value in request.headers.items()]
        if isinstance(request.body, bytes):
            lines.append(f"> {_shortened(request.body.decode(errors='backslashreplace'))}")
        elif isinstance(request.body, str):
            lines += [f"> {line}" for line in _shortened(self._filled(request.body)).splitlines() or [""]]
        elif request.body is not None:
            lines.append(f"> {_shortened(self._filled(on_a_line(request.body)))}")
        return [self._normaliser.text(line) for line in lines]

    def _answer_lines(self, request: Request, answer: Answer) -> list[str]:
        if answer.status is None:
            return ["< nothing"]
        lines = [f"< {answer.status}"]
        for name, value in answer.headers:
            lines.append(f"< {name}: {HIDDEN_HEADERS.get(name) or self._normaliser.text(value)}")
        lines += self._body_lines(request, answer) if answer.body else []
        return [line for line in lines if request.may_miss is None or request.may_miss not in line]

    def _body_lines(self, request: Request, answer: Answer) -> list[str]:
        if not request.shows_body:
            return ["(the body is not recorded here)"]
        if answer.media_type == EVENTS:
            return event_lines(answer.text, self._normaliser)
        if answer.media_type == NDJSON:
            return [on_a_line(self._normaliser.value(json.loads(line))) for line in answer.text.splitlines()]
        if answer.media_type == JSON:
            return [json_text(self._normaliser.value(json.loads(answer.body)))]
        return [self._normaliser.text(answer.text)]


def event_lines(text: str, normaliser: Normaliser) -> list[str]:
    """The events of a stream, one a line; of events that are the same once normalised, the first and their end."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(":"):
            continue
        name, is_field, value = line.partition(": ")
        if is_field and name == "data" and value.startswith("{"):
            line = f"data: {on_a_line(normaliser.value(json.loads(value)))}"  # noqa: PLW2901
        else:
            line = normaliser.text(line)  # noqa: PLW2901
        if line and lines and line == lines[-1]:
            lines.append("(more of these)")
        elif line and not (lines[-1:] == ["(more of these)"] and line == lines[-2]):
            lines.append(line)
    return lines


def _shortened(text: str) -> str:
    return text if len(text) <= 2000 else f"{text[:60]} ... ({len(text):,} characters)"


@asynccontextmanager
async def _tasks() -> AsyncIterator[list[asyncio.Task[None]]]:
    """Tasks that have ended when the context ends, in whatever way."""
    tasks: list[asyncio.Task[None]] = []
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
