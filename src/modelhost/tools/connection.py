"""One connection to a server, from the handshake to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar, cast

import anyio
import mcp_types as types
from mcp import Client
from mcp.client.client import ConnectMode
from mcp.client.session import IncomingMessage
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from modelhost import trace_context
from modelhost.logs import get_logger
from modelhost.tools.callbacks import DEPTH_META_KEY, CallAttempt, ToolProgress
from modelhost.tools.client_features import ClientFeatures
from modelhost.tools.entry import ServerEntry, StdioTransport
from modelhost.tools.failures import ConnectionLostError
from modelhost.tools.remote import ObservingHttpClient, Streams, reached
from modelhost.tools.repair import repaired
from modelhost.tools.status import ToolProblemReport
from modelhost.tools.stdio import LineBuffer, started
from modelhost.version import __version__

log = get_logger(__name__)

Item = TypeVar("Item")

MAX_PAGES: Final = 1000
"""Of one listing: the pages of some servers never end."""
HEALTH_SECONDS: Final = 10.0  # for the answer to a request that costs a server nothing
LIST_SECONDS: Final = 30.0
RELISTEN_SECONDS: Final = 5.0
CLIENT = types.Implementation(name="modelhost", version=__version__)


class Connection:
    """A server that is connected. Made by :func:`connected` only."""

    def __init__(self, entry: ServerEntry, on_news: Callable[[], None]) -> None:
        self._entry = entry
        self._on_news = on_news
        self._client: Client | None = None
        self._http: ObservingHttpClient | None = None
        self._lists: dict[str, tuple[Any, ...]] = {}
        self.lost_reason: str | None = None
        self.malformed: tuple[ToolProblemReport, ...] = ()
        """Tools that were left out of the last listing."""
        self.has_new_tools = False
        """Whether the server announced new tools; its owner then lists them again."""
        self.pid: int | None = None

    @property
    def client(self) -> Client:
        assert self._client is not None, "used before the handshake"
        return self._client

    @property
    def is_modern(self) -> bool:
        return self.client.protocol_version in MODERN_PROTOCOL_VERSIONS

    @property
    def last_refusal(self) -> str | None:
        """The latest HTTP error, in words."""
        return self._http.last_refusal if self._http is not None else None

    def lose(self, reason: str) -> None:
        """Mark the connection as lost. The first reason counts."""
        if self.lost_reason is None:
            self.lost_reason = reason
            self._on_news()

    # Listings.

    async def tools(self) -> tuple[types.Tool, ...]:
        """Return the tools of all pages."""
        self.has_new_tools = False
        self.malformed = ()
        if self.client.server_capabilities.tools is None:
            return ()
        return await _all(self.client.list_tools, lambda page: (page.tools, page.next_cursor))

    async def resources(self) -> tuple[types.Resource, ...]:
        """Return all resources, listed once until the server announces a change."""
        if self.client.server_capabilities.resources is None:
            return ()
        return await self._listed(
            "resources", self.client.list_resources, lambda page: (page.resources, page.next_cursor)
        )

    async def resource_templates(self) -> tuple[types.ResourceTemplate, ...]:
        """As :meth:`resources`, for templates."""
        if self.client.server_capabilities.resources is None:
            return ()
        return await self._listed(
            "templates",
            self.client.list_resource_templates,
            lambda page: (page.resource_templates, page.next_cursor),
        )

    async def prompts(self) -> tuple[types.Prompt, ...]:
        """As :meth:`resources`, for prompts."""
        if self.client.server_capabilities.prompts is None:
            return ()
        return await self._listed("prompts", self.client.list_prompts, lambda page: (page.prompts, page.next_cursor))

    async def _listed(
        self, key: str, fetch: Callable[..., Awaitable[Any]], split: Callable[[Any], tuple[list[Item], str | None]]
    ) -> tuple[Item, ...]:
        if key not in self._lists:
            self._lists[key] = await _all(fetch, split)
        return self._lists[key]

    # Requests.

    async def call(self, attempt: CallAttempt, arguments: dict[str, Any]) -> types.CallToolResult:
        """Send one call and return the answer, errors of the tool included.

        Raises:
            MCPError: the server answered with an error, or the connection was lost.
            RuntimeError, ValueError: the answer is not what the tool or the protocol promises.
        """
        context = attempt.context
        meta: dict[str, Any] = {DEPTH_META_KEY: context.depth + 1}
        if context.on_log is not None and self.is_modern:
            meta[types.LOG_LEVEL_META_KEY] = "info"
        if (trace := trace_context.current()) is not None:
            meta |= trace.fields  # the SDK replaces it where it records a span of its own
        with attempt.current():
            return await self.client.call_tool(
                attempt.tool,
                arguments,
                progress_callback=_progress(attempt) if context.on_progress is not None else None,
                # An open mapping, which the type checker does not know as such.
                meta=cast("types.RequestParamsMeta", meta),
            )

    async def check_health(self) -> None:
        """Send a request that every server answers at once; an error is an answer too.

        Raises:
            ConnectionLostError: there was no answer in time.
        """
        session = self.client.session
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                if self.is_modern:
                    await session.send_discover(self.client.protocol_version)
                else:
                    await session.send_ping()
        except TimeoutError:
            raise ConnectionLostError(f"gave no sign of life for {HEALTH_SECONDS:g} s") from None
        except MCPError:
            if self.lost_reason is not None:
                raise ConnectionLostError(self.lost_reason) from None

    # Notifications.

    async def handle_notification(self, message: IncomingMessage) -> None:
        """Handle a notification: outdated listings are dropped."""
        match message:
            case types.ToolListChangedNotification():
                self._forget_tools()
            case types.ResourceListChangedNotification():
                self._lists.pop("resources", None)
                self._lists.pop("templates", None)
            case types.PromptListChangedNotification():
                self._lists.pop("prompts", None)

    def _forget_tools(self) -> None:
        self.has_new_tools = True
        self._on_news()

    async def listen(self) -> None:
        """Keep the stream open on which a server of 2026-07-28 announces changes; older ones need none."""
        capabilities = self.client.server_capabilities
        tools = bool(capabilities.tools and capabilities.tools.list_changed)
        resources = bool(capabilities.resources and capabilities.resources.list_changed)
        prompts = bool(capabilities.prompts and capabilities.prompts.list_changed)
        while self.is_modern and (tools or resources or prompts):
            try:
                async with self.client.listen(
                    tools_list_changed=tools, resources_list_changed=resources, prompts_list_changed=prompts
                ) as subscription:
                    async for _ in subscription:
                        pass  # the same event comes to handle_notification
            except (MCPError, SubscriptionLost, TimeoutError) as error:
                log.debug("mcp_listen_ended", server=self._entry.name, reason=type(error).__name__)
            if self.lost_reason is not None:
                return
            await asyncio.sleep(RELISTEN_SECONDS)
            # Changes in between are not announced again.
            self._lists.clear()
            self._forget_tools()

    # Start and end.

    @asynccontextmanager
    async def streams(self, stderr: LineBuffer) -> AsyncGenerator[Streams, None]:
        """Open the streams to and from the server, as configured."""
        transport = self._entry.transport
        assert transport is not None, "a server that cannot be used is not connected"
        if isinstance(transport, StdioTransport):
            async with started(transport, stderr, self.lose, self.repair) as process:
                self.pid = process.pid
                yield process.incoming, process.outgoing
        else:
            async with reached(transport, self.lose, self.repair) as (streams, http):
                self._http = http
                yield streams

    def repair(self, message: types.JSONRPCMessage) -> None:
        """Change an answer that the SDK would refuse into one that it accepts."""
        if self._client is not None and isinstance(message, types.JSONRPCResponse):
            message.result = repaired(message.result, self._client.protocol_version, self._note_malformed)

    def _note_malformed(self, problem: ToolProblemReport) -> None:
        self.malformed = (*self.malformed, problem)

    def complete_handshake(self, client: Client) -> None:
        """Note that the handshake is done: from now on the connection can be used."""
        self._client = client
        if self._http is not None:
            self._http.is_handshake_done = True
            self._http.last_refusal = None  # older servers refuse the request for their protocol version


@asynccontextmanager
async def connected(
    connection: Connection, entry: ServerEntry, features: ClientFeatures, stderr: LineBuffer
) -> AsyncGenerator[None, None]:
    """Connect; ``connection`` can be used within the context, until it is lost.

    Raises:
        Exception: whatever the SDK and the operating system raise, in groups or not; also out of the body.
    """
    mode: ConnectMode = entry.protocol
    client = Client(
        connection.streams(stderr),
        mode=mode,
        client_info=CLIENT,
        message_handler=connection.handle_notification,
        cache=None,
        **features.callbacks(),
    )
    async with client:
        connection.complete_handshake(client)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.listen)
            yield
            tasks.cancel_scope.cancel()


async def _all(
    fetch: Callable[..., Awaitable[Any]], split: Callable[[Any], tuple[list[Item], str | None]]
) -> tuple[Item, ...]:
    """Return the items of all pages; raises ConnectionLostError if they do not arrive in time, or do not end."""
    found: list[Item] = []
    cursor: str | None = None
    try:
        async with asyncio.timeout(LIST_SECONDS):
            for _ in range(MAX_PAGES):
                items, following = split(await fetch(cursor=cursor))
                found.extend(items)
                if following is None or following == cursor:
                    return tuple(found)
                cursor = following
    except TimeoutError:
        raise ConnectionLostError(f"did not list what it has within {LIST_SECONDS:g} s") from None
    raise ConnectionLostError(f"has more than {MAX_PAGES} pages in one listing")


def _progress(attempt: CallAttempt) -> ProgressFnT:
    async def report(progress: float, total: float | None, message: str | None) -> None:
        assert attempt.context.on_progress is not None
        await attempt.context.on_progress(
            ToolProgress(server=attempt.server, tool=attempt.tool, progress=progress, total=total, message=message)
        )

    return report
