"""What every request passes first: the key, the request's id, and the answer to what nobody else answers."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelhost.errors import ForeignOrigin, HostFault, ModelhostError, RequestError, Unauthorized
from modelhost.http.errors import Answer, error_answer
from modelhost.http.keys import ApiKeys
from modelhost.http.origins import Origins
from modelhost.logs import get_logger
from modelhost.meters import METERS

log = get_logger(__name__)

OPEN_PATHS = frozenset({"/health", "/ready", "/version", "/docs", "/openapi.json"})
DOCS_FILES = "/docs-files"  # the scripts and styles of /docs
ACTOR: Final = "modelhost.actor"
"""In the scope: who asks, by the name of the API key."""
Direct = Mapping[tuple[str, str], ASGIApp]
"""Applications by method and path."""
NOTHING: Final[Direct] = MappingProxyType({})
ANONYMOUS: Final = "anonymous"
"""Who asks a host without keys, or what needs none."""
REQUEST_ID: Final = "modelhost.request_id"
"""In the scope: the id of the request, as its answer has it."""


class Edge:
    """Wraps the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        direct: Direct = NOTHING,
        api_keys: Sequence[str],
        origins: Origins,
        answer_of: Callable[[str, ModelhostError], Answer] = lambda _path, error: error_answer(error),
    ) -> None:
        """Take the application, and ``direct``: what answers without the application's routing.

        ``answer_of`` makes an answer of a refusal, by the path.
        """
        self._app = app
        self._answer_of = answer_of
        self._origins = origins
        self._direct = direct
        self._keys = ApiKeys(api_keys) if api_keys else None
        self._start = secrets.token_hex(6)
        self._count = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _header(scope, b"x-request-id") or f"req-{self._start}-{next(self._count)}".encode()
        scope[REQUEST_ID] = request_id.decode("latin-1")
        scope[ACTOR] = ANONYMOUS

        has_begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        error: ModelhostError | None = self._refusal(scope)
        if error is None:
            app = self._direct.get((scope["method"], scope["path"]), self._app)
            try:
                await app(scope, receive, send_with_id)
            except Exception:
                if has_begun:
                    raise  # the server logs it, and cuts the connection
                log.exception("request_failed", path=scope["path"])
                error = HostFault()
            else:
                return
        METERS.errors.labels("", error.code).inc()
        status, headers, body = self._answer_of(scope["path"], error)
        await send_with_id({"type": "http.response.start", "status": status, "headers": headers})
        await send_with_id({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Scope) -> RequestError | None:
        """Return why the request is not let in; of one that is, note who asks."""
        if self._keys is None and (origin := _header(scope, b"origin")) is not None:
            try:
                self._origins.check(origin, _header(scope, b"host"))
            except ForeignOrigin as error:
                return error
        if self._keys is None or _is_open(scope["path"]) or scope["method"] == "OPTIONS":
            return None
        scheme, _, given = (_header(scope, b"authorization") or b"").partition(b" ")
        given = given.strip() if scheme.lower() == b"bearer" else (_header(scope, b"x-api-key") or b"")
        if not given:
            return Unauthorized("This host needs an API key: send it as `Authorization: Bearer KEY`.")
        actor = self._keys.actor(given)
        if actor is None:
            return Unauthorized("The API key is not one of this host's.")
        scope[ACTOR] = actor
        return None


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(DOCS_FILES + "/")


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None
