"""The Responses API over a WebSocket: one response after the other, with the events of a stream as text frames.

A message of the client is ``{"type": "response.create", …}`` with the fields of ``POST /v1/responses``. An error that
comes before a response begins is an event ``error`` with a status and an object as in the answer of a ``POST``. The
last response that is not stored can be continued on the same socket, until a continuation of it fails.

https://www.openresponses.org/specification (WebSocket Transport)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.types import Receive, Scope, Send

from modelhost import errors
from modelhost.chat.notes import ON_NOTE
from modelhost.disconnect import ClientDisconnected, cancel_on_disconnect
from modelhost.errors import ModelhostError
from modelhost.http.endpoint import check_model, operator_of
from modelhost.http.errors import error_answer, error_object
from modelhost.http.exchange import CLIENT_DISCONNECTED_STATUS
from modelhost.http.measuring import model_label, note_cancelled, note_request
from modelhost.http.responses.bodies import CreateResponse
from modelhost.http.responses.errors import status_of
from modelhost.http.responses.items import Event, Item
from modelhost.http.responses.preparing import prepared
from modelhost.http.responses.running import Responses, Run
from modelhost.http.responses.writing import Delivery, EventGroups
from modelhost.http.validation import checked
from modelhost.http.web_socket import NORMAL, RESTART, WebSocket, accepted
from modelhost.logs import get_logger

log = get_logger(__name__)

SECONDS: Final = 3600.0
"""How long a socket may stay open, as in the specification."""
CREATE: Final = "response.create"
GENERATE: Final = "generate"
"""In a message: whether the model is to answer at all, or the next message goes on with the input of this one."""
NO_FIELDS: Final = frozenset({"type", "stream", GENERATE})
"""Fields of a message that are not those of a response."""
NO_USAGE: Final = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}
NOTES: Final = "modelhost.notes"
"""In the first event: what is the header ``x-modelhost-notes`` elsewhere."""


class ResponsesSocket:
    """Answers handshakes at the path of responses."""

    def __init__(self, responses: Responses, stopping: asyncio.Event, seconds: float = SECONDS) -> None:
        """``stopping`` ends sockets that are idle; ``seconds`` is how long one may stay open."""
        self._responses = responses
        self._stopping = stopping
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        deadline = asyncio.get_running_loop().time() + self._seconds
        with suppress(ClientDisconnected):
            async with accepted(receive, send) as socket:
                await _Session(self._responses, scope, socket, self._stopping, deadline).run()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A response that is not stored, and may be continued."""

    response_id: str
    items: Sequence[Item]
    """The whole conversation, its output included."""


class _Session:
    """What one client has on its socket."""

    def __init__(
        self, responses: Responses, scope: Scope, socket: WebSocket, stopping: asyncio.Event, deadline: float
    ) -> None:
        self._responses = responses
        self._scope = scope
        self._socket = socket
        self._stopping = stopping
        self._deadline = deadline
        self._kept: _Kept | None = None
        self._is_cancelled = False

    async def run(self) -> None:
        """Answer until the client leaves, the host stops or the time is over; raises ClientDisconnected."""
        loop = asyncio.get_running_loop()
        while not self._is_cancelled:
            message = await self._socket.next(until=self._stopping, seconds=self._deadline - loop.time())
            if message is None:
                break
            await self._turn(message)
        if self._is_cancelled or self._stopping.is_set():
            await self._socket.close(RESTART, "The host stops.")
            return
        hours = "This socket has been open for as long as one may be. Open another one."
        await self._socket.send(_error_event(errors.ConnectionLimitReached(hours)))
        await self._socket.close(NORMAL)

    async def _turn(self, message: str | bytes) -> None:
        began = time.perf_counter()
        turn = _Turn(self._responses, self._scope, self._kept)
        status, code = await self._settled(turn, message)
        self._kept = turn.kept
        model = model_label(self._responses.host, turn.model)
        seconds = time.perf_counter() - began
        note_request("request", log, operation="responses", model=model, status=status, code=code, seconds=seconds)
        note_cancelled(model, status)
        if status == CLIENT_DISCONNECTED_STATUS:
            raise ClientDisconnected

    async def _settled(self, turn: _Turn, message: str | bytes) -> tuple[int, str | None]:
        """Answer ``message``; return the status that the answer of a ``POST`` would have, and the code of its error."""
        error: ModelhostError
        try:
            async with cancel_on_disconnect(self._socket.disconnected):
                async with aclosing(turn.events(message)) as events:
                    async for event in events:
                        await self._socket.send(event)
                return turn.outcome
        except ClientDisconnected:
            return CLIENT_DISCONNECTED_STATUS, None
        except ModelhostError as caught:
            error = caught
        except asyncio.CancelledError:
            # The server cancels what is left after its shutdown timeout, and waits for this.
            self._is_cancelled = True
            error = errors.ShuttingDown("The host was stopped before the answer was complete.")
        except Exception:
            log.exception("request_failed", path=self._scope["path"])
            error = errors.HostFault()
        turn.forget()
        with suppress(ClientDisconnected):
            await self._socket.send(_error_event(error))
        return error_answer(error)[0], error.code


class _Turn:
    """One response."""

    def __init__(self, responses: Responses, scope: Scope, kept: _Kept | None) -> None:
        self._responses = responses
        self._scope = scope
        self.kept = kept
        self.model: Any = None
        self.outcome: tuple[int, str | None] = (200, None)
        self._notes: list[str] = []
        self._previous_id: str | None = None
        self._generates = True

    def forget(self) -> None:
        """Give up the kept response, if this one was to continue it."""
        if self.kept is not None and self.kept.response_id == self._previous_id:
            self.kept = None

    async def events(self, message: str | bytes) -> AsyncGenerator[Event, None]:
        """Yield the events of the response.

        Raises:
            ModelhostError: before the first of them.
        """
        ON_NOTE.set(self._notes.append)
        given = checked(CreateResponse, self._fields(message))
        run = await self._run(given)
        last: Event | None = None
        made = await self._responses.events(run) if self._generates else _without_output(run)
        async with aclosing(made) as groups:
            async for group in groups:
                for event in group:
                    yield {**event, NOTES: self._notes} if last is None and self._notes else event
                    last = event
        assert last is not None
        self._note_end(run, last["response"])

    async def _run(self, given: CreateResponse) -> Run:
        """Return the response to make. That of one that is not stored has the whole conversation as its input."""
        delivery = Delivery(caller=operator_of(self._scope))
        history: Sequence[Item] | None = None
        if self.kept is not None and self.kept.response_id == self._previous_id:
            history = self.kept.items
        elif given.store is False or not self._generates:
            before = await self._responses.history(given.previous_response_id, given.conversation_id, delivery.caller)
            history = before.items
        return await prepared(self._responses, given, delivery, history=history)

    def _note_end(self, run: Run, response: Item) -> None:
        if response["status"] == "failed":
            code = response["error"]["code"]
            self.outcome = status_of(code), code
            self.forget()
        elif not run.is_stored or not self._generates:
            self.kept = _Kept(response_id=response["id"], items=[*run.own_input, *response["output"]])

    def _fields(self, message: str | bytes) -> dict[str, Any]:
        """Return the fields of the request in a message; raises InvalidJson or InvalidRequest."""
        try:
            fields = orjson.loads(message)
        except orjson.JSONDecodeError as error:
            raise errors.InvalidJson(f"The message is not valid JSON: {error}.") from None
        if not isinstance(fields, dict) or fields.get("type") != CREATE:
            raise errors.InvalidRequest(f'type: the messages of this socket are of the type "{CREATE}".', param="type")
        self.model, self._previous_id = fields.get("model"), fields.get("previous_response_id")
        check_model(self._responses.host, self.model)
        self._generates = fields.get(GENERATE, True)
        if not isinstance(self._generates, bool):
            raise errors.InvalidRequest(f"{GENERATE}: it is either true or false.", param=GENERATE)
        if fields.get("background"):
            raise errors.InvalidRequest(
                "background: send the request as a POST; a socket has no background.", param="background"
            )
        return {name: value for name, value in fields.items() if name not in NO_FIELDS} | {"stream": True}


async def _without_output(run: Run) -> EventGroups:
    """Yield the events of a response for which no model is asked."""
    done = {"status": "completed", "completed_at": int(time.time()), "usage": NO_USAGE}
    created = {"type": "response.created", "sequence_number": 0, "response": run.response}
    yield [created, {"type": "response.completed", "sequence_number": 1, "response": {**run.response, **done}}]


def _error_event(error: ModelhostError) -> Event:
    return {"type": "error", "status": error_answer(error)[0], **error_object(error)}
