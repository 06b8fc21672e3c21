"""Subscriptions to resources, in both eras of the protocol, in virtual time."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, MCPError

from modelhost.mcp_servers.faces import FaceName
from modelhost.mcp_servers.server import build_server
from modelhost.mcp_servers.subscriptions import MOST_URIS
from modelhost.operations.monitor import GET_ALERTS, GET_METRICS
from tests.support.mcp_backend import FakeBackend

pytestmark = [
    pytest.mark.usefixtures("virtual_time"),
    pytest.mark.filterwarnings("ignore:.*subscribe is removed"),
]


class Watched:
    """A host whose metrics and alerts a test changes, and a client with a handshake that notes its notifications."""

    def __init__(self, face: FaceName = "monitor") -> None:
        self.backend = FakeBackend()
        self.metrics = copy.deepcopy(GET_METRICS.example_answer)
        self.alerts = copy.deepcopy(GET_ALERTS.example_answer)
        self.backend.results["get-metrics"] = lambda _: self.metrics
        self.backend.results["get-alerts"] = lambda _: self.alerts
        self.updated: list[str] = []
        self.server = build_server(face, self.backend, door="mcp-http")

    def client(self, mode: Any = "legacy") -> Client:
        return Client(self.server, mode=mode, message_handler=self._note)

    async def _note(self, message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            self.updated.append(str(message.params.uri))

    def count_request(self) -> None:
        self.metrics["metrics"]["requests"]["total"] += 1

    def readings(self) -> int:
        return len(self.backend.ran)


@pytest.mark.parametrize("uri", ["metrics://current", "metrics/current", "metrics/history/5m", "metrics://history/300"])
async def test_a_client_is_notified_when_the_figures_change_and_once_a_second_at_most(uri: str) -> None:
    watched = Watched()
    async with watched.client() as client:
        assert client.server_capabilities.resources == types.ResourcesCapability(subscribe=True, list_changed=False)
        await client.subscribe_resource(uri)
        await asyncio.sleep(3.5)
        assert watched.updated == []
        for _ in range(20):
            watched.count_request()
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        assert watched.updated in ([uri] * 2, [uri] * 3)
        await asyncio.sleep(10)
        assert watched.updated in ([uri] * 2, [uri] * 3)


async def test_what_changes_all_the_time_is_no_change() -> None:
    watched = Watched()
    async with watched.client() as client:
        await client.subscribe_resource("metrics://current")
        watched.metrics["timestamp"] = "2026-01-02T00:00:00Z"
        watched.metrics["metrics"]["memory"]["system_ram_mb"] += 1
        await asyncio.sleep(5)
        assert watched.updated == []


@pytest.mark.parametrize("uri", ["alerts://active", "alerts/active"])
async def test_a_client_is_notified_of_alerts(uri: str) -> None:
    watched = Watched("all")
    async with watched.client() as client:
        await client.subscribe_resource(uri)
        watched.alerts["active"] = []
        await asyncio.sleep(1.5)
        assert watched.updated == [uri]


async def test_nothing_is_read_without_subscribers() -> None:
    watched = Watched()
    async with watched.client() as client:
        await client.subscribe_resource("metrics/current")
        await client.subscribe_resource("metrics/current")
        await asyncio.sleep(2.5)
        before = watched.readings()
        assert before == 3
        await client.unsubscribe_resource("metrics/current")
        watched.count_request()
        await asyncio.sleep(5)
        assert (watched.readings(), watched.updated) == (before, [])
        await client.subscribe_resource("alerts/active")
        await asyncio.sleep(1.5)
    after = watched.readings()
    assert after > before
    await asyncio.sleep(5)
    assert watched.readings() == after


async def test_each_client_is_notified_of_what_it_has_subscribed_to() -> None:
    first = Watched()
    second = Watched()
    second.server, second.backend = first.server, first.backend
    async with first.client() as one, second.client() as two:
        await one.subscribe_resource("metrics/current")
        await two.subscribe_resource("alerts/active")
        first.count_request()
        await asyncio.sleep(1.5)
    assert (first.updated, second.updated) == (["metrics/current"], [])


@pytest.mark.parametrize("uri", ["metrics://tomorrow", "model/qwen/config", "state/sessions"])
async def test_what_cannot_be_subscribed_to_is_refused(uri: str) -> None:
    async with Watched("all").client() as client:
        with pytest.raises(MCPError, match="without subscriptions"):
            await client.subscribe_resource(uri)


async def test_subscriptions_are_limited() -> None:
    async with Watched().client() as client:
        for number in range(MOST_URIS):
            await client.subscribe_resource(f"metrics/history/{number + 1}")
        with pytest.raises(MCPError, match=str(MOST_URIS)):
            await client.subscribe_resource("metrics/current")
        await client.unsubscribe_resource("metrics/history/1")
        await client.subscribe_resource("metrics/current")


async def test_servers_without_such_resources_have_no_subscriptions() -> None:
    async with Watched("models").client() as client:
        assert client.server_capabilities.resources == types.ResourcesCapability(subscribe=False, list_changed=False)


@pytest.mark.parametrize("change", [Watched.count_request, lambda watched: watched.alerts.update(active=[])])
async def test_a_client_without_a_handshake_listens(change: Callable[[Watched], Any]) -> None:
    watched = Watched("all")
    wanted = ["metrics/current", "alerts://active", "model/qwen/config"]
    async with watched.client("auto") as client:
        async with client.listen(resource_subscriptions=wanted) as subscription:
            assert subscription.honored.resource_subscriptions == wanted[:2]
            change(watched)
            event: Any = await anext(aiter(subscription))
            assert event.uri in wanted[:2]
        await asyncio.sleep(2)
        before = watched.readings()
        await asyncio.sleep(5)
        assert watched.readings() == before


@pytest.mark.parametrize("uri", ["metrics/history/soon", "metrics://history/0"])
async def test_a_subscription_to_what_cannot_be_read_is_refused_as_its_reading_is(uri: str) -> None:
    watched = Watched()
    async with watched.client() as client:
        with pytest.raises(MCPError) as reading:
            await client.read_resource(uri)
        with pytest.raises(MCPError) as subscribing:
            await client.subscribe_resource(uri)
        assert subscribing.value.error == reading.value.error
        await asyncio.sleep(5)
        assert watched.readings() == 0


async def test_what_cannot_be_read_is_left_out_of_a_stream_of_notifications() -> None:
    watched = Watched()
    wanted = ["metrics/history/soon", "metrics/current"]
    async with (
        watched.client("auto") as client,
        client.listen(resource_subscriptions=wanted) as subscription,
    ):
        assert subscription.honored.resource_subscriptions == wanted[1:]


async def test_a_broken_host_is_no_change_and_ends_nothing() -> None:
    watched = Watched()
    async with watched.client() as client:
        await client.subscribe_resource("metrics/current")
        watched.backend.results["get-metrics"] = GET_METRICS.errors[0]("It is away.")
        await asyncio.sleep(2.5)
        assert watched.updated == []
        watched.count_request()
        watched.backend.results["get-metrics"] = lambda _: watched.metrics
        await asyncio.sleep(1.5)
        assert watched.updated == ["metrics/current"]
