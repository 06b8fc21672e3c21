"""What a client is told of an answer with tools: one role, one id and one end for all turns, and what happens besides.

What happens besides stands in extension fields of chunks whose delta is empty:

* ``modelhost.tool_call``: a call begins: ``id, name, arguments``;
* ``modelhost.tool_progress``: how far it is: ``id, progress, total, message``;
* ``modelhost.tool_log``: a server's remark while it works on a call: ``server, level, logger, data``;
* ``modelhost.tool_result``: it is over: ``id, name, server, tool, is_error, code, text, seconds``;
* ``modelhost.tool_cancelled``: the host has ended it: ``id, name``;
* ``modelhost.question``: somebody has to agree, or to tell a server something (:mod:`modelhost.chat.questions`);
* ``modelhost.finish_details``, on the last piece: why the host ended the loop (``type``, ``message``);
* ``modelhost.waiting_for_tools``, before all else: the request waits for MCP servers: ``servers, seconds``;
* ``modelhost.tools``, on the first piece: what the model did not get (``missing``: ``server, state`` of each).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from modelhost.chat.tool_calls import WantedCall
from modelhost.tools.context import CallContext, ToolLogLine, ToolProgress
from modelhost.tools.outcome import ToolOutcome

Chunk = dict[str, Any]

CALL: Final = "modelhost.tool_call"
PROGRESS: Final = "modelhost.tool_progress"
LOG: Final = "modelhost.tool_log"
RESULT: Final = "modelhost.tool_result"
CALL_ENDED: Final = "modelhost.tool_cancelled"
QUESTION: Final = "modelhost.question"
EVENTS: Final = frozenset({CALL, PROGRESS, LOG, RESULT, CALL_ENDED, QUESTION})
"""What happens on the way; a whole answer holds the calls with their results only."""
FINISH_DETAILS: Final = "modelhost.finish_details"
WAITING: Final = "modelhost.waiting_for_tools"
TOOLS: Final = "modelhost.tools"

CHUNKS_AHEAD: Final = 64
"""That are kept for a client that is slow to take them."""


class Told:
    """The chunks on their way to the client. Who writes waits for a client that is slow."""

    def __init__(self) -> None:
        self._chunks: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue(CHUNKS_AHEAD)
        self._envelope: Chunk = {}
        self._has_role = False

    async def next(self) -> Chunk | None:
        """Return the next chunk, none at the end; raises what :meth:`fail` was given."""
        chunk = await self._chunks.get()
        if isinstance(chunk, BaseException):
            raise chunk
        return chunk

    async def written(self, chunk: Chunk, choice: Chunk) -> None:
        """Pass on what the model says in ``choice``, a part of ``chunk``."""
        if not self._envelope:
            left_out = ("choices", "usage", "timings")
            self._envelope = {key: value for key, value in chunk.items() if key not in left_out}
        delta = {key: value for key, value in choice["delta"].items() if key != "role"}
        begins = not self._has_role and "role" in choice["delta"]
        if begins or any(value is not None for value in delta.values()):
            await self._delta(delta, choice)

    async def say(self, text: str) -> None:
        """Add ``text`` to the answer."""
        await self._delta({"content": text}, {"index": 0})

    async def event(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Tell what happens."""
        await self._chunks.put(self._event(kind, payload))

    def remark(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Tell what may as well be missed: nobody waits for a slow client because of it."""
        if not self._chunks.full():
            self._chunks.put_nowait(self._event(kind, payload))

    async def finish(
        self, finish_reason: str, kind: str | None, message: str | None, usage: Mapping[str, Any] | None
    ) -> None:
        """End the answer; with ``kind``, it was the host that ended it."""
        last: Chunk = {**self._envelope, "choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]}
        if kind is not None:
            last[FINISH_DETAILS] = {"type": kind, "message": message}
        await self._chunks.put(last)
        await self._chunks.put({**self._envelope, "choices": [], "usage": usage})
        await self._chunks.put(None)

    async def fail(self, error: BaseException) -> None:
        """End the answer with an error."""
        await self._chunks.put(error)

    def in_context(self, context: CallContext, call_id: str) -> CallContext:
        """Return ``context`` with the progress and the log lines of the call ``call_id`` told."""

        async def on_progress(step: ToolProgress) -> None:
            told = {"id": call_id, "progress": step.progress, "total": step.total, "message": step.message}
            self.remark(PROGRESS, told)

        return replace(context, on_progress=on_progress, on_log=self._log)

    async def _log(self, line: ToolLogLine) -> None:
        # The same for all calls of the answer: over a pipe nobody knows which of them a line belongs to.
        self.remark(LOG, asdict(line))

    async def _delta(self, delta: Mapping[str, Any], choice: Mapping[str, Any]) -> None:
        role = {} if self._has_role else {"role": "assistant"}
        self._has_role = True
        await self._chunks.put(
            {**self._envelope, "choices": [{**choice, "delta": {**role, **delta}, "finish_reason": None}]}
        )

    def _event(self, kind: str, payload: Mapping[str, Any]) -> Chunk:
        return {**self._envelope, "choices": [{"index": 0, "delta": {}, "finish_reason": None}], kind: payload}


def call_fields(call: WantedCall) -> dict[str, Any]:
    """Return what is told of a call that begins."""
    return {"id": call.id, "name": call.name, "arguments": call.decoded()}


def result_fields(call: WantedCall, outcome: ToolOutcome) -> dict[str, Any]:
    """Return what is told of a call that is over."""
    return {
        "id": call.id,
        "name": call.name,
        "server": outcome.server,
        "tool": outcome.tool,
        "is_error": outcome.is_error,
        "code": outcome.code,
        "text": outcome.text,
        "seconds": round(outcome.seconds, 4),
    }
