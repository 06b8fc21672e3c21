"""The thin synchronous interface: a host in a few lines of Python."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from concurrent.futures import CancelledError, Future
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from modelhost.config.settings import Settings
from modelhost.errors import ModelhostError, ShuttingDown
from modelhost.host import Host, Messages

T = TypeVar("T")
CHUNKS_AHEAD = 64  # buffered for the caller


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; ``raw`` is the chat completion object of OpenAI's API."""

    raw: dict[str, Any]

    @property
    def text(self) -> str:
        """The text of the first choice, empty for tool calls."""
        return self.raw["choices"][0]["message"].get("content") or ""

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """The tool calls of the model."""
        return self.raw["choices"][0]["message"].get("tool_calls") or []

    @property
    def finish_reason(self) -> str:
        """``stop``, ``length`` or ``tool_calls``."""
        return str(self.raw["choices"][0]["finish_reason"])

    @property
    def usage(self) -> dict[str, Any]:
        """Token counts."""
        return self.raw["usage"] or {}

    def __str__(self) -> str:
        return self.text


class LLM:
    """A model, loaded as long as it is entered.

    ::

        with modelhost.LLM() as llm:
            print(llm.chat("Hello!"))
    """

    def __init__(self, model: str | None = None, **settings: Any) -> None:
        """Take a model, as for ``modelhost serve``, and any setting by its key."""
        self._host = Host(Settings.model_validate({"model": model, **settings}))
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # as long as work may be given to it
        self._loop_guard = threading.Lock()

    @property
    def host(self) -> Host:
        """The host; its coroutines have to run in its own event loop."""
        return self._host

    def __enter__(self) -> Self:
        began: Future[asyncio.AbstractEventLoop] = Future()
        # One thread for all calls: Linux ends a worker together with the thread that started it.
        self._thread = threading.Thread(target=_run_loop, args=(began,), name="modelhost", daemon=True)
        self._thread.start()
        self._loop = began.result()
        try:
            self._run(self._host.start())
        except BaseException:
            self._end_loop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run(self._host.stop(drain_seconds=0))
        finally:
            self._end_loop()

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` in the host's event loop and return its result, also while an answer is streamed."""
        return self._run(coroutine)

    def iterate(self, items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Yield from an async generator of the host; closing waits until that is closed."""
        pump = _Pump(items)
        self._run(pump.start())
        try:
            while (item := self._run(pump.next())) is not None:
                yield item
        finally:
            if self._loop is not None:
                self._run(pump.stop())

    def chat(self, messages: Messages, **parameters: Any) -> Reply:
        """Answer a conversation, or the text of a user message; ``parameters`` are fields of the request.

        With ``session_id="..."``, the host stores the conversation permanently.

        Raises:
            ModelhostError: the request or the worker failed.
        """
        return Reply(self._run(self._host.chat(messages, **parameters)))

    def stream(self, messages: Messages, **parameters: Any) -> Generator[dict[str, Any], None, None]:
        """Yield chat completion chunks; closing the generator stops the generation before it returns."""
        return self.iterate(self._host.chat_stream(messages, **parameters))

    def embed(self, texts: str | list[str]) -> list[list[float]]:
        """Return a vector for each text."""
        answer = self._run(self._host.call("embeddings", {"input": texts}))
        return [entry["embedding"] for entry in answer["data"]]

    def speech(self, text: str, **parameters: Any) -> bytes:
        """Speak ``text`` with a model that speaks; see :meth:`modelhost.host.Host.speech`."""
        return self._run(self._host.speech(text, **parameters))

    def transcribe(self, file: bytes, **parameters: Any) -> dict[str, Any]:
        """Transcribe a sound file with a model that transcribes; see :meth:`modelhost.host.Host.transcribe`."""
        return self._run(self._host.transcribe(file, **parameters))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        with self._loop_guard:
            if self._loop is None:
                coroutine.close()
                raise RuntimeError("a modelhost.LLM answers inside its `with` block only")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise
        except CancelledError:
            raise ShuttingDown("The model was closed before the answer was complete.") from None

    def _end_loop(self) -> None:
        with self._loop_guard:
            loop, self._loop = self._loop, None
        assert loop is not None
        assert self._thread is not None
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()


class _Pump(Generic[T]):
    """Reads an async generator in one task of the event loop, a bounded number of items ahead."""

    def __init__(self, items: AsyncGenerator[T, None]) -> None:
        self._items = items
        self._ahead: asyncio.Queue[T | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(CHUNKS_AHEAD)
        self._task: asyncio.Task[None] | None = None
        self._error: ModelhostError | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._work())

    async def next(self) -> T | None:
        """Return the next item, ``None`` after the last; raises the error of the generator."""
        item = await self._ahead.get()
        self._room.release()
        if self._error is not None and item is None:
            raise self._error
        return item

    async def stop(self) -> None:
        """Cancel the task and wait for it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        try:
            async with aclosing(self._items) as items:
                async for item in items:
                    await self._room.acquire()
                    self._ahead.put_nowait(item)
        except ModelhostError as error:
            self._error = error
        finally:
            self._ahead.put_nowait(None)


def _run_loop(began: Future[asyncio.AbstractEventLoop]) -> None:
    """Run an event loop until it is stopped, then cancel the remaining tasks."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        began.set_result(loop)
        loop.run_forever()
