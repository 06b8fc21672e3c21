"""The outermost ASGI application: checks keys and origins, adds request ids, and answers unexpected errors."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Container, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelhost.config.settings import Settings
from modelhost.config.value_types import BOOLEANS
from modelhost.errors import (
    ForeignOrigin,
    HostFault,
    ModelhostError,
    NotFound,
    RequestError,
    Unauthorized,
    UnsupportedEncoding,
)
from modelhost.http.errors import Answer, error_answer
from modelhost.http.exchange import Sending
from modelhost.http.keys import ApiKeys
from modelhost.http.ollama.paths import VERSION as OLLAMA_VERSION
from modelhost.http.openai.images.paths import FILES as IMAGE_FILES
from modelhost.http.origins import Cors, Origins
from modelhost.http.traced import is_traced, name_route, note_refusal, traced, traced_socket
from modelhost.http.wire.encodings import decoded
from modelhost.logs import get_logger
from modelhost.meters import METERS

log = get_logger(__name__)

OPEN_PATHS = frozenset({"/health", "/ready", "/version", OLLAMA_VERSION, "/docs", "/openapi.json"})
DOCS_FILES = "/docs-files"  # the scripts and styles of /docs
ACTOR: Final = "modelhost.actor"
"""In the scope: the name of the API key; absent without keys, or where none is required."""
Headers = Mapping[bytes, bytes]
AnswerOf = Callable[[str, ModelhostError, Headers], Answer]
Added = list[tuple[bytes, bytes]]
"""Headers of every answer."""
Direct = Mapping[tuple[str, str], ASGIApp]
"""Applications by method and path."""
NOTHING: Final[Direct] = MappingProxyType({})
WEB_SOCKET: Final = "websocket"
"""The type of a scope, and in place of a method in :data:`Direct`."""
REQUEST_ID: Final = "modelhost.request_id"
"""In the scope: the id of the request, also a header of the answer."""


class Edge:
    """Wraps the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        direct: Direct = NOTHING,
        settings: Settings,
        answer_of: AnswerOf = lambda _path, error, _headers: error_answer(error),
        open_at: Container[tuple[str, str]] = (),
    ) -> None:
        """Take the application, and ``direct``: applications that bypass its routing.

        ``settings`` control access. ``answer_of`` renders a refusal for a path and headers. ``open_at`` are methods and
        paths that need no key, besides those that never do.
        """
        self._open_at = open_at
        self._app = app
        self._answer_of = answer_of
        self._direct = direct
        self._start = secrets.token_hex(6)
        self._count = itertools.count(1)
        self.admit(settings)

    def admit(self, settings: Settings) -> None:
        """Apply the access control of ``settings`` from the next request on."""
        keys = [key.get_secret_value() for key in settings.api_keys]
        self._keys = ApiKeys(keys) if keys else None
        self._origins = Origins(settings.allow_origin, hosts=(*settings.allowed_host, settings.host))
        self._cors = Cors(self._origins) if self._origins.allow_some else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", WEB_SOCKET):
            await self._app(scope, receive, send)
            return
        headers = dict(reversed(scope["headers"]))  # the first of several counts
        request_id = headers.get(b"x-request-id") or f"req-{self._start}-{next(self._count)}".encode()
        scope[REQUEST_ID] = request_id.decode("latin-1")
        added = [(b"x-request-id", request_id)]
        if scope["type"] == WEB_SOCKET:
            with traced_socket(headers):
                await self._web_socket(scope, receive, send, headers, added)
        else:
            if self._cors is not None:
                added += self._cors.headers(headers.get(b"origin"))
            if is_traced(headers):
                await traced(scope, send, headers, lambda sending: self._http(scope, receive, sending, headers, added))
            else:
                await self._http(scope, receive, send, headers, added)

    async def _http(self, scope: Scope, receive: Receive, send: Send, headers: Headers, added: Added) -> None:
        if scope["method"] == "HEAD" and ("HEAD", scope["path"]) not in self._direct:  # wherever GET is
            scope, send = {**scope, "method": "GET"}, _head_of(send)
        sending = Sending(send, added)
        try:
            answer = self._answer_at_once(scope, headers)
            if answer is None:
                if b"content-encoding" in headers:
                    scope, receive = decoded(scope, receive, _encoding_of(scope))
                app = self._direct.get((scope["method"], scope["path"]), self._app)
                try:
                    await app(scope, receive, sending)
                finally:
                    name_route(scope, is_direct=app is not self._app)
        except UnsupportedEncoding as error:
            answer = self._refused(scope, error, headers)
        except Exception:
            if sending.has_begun:
                raise  # the server logs it and closes the connection
            log.exception("request_failed", path=scope["path"])
            answer = self._refused(scope, HostFault(), headers)
        if answer is not None:
            status, answer_headers, body = answer
            await sending({"type": "http.response.start", "status": status, "headers": answer_headers})
            await sending({"type": "http.response.body", "body": body})

    async def _web_socket(self, scope: Scope, receive: Receive, send: Send, headers: Headers, added: Added) -> None:
        """Have the application answer a handshake, or refuse it with an ordinary answer."""
        has_begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            if message["type"] in ("websocket.accept", "websocket.http.response.start"):
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        error: ModelhostError | None = self._refusal(scope, headers)
        app = self._direct.get((WEB_SOCKET, scope["path"]))
        if error is None and app is None:
            error = NotFound("There is no WebSocket at this path.")
        try:
            if error is None and app is not None:
                await app(scope, receive, send_with_id)
        except Exception:
            log.exception("request_failed", path=scope["path"])
            error = HostFault()
        if error is not None and not has_begun:
            status, answer_headers, body = self._refused(scope, error, headers)
            start = {"type": "websocket.http.response.start", "status": status, "headers": answer_headers}
            await send_with_id(start)
            await send_with_id({"type": "websocket.http.response.body", "body": body})

    def _answer_at_once(self, scope: Scope, headers: Headers) -> Answer | None:
        """Return an answer that does not need the application: a refusal, or that to a preflight request."""
        error = self._refusal(scope, headers)
        if error is None:
            return None if self._cors is None else self._cors.preflight(scope["method"], headers)
        return self._refused(scope, error, headers)

    def _refused(self, scope: Scope, error: ModelhostError, headers: Headers) -> Answer:
        METERS.errors.labels("", error.code).inc()
        answer = self._answer_of(scope["path"], error, headers)
        note_refusal(scope, status=answer[0], code=error.code)
        return answer

    def _refusal(self, scope: Scope, headers: Headers) -> RequestError | None:
        """Return why the request is refused, or note the name of its key."""
        if self._keys is None:
            return self._foreign(headers)
        method = scope.get("method")
        if _is_open(scope) or method == "OPTIONS" or (method, scope["path"]) in self._open_at:
            return None
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        given = given.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")
        if not given:
            return Unauthorized("This host needs an API key: send it as `Authorization: Bearer KEY`.")
        actor = self._keys.actor(given)
        if actor is None:
            return Unauthorized("The API key is not one of this host's.")
        scope[ACTOR] = actor
        return None

    def _foreign(self, headers: Headers) -> RequestError | None:
        """Return why a request without a key may be that of somebody else's page; whoever knows a key is none."""
        host, origin = headers.get(b"host"), headers.get(b"origin")
        try:
            self._origins.check_host(host)
            if origin is not None:
                self._origins.check(origin, host)
        except ForeignOrigin as error:
            return error
        return None


def _encoding_of(scope: Scope) -> bytes:
    return b", ".join(value for name, value in scope["headers"] if name == b"content-encoding")


def _head_of(send: Send) -> Send:
    """Return what sends the head of an answer and ends it: some answers would go on for as long as somebody listens."""
    has_begun = False

    async def send_head(message: Message) -> None:
        nonlocal has_begun
        if not has_begun:
            has_begun = True
            await send(message)
            await send({"type": "http.response.body", "body": b""})

    return send_head


def _is_open(scope: Scope) -> bool:
    path = scope["path"]
    if path in OPEN_PATHS:
        return not is_deep_health(scope)
    return bool(path.startswith((DOCS_FILES + "/", IMAGE_FILES + "/")))  # the URLs of images are signed


def is_deep_health(scope: Scope) -> bool:
    """Whether it is the probe that says what is wrong with the host, for those who have a key."""
    query: bytes = scope.get("query_string", b"")
    return query != b"" and scope["path"] == "/health" and _is_set(query, "deep")


def _is_set(query: bytes, name: str) -> bool:
    return BOOLEANS.get(dict(parse_qsl(query.decode("latin-1"))).get(name, "").strip().lower(), False)
