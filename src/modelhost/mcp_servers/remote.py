"""A running host as what answers, over its HTTP API.

Every call is a request of its own: a host that was restarted meanwhile is no trouble to the next one.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, Self

import httpx2
import orjson

from modelhost.config.network import require_certificates
from modelhost.errors import ConfigError, HostUnreachable
from modelhost.exchange.bodies import client_body_of
from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.chunk_reading import ChunkReader, MalformedChunkError
from modelhost.exchange.events import Piece, Pieces, PieceStream
from modelhost.exchange.requests import ChatRequest
from modelhost.exchange.sse import DATA, DONE, END_OF_EVENT
from modelhost.mcp_servers.backend import log_call
from modelhost.operations.host_errors import error_in, error_of_status
from modelhost.operations.model_values import OneModel
from modelhost.operations.models import INFO, LIST
from modelhost.operations.operation import NoParameters, OnProgress, Operation, P, R, ignored
from modelhost.operations.perform import Performance
from modelhost.operations.remote_calls import (
    EVENT_STREAM,
    PROGRESS,
    RESULT,
    event_in,
    progress_in,
    request_of,
    result_in,
)
from modelhost.workers.depth import DEPTH_HEADER

CONNECT_SECONDS: Final = 10.0
REMEMBER_SECONDS: Final = 1.0
"""Request defaults are asked for before each chat, and hardly ever change."""
IDLE_CONNECTIONS: Final = 32


class RemoteBackend:
    """The host at ``url`` (a scheme, a host, no ``/v1``); to be closed."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self._url = url
        headers = {"User-Agent": "modelhost"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        is_encrypted = url.startswith("https")
        if is_encrypted:
            require_certificates()
        try:
            self._http = httpx2.AsyncClient(
                base_url=url,
                headers=headers,
                # Models take their time: there is no limit to waiting for an answer, only for a connection.
                timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=IDLE_CONNECTIONS),
                trust_env=False,  # no proxies
                verify=httpx2.create_ssl_context(trust_env=is_encrypted),
            )
        except (ValueError, httpx2.InvalidURL) as error:
            raise ConfigError(f"the key or the address {url} has characters that HTTP does not allow") from error
        self._defaults: dict[str | None, tuple[float, Mapping[str, Any]]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def run(self, operation: Operation[Any, P, R], parameters: P, on_progress: OnProgress = ignored) -> R:
        """Have the host run an operation.

        Raises:
            ModelhostError: the one that the operation raised in the host, or ``HostUnreachable``.
        """
        method, path, body = request_of(operation, parameters)
        if not operation.is_read_only:
            self._defaults.clear()
        headers = {"Accept": EVENT_STREAM} if operation.tells_progress else {}
        async with self._answer(method, path, body, headers) as response:
            if response.headers.get("content-type", "").startswith(EVENT_STREAM):
                return result_in(operation, await self._told_result(response, on_progress), self._url)
            content = await _whole(response, self._url)
        try:
            answer = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise HostUnreachable(f"{self._url} did not send whole JSON; is it a modelhost?") from error
        return result_in(operation, answer, self._url)

    async def _told_result(self, response: httpx2.Response, on_progress: OnProgress) -> Any:
        """The result of an operation that tells how far it is; an error among the events is raised."""
        rest = b""
        try:
            async for chunk in response.aiter_raw():
                *blocks, rest = (rest + chunk).split(END_OF_EVENT)
                for name, data in filter(None, map(event_in, blocks)):
                    if name == RESULT:
                        return data
                    if name == PROGRESS:
                        on_progress(progress_in(data))
                    elif error := error_in(data):
                        raise error
        except httpx2.HTTPError as error:
            raise self._went_away() from error
        except ValueError as error:
            raise HostUnreachable(f"{self._url} sent something else than events; is it a modelhost?") from error
        raise self._went_away()

    @asynccontextmanager
    async def chat(self, request: ChatRequest, caller: Caller = NOBODY) -> AsyncIterator[Pieces]:
        """Have the host answer a chat, piece by piece; leaving the context cancels the generation.

        Raises:
            ModelhostError: the one that the host raised, on entering or in the middle of the answer; or
                ``HostUnreachable``.
        """
        headers = {DEPTH_HEADER: str(caller.depth)} if caller.depth else {}
        async with (
            self._answer("POST", "/v1/chat/completions", client_body_of(request), headers) as response,
            aclosing(self._pieces(response)) as pieces,
        ):
            yield pieces

    async def request_defaults(self, model: str | None) -> Mapping[str, Any]:
        """Return what requests to ``model`` get where they are silent, as it was a moment ago at most; raises as
        :meth:`run` does."""
        asked_at, known = self._defaults.get(model, (-REMEMBER_SECONDS, {}))
        now = time.monotonic()
        if now - asked_at < REMEMBER_SECONDS:
            return known
        name = model or await self._active_model()
        found = (await self.run(INFO, OneModel(model_id=name))).config.defaults if name else {}
        self._defaults = {model: (now, found)}
        return found

    @asynccontextmanager
    async def performing(self, call: Performance) -> AsyncIterator[None]:
        """Measure and log a call; the host that is asked admits its requests, and keeps its own account of them."""
        try:
            with call:
                yield
        finally:
            log_call(call, call.named_model)

    async def _active_model(self) -> str | None:
        cards = (await self.run(LIST, NoParameters())).models
        return cards[0].id if cards else None

    async def _pieces(self, response: httpx2.Response) -> PieceStream:
        """The pieces of a stream; an error among its events is raised."""
        rest, reader = b"", ChunkReader()
        has_ended = False
        try:
            async for chunk in response.aiter_raw():
                *events, rest = (rest + chunk).split(END_OF_EVENT)
                for data in (event[len(DATA) :].strip() for event in events if event.startswith(DATA)):
                    has_ended = data == DONE
                    if not has_ended:
                        yield _piece_in(data, reader)
        except httpx2.HTTPError as error:
            raise self._went_away() from error
        if not has_ended:
            raise self._went_away()

    def _went_away(self) -> HostUnreachable:
        return HostUnreachable(f"the host at {self._url} went away in the middle of the answer; ask again")

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[httpx2.Response]:
        """The answer to one request; its status is below 400."""
        content = None if body is None else orjson.dumps(body)
        typed = {} if content is None else {"Content-Type": "application/json"}
        request = self._http.build_request(method, path, content=content, headers={**typed, **(headers or {})})
        try:
            response = await self._http.send(request, stream=True)
        except httpx2.HTTPError as error:
            why = str(error) or type(error).__name__
            raise HostUnreachable(
                f"no modelhost answers at {self._url} ({why}); start one with: modelhost serve"
            ) from error
        async with aclosing(response):
            if response.status_code >= httpx2.codes.BAD_REQUEST:
                refused = await _whole(response, self._url)
                raise error_of_status(
                    self._url, response.status_code, refused, retry_after=response.headers.get("retry-after")
                )
            yield response


async def _whole(response: httpx2.Response, url: str) -> bytes:
    try:
        return await response.aread()
    except httpx2.HTTPError as error:
        raise HostUnreachable(f"the host at {url} went away in the middle of the answer; ask again") from error


def _piece_in(data: bytes, reader: ChunkReader) -> Piece:
    try:
        told = orjson.loads(data)
        if error := error_in(told):
            raise error
        return reader.read(told)
    except (orjson.JSONDecodeError, MalformedChunkError):
        raise HostUnreachable("the host sent an event that is not JSON; is it a modelhost?") from None
