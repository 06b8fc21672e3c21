"""What is refused, and what fails, each provoked through the door."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any, Final

from tests.goldens.http_scenarios import BEGUN, CHAT, Act, Metric, Raw, Request, Scenario, chat, one
from tests.goldens.scenarios.generation import WEATHER
from tests.goldens.surroundings import NOWHERE
from tests.support.serving import ServedHost

KEY: Final = {"Authorization": "Bearer first-key"}


def wait_until_idle(hosts: Mapping[str, ServedHost]) -> None:
    """Wait until nothing is left of requests whose clients have left."""
    hosts["small"].wait_for_metric("modelhost_requests_in_flight", 0)


def stop(hosts: Mapping[str, ServedHost]) -> None:
    """Tell the host to stop."""
    hosts["small"].send_signal(signal.SIGTERM)


HANGING: Final = Request(
    line=CHAT, body=chat("/hang 1", stream=True), host="small", held_until=BEGUN, leaves_after=BEGUN
)


def image_at(url: str) -> dict[str, Any]:
    """A message with an image at an address."""
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}


REFUSALS: Final[tuple[Scenario, ...]] = (
    one("no JSON", CHAT, b"{"),
    one("no object", CHAT, []),
    one("wrong value", CHAT, chat("hello", temperature="hot")),
    one("unknown field", CHAT, chat("hello", temprature=1)),
    one("field that cannot be honoured", CHAT, chat("hello", num_ctx=5)),
    one("unknown model", CHAT, chat("hello", model="gpt-5")),
    one("unknown model, streamed", CHAT, chat("hello", model="gpt-5", stream=True)),
    one("depth that is no number", CHAT, chat("hello"), headers={"X-Modelhost-Depth": "deep"}),
    one("two tools of one name", CHAT, chat("hello", tools=[WEATHER, WEATHER])),
    one("image at an address", CHAT, {"messages": [image_at("https://example.org/cat.png")]}),
    one("prompt that does not fit", CHAT, chat("word " * 600)),
    one("engine that fails", CHAT, chat("/error 500")),
    one("engine that fails, streamed", CHAT, chat("/error 500", stream=True)),
    # What the engine sends together with what cannot be read is lost, and it may or may not send it together.
    one(
        "engine that breaks off",
        CHAT,
        chat("/malformed 2 /echo one two three", stream=True),
        may_miss='"content": " two"',
    ),
    one("worker that crashes", CHAT, chat("/crash 1")),
    one("worker that crashes in a stream", CHAT, chat("/slow 4 /crash 2 /echo one two three", stream=True)),
)

KEYS: Final[tuple[Scenario, ...]] = (
    one("no key", "GET /v1/models", host="locked"),
    one("wrong key", "GET /v1/models", headers={"Authorization": "Bearer wrong"}, host="locked"),
    one("right key", "GET /v1/models/status", headers=KEY, host="locked", shows_body=False),
    one("right key in the other header", "GET /version", headers={"X-Api-Key": "first-key"}, host="locked"),
    one("probe without a key", "GET /health", host="locked"),
    one("chat", CHAT, chat("/echo one", model="scripted"), headers=KEY, host="locked"),
    one("chat that is refused", CHAT, chat("hello", model="scripted", n=0), headers=KEY, host="locked"),
    one("chat without a model, which the host requires", CHAT, chat("hello"), headers=KEY, host="locked"),
    one("audit log names the key", "GET /v1/audit", headers=KEY, host="locked"),
)

LIMITS: Final[tuple[Scenario, ...]] = (
    one("body that is too large", CHAT, chat("x" * 20_000), host="small"),
    one("image at an address that is not public", CHAT, {"messages": [image_at("http://127.0.0.1/")]}, host="small"),
    one("image that cannot be fetched", CHAT, {"messages": [image_at(f"{NOWHERE}/cat.png")]}, host="small"),
    Scenario(
        name="headers that are too large",
        steps=(
            Raw(sent=b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n" % (b"x" * 20_000), host="small"),
            Raw(sent=b"POST /ask HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n" % (b"x" * 20_000), host="small"),
        ),
    ),
    Scenario(name="head that does not arrive", steps=(Raw(sent=b"GET /health HTTP/1.1\r\nHost: lo", host="small"),)),
    Scenario(name="what is no HTTP", steps=(Raw(sent=b"HELO there\r\n\r\n", host="small"),)),
    Scenario(
        name="one connection too many",
        steps=(
            Request(line="GET /health", host="narrow"),
            Raw(sent=b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", host="narrow"),
        ),
    ),
    Scenario(
        name="no place in the queue, and too long in it",
        steps=(
            HANGING,
            HANGING,
            Request(line=CHAT, body=chat("hello"), host="small", held_until=Metric(name="modelhost_queue_length")),
            Request(line=CHAT, body=chat("hello"), host="small"),
        ),
    ),
    one("chat in a session without a database", CHAT, chat("hello", session_id="anna"), host="full"),
    one("sessions of a database that is none", "GET /v1/sessions", host="full"),
    one("model that does not fit", CHAT, chat("hello"), host="full"),
    one("load of a model that does not fit", "POST /v1/models/load", {"model_id": "nano", "wait": True}, host="full"),
    Scenario(
        name="host that stops",
        steps=(
            Act(about="the requests before have ended", does=wait_until_idle),
            Request(line=CHAT, body=chat("/hang 1", stream=True), host="small", held_until=BEGUN),
            Request(
                line=CHAT,
                body=chat("/hang 0"),
                host="small",
                held_until=Metric(name="modelhost_requests_in_flight", value=2),
                may_miss="connection: close",
            ),
            Act(about="the host is told to stop", does=stop),
        ),
    ),
)
