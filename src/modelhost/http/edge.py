"""The outermost ASGI application: checks keys and origins, adds request ids, and answers unexpected errors."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelhost.config.settings import Settings
from modelhost.errors import ForeignOrigin, HostFault, ModelhostError, RequestError, Unauthorized, UnsupportedEncoding
from modelhost.http.cors import Cors
from modelhost.http.errors import Answer, error_answer
from modelhost.http.keys import ApiKeys
from modelhost.http.origins import Origins
from modelhost.http.wire.encodings import decoded
from modelhost.logs import get_logger
from modelhost.meters import METERS

log = get_logger(__name__)

OPEN_PATHS = frozenset({"/health", "/ready", "/version", "/docs", "/openapi.json"})
DOCS_FILES = "/docs-files"  # the scripts and styles of /docs
ACTOR: Final = "modelhost.actor"
"""In the scope: the name of the API key; absent without keys, or where none is required."""
Headers = Mapping[bytes, bytes]
Direct = Mapping[tuple[str, str], ASGIApp]
"""Applications by method and path."""
NOTHING: Final[Direct] = MappingProxyType({})
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
        answer_of: Callable[[str, ModelhostError], Answer] = lambda _path, error: error_answer(error),
    ) -> None:
        """Take the application, and ``direct``: applications that bypass its routing.

        ``settings`` control access. ``answer_of`` renders a refusal for a path.
        """
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
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(reversed(scope["headers"]))  # the first of several counts
        request_id = headers.get(b"x-request-id") or f"req-{self._start}-{next(self._count)}".encode()
        scope[REQUEST_ID] = request_id.decode("latin-1")
        added = [(b"x-request-id", request_id)]
        if self._cors is not None:
            added += self._cors.headers(headers.get(b"origin"))

        has_begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = [*message["headers"], *added]
            await send(message)

        if scope["method"] == "HEAD":  # wherever GET is
            scope, send = {**scope, "method": "GET"}, _head_of(send)
        try:
            answer = self._answer_at_once(scope, headers)
            if answer is None:
                answer = await self._passed_on(scope, receive, send_with_id, headers)
        except Exception:
            if has_begun:
                raise  # the server logs it and closes the connection
            log.exception("request_failed", path=scope["path"])
            answer = self._refused(scope, HostFault())
        if answer is not None:
            status, answer_headers, body = answer
            await send_with_id({"type": "http.response.start", "status": status, "headers": answer_headers})
            await send_with_id({"type": "http.response.body", "body": body})

    async def _passed_on(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> Answer | None:
        """Have the application answer; return a refusal, if there is one."""
        if b"content-encoding" in headers:
            encoding = b", ".join(value for name, value in scope["headers"] if name == b"content-encoding")
            try:
                scope, receive = decoded(scope, receive, encoding)
            except UnsupportedEncoding as error:
                return self._refused(scope, error)
        app = self._direct.get((scope["method"], scope["path"]), self._app)
        await app(scope, receive, send)
        return None

    def _answer_at_once(self, scope: Scope, headers: Headers) -> Answer | None:
        """Return an answer that does not need the application: a refusal, or that to a preflight request."""
        error = self._refusal(scope, headers)
        if error is None:
            return None if self._cors is None else self._cors.preflight(scope["method"], headers)
        return self._refused(scope, error)

    def _refused(self, scope: Scope, error: ModelhostError) -> Answer:
        METERS.errors.labels("", error.code).inc()
        return self._answer_of(scope["path"], error)

    def _refusal(self, scope: Scope, headers: Headers) -> RequestError | None:
        """Return why the request is refused, or note the name of its key."""
        if self._keys is None:
            return self._foreign(headers)
        if _is_open(scope["path"]) or scope["method"] == "OPTIONS":
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


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(DOCS_FILES + "/")
