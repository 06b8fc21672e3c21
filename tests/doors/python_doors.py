"""``modelhost.Host`` and ``modelhost.LLM``: the doors of programs that have the host inside."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any, ClassVar

from modelhost.errors import ModelhostError
from tests.doors.door import Door, Lacks
from tests.doors.openai_doors import WHOLE, add_chunk, add_whole, chat_fields_of, messages_of, stream_options_of
from tests.doors.talk import Ask, Failed, Outcome


class HostWhole(Door):
    """``await host.chat(...)``."""

    name = "host"
    lacks = WHOLE

    async def put(self, ask: Ask, got: Outcome) -> None:
        try:
            add_whole(got, await self.world.host.chat(messages_of(ask), **chat_fields_of(ask)))
        except ModelhostError as error:
            raise Failed(error.code, error.message) from None


class HostStreamed(Door):
    """``host.chat_stream(...)``."""

    name = "host-streamed"

    async def put(self, ask: Ask, got: Outcome) -> None:
        try:
            chunks = self.world.host.chat_stream(
                messages_of(ask), **chat_fields_of(ask), stream_options=stream_options_of(ask)
            )
            async with aclosing(chunks):
                async for chunk in chunks:
                    add_chunk(got, chunk)
        except ModelhostError as error:
            raise Failed(error.code, error.message) from None


class LLMWhole(Door):
    """``llm.chat(...)``."""

    name = "llm"
    lacks: ClassVar[Lacks] = {**WHOLE, "leaving at any time": "the thread waits for its answer"}
    needs_llm = True

    async def put(self, ask: Ask, got: Outcome) -> None:
        try:
            reply = await asyncio.to_thread(self.world.llm.chat, messages_of(ask), **chat_fields_of(ask))
        except ModelhostError as error:
            raise Failed(error.code, error.message) from None
        add_whole(got, reply.raw)
        assert (reply.text, reply.finish_reason) == (got.text, got.finish)


class LLMStreamed(Door):
    """``llm.stream(...)``, read by threads."""

    name = "llm-streamed"
    lacks: ClassVar[Lacks] = {"leaving at any time": "the thread waits for the next piece"}
    needs_llm = True

    async def put(self, ask: Ask, got: Outcome) -> None:
        chunks = self.world.llm.stream(messages_of(ask), **chat_fields_of(ask), stream_options=stream_options_of(ask))
        reading: asyncio.Future[Any] | None = None
        try:
            while True:
                reading = asyncio.ensure_future(asyncio.to_thread(next, chunks, None))
                chunk = await asyncio.shield(reading)
                if chunk is None:
                    return
                add_chunk(got, chunk)
        except ModelhostError as error:
            raise Failed(error.code, error.message) from None
        finally:
            if reading is not None:
                await asyncio.wait([reading])
            await asyncio.to_thread(chunks.close)
