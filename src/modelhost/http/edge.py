"""What every request passes first: the key, the request's id, and the answer to what nobody else answers."""

from __future__ import annotations

import hmac
import itertools
import secrets
from collections.abc import Mapping, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelhost.errors import ForeignOrigin, RequestError, Unauthorized
from modelhost.http.errors import error_answer
from modelhost.http.origins import Origins
from modelhost.meters import METERS

OPEN_PATHS = frozenset({"/health", "/ready", "/version", "/docs", "/openapi.json"})
DOCS_FILES = "/docs-files"  # the scripts and styles of /docs


class Edge:
    """Wraps the application."""

    def __init__(
        self, app: ASGIApp, *, posts: Mapping[str, ASGIApp], api_keys: Sequence[str], origins: Origins
    ) -> None:
        """Take the application, and ``posts`` by path: what answers POST requests without the application's routing."""
        self._app = app
        self._origins = origins
        self._posts = posts
        self._keys = [key.encode() for key in api_keys]
        self._start = secrets.token_hex(6)
        self._count = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _header(scope, b"x-request-id") or f"req-{self._start}-{next(self._count)}".encode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        error = self._refusal(scope)
        if error is None:
            app = self._posts.get(scope["path"], self._app) if scope["method"] == "POST" else self._app
            await app(scope, receive, send_with_id)
            return
        METERS.errors.labels("", error.code).inc()
        status, headers, body = error_answer(error)
        await send_with_id({"type": "http.response.start", "status": status, "headers": headers})
        await send_with_id({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Scope) -> RequestError | None:
        if not self._keys and (origin := _header(scope, b"origin")) is not None:
            try:
                self._origins.check(origin, _header(scope, b"host"))
            except ForeignOrigin as error:
                return error
        if not self._keys or _is_open(scope["path"]) or scope["method"] == "OPTIONS":
            return None
        scheme, _, given = (_header(scope, b"authorization") or b"").partition(b" ")
        given = given.strip() if scheme.lower() == b"bearer" else (_header(scope, b"x-api-key") or b"")
        if not given:
            return Unauthorized("This host needs an API key: send it as `Authorization: Bearer KEY`.")
        # Every key is compared, in constant time: the time taken tells nothing.
        matches = [hmac.compare_digest(given, key) for key in self._keys]
        return None if any(matches) else Unauthorized("The API key is not one of this host's.")


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(DOCS_FILES + "/")


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None
