"""A model that plays turns and tools that do as they are told, for tests of the tool loop in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from msgspec.structs import replace

from modelhost.chat.parsing.parse import parsed
from modelhost.chat.structured_output import OutputSchema
from modelhost.chat.tools.loop import LoopLimits, ToolLoop
from modelhost.chat.tools.questions import Questions
from modelhost.chat.tools.result_media import Modalities
from modelhost.exchange.bodies import body_of
from modelhost.exchange.chunk_reading import ChunkReader
from modelhost.exchange.chunks import chunk_of
from modelhost.exchange.events import Pieces
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import AS_USUAL, Approval, ChatRequest, HostCalls
from modelhost.exchange.whole_answer import WholeAnswer
from modelhost.tools.callbacks import CallContext
from modelhost.tools.catalogue import OfferedTool
from modelhost.tools.outcome import ToolOutcome

Chunk = dict[str, Any]
Step = Chunk | float | asyncio.Event | BaseException
"""What a turn does next: say something, wait for seconds or an event, or fail."""
Tool = Callable[[Any, CallContext], Awaitable[ToolOutcome | str]]


def delta(finish_reason: str | None = None, **fields: Any) -> Chunk:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}],
    }


def said(*words: str) -> list[Step]:
    return [delta(content=word) for word in words]


def called(name: str, arguments: str = "{}", *, index: int = 0, id_: str | None = None) -> list[Step]:
    """One call: its name, then its arguments in two pieces."""
    half = len(arguments) // 2
    first = {"index": index, "id": id_ or f"call-{name}-{index}", "function": {"name": name, "arguments": ""}}
    pieces = [{"index": index, "function": {"arguments": part}} for part in (arguments[:half], arguments[half:])]
    return [delta(tool_calls=[piece]) for piece in (first, *pieces)]


def used(prompt: int = 10, completion: int = 2, cached: int = 0) -> Chunk:
    total = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {**delta(), "choices": [], "usage": {**total, "prompt_tokens_details": {"cached_tokens": cached}}}


def turn(*steps: Step | Iterable[Step], reason: str | None = None, usage: Chunk | None = None) -> list[Step]:
    """A whole turn: the role, the steps, the end and the usage. It ends as its steps want, unless told."""
    flat: list[Step] = [delta(role="assistant", content=None)]
    for step in steps:
        flat.extend(step if isinstance(step, list) else [step])  # type: ignore[list-item]
    has_calls = any("tool_calls" in step["choices"][0]["delta"] for step in flat if isinstance(step, dict))
    return [*flat, delta(reason or ("tool_calls" if has_calls else "stop")), usage or used()]


class Model:
    """Plays ``turns``; ``bodies`` are the requests that it got."""

    def __init__(self, *turns: Sequence[Step]) -> None:
        self._turns = list(turns)
        self.bodies: list[dict[str, Any]] = []
        self.written = 0
        """How many chunks it has written, the one that nobody has taken yet included."""
        self.is_writing = False
        self.was_cancelled = False

    @asynccontextmanager
    async def open_turn(self, request: ChatRequest) -> AsyncIterator[Pieces]:
        self.bodies.append(body_of(request))
        assert not self.is_writing, "two turns at once"
        self.is_writing = True
        pieces = self._pieces(self._turns.pop(0))
        try:
            async with aclosing(pieces):
                yield pieces
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        finally:
            self.is_writing = False

    async def _pieces(self, steps: Sequence[Step]) -> Any:
        reader = ChunkReader()
        for step in steps:
            if isinstance(step, dict):
                await asyncio.sleep(0)  # as a socket would
                self.written += 1
                yield reader.read(step)
            elif isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, BaseException):
                raise step
            else:
                await asyncio.sleep(step)


class Tools:
    """Runs what it was given under a name; ``calls`` are those that began, ``cancelled`` those that were ended."""

    def __init__(self, approvals: Mapping[str, Approval] = NOTHING, **tools: Tool) -> None:
        self._tools = tools
        self.approvals = approvals
        self.calls: list[tuple[str, Any]] = []
        self.cancelled: list[str] = []
        self.running = 0
        self.most_running = 0

    def find(self, name: str) -> OfferedTool | None:
        return offered(name, self.approvals.get(name, "auto")) if name in self._tools else None

    def needs_approval(self, name: str, arguments: Mapping[str, Any] | str, context: CallContext) -> bool:
        return "ask" in (self.approvals.get(name), context.approval)

    async def call(self, name: str, arguments: Mapping[str, Any] | str, context: CallContext) -> ToolOutcome:
        self.calls.append((name, arguments))
        if name not in self._tools:
            return ToolOutcome(name=name, text=f"there is no {name}", is_error=True, code="tool_not_found")
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            found = await self._tools[name](arguments, context)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        finally:
            self.running -= 1
        if isinstance(found, str):
            return ToolOutcome(name=name, text=found, server="s", tool=name)
        return replace(found, name=name)


def offered(name: str, approval: Approval = "auto") -> OfferedTool:
    function = {"type": "function", "function": {"name": name}}
    return OfferedTool(
        name=name,
        server="s",
        tool=f"own-{name}",
        function=function,
        annotations={},
        is_read_only=name.startswith("read"),
        approval=approval,
    )


def takes(seconds: float, text: str = "done") -> Tool:
    async def tool(_: Any, __: CallContext) -> str:
        await asyncio.sleep(seconds)
        return text

    return tool


def fails(code: Any, text: str = "no") -> Tool:
    async def tool(_: Any, __: CallContext) -> ToolOutcome:
        return ToolOutcome(name="", text=text, is_error=True, code=code, server="s", tool="t")

    return tool


def loop_of(  # noqa: PLR0913 (as the loop)
    model: Model,
    tools: Tools | None = None,
    *,
    questions: Questions | None = None,
    context: CallContext | None = None,
    sees_images: bool = False,
    hears_audio: bool = False,
    client_tools: Collection[str] = (),
    policy: HostCalls = AS_USUAL,
    schema: OutputSchema | None = None,
    **limits: Any,
) -> ToolLoop:
    return ToolLoop(
        model.open_turn,
        tools or Tools(),
        LoopLimits(**limits),
        context or CallContext(),
        questions,
        lambda: Modalities(images=sees_images, audio=hears_audio),
        client_tools,
        policy,
        schema,
    )


def request(**fields: Any) -> ChatRequest:
    tools = [{"type": "function", "function": {"name": "t"}}]
    found = parsed("chat", {"messages": [{"role": "user", "content": "Go."}], "tools": tools, **fields})
    assert isinstance(found, ChatRequest)
    return found


async def streamed(loop: ToolLoop, **fields: Any) -> AsyncGenerator[Chunk, None]:
    """Yield the answer as a client of OpenAI's API reads it."""
    async with aclosing(loop.run(request(**fields))) as pieces:
        async for piece in pieces:
            yield chunk_of(piece)


async def chunks_of(loop: ToolLoop, **fields: Any) -> list[Chunk]:
    return [chunk async for chunk in streamed(loop, **fields)]


async def whole(loop: ToolLoop) -> dict[str, Any]:
    answer = WholeAnswer()
    async with aclosing(loop.run(request())) as pieces:
        async for piece in pieces:
            answer.add(piece)
    return answer.json()


def text_of(chunks: Iterable[Chunk]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def told(chunks: Iterable[Chunk], kind: str) -> list[Any]:
    """What the extension field ``modelhost.{kind}`` said."""
    return [chunk[f"modelhost.{kind}"] for chunk in chunks if f"modelhost.{kind}" in chunk]


def reasons(chunks: Iterable[Chunk]) -> list[str]:
    return [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]


async def ran(model: Model, tools: Tools | None = None, **options: Any) -> list[Chunk]:
    """The chunks of an answer without anything special about the request."""
    return await chunks_of(loop_of(model, tools, **options))


def details(chunks: list[Chunk]) -> str | None:
    found = told(chunks, "finish_details")
    return found[0]["type"] if found else None
