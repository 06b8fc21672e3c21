"""The thin synchronous edge: a host of one's own in a few lines of ordinary Python."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from modelhost.config.settings import Settings
from modelhost.host import Host, Messages

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; ``raw`` is the chat completion object of OpenAI's API."""

    raw: dict[str, Any]

    @property
    def text(self) -> str:
        """The text of the first choice; empty if the model called tools instead."""
        return self.raw["choices"][0]["message"].get("content") or ""

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """The calls that the model asks for."""
        return self.raw["choices"][0]["message"].get("tool_calls") or []

    @property
    def finish_reason(self) -> str:
        """``stop``, ``length`` or ``tool_calls``."""
        return str(self.raw["choices"][0]["finish_reason"])

    @property
    def usage(self) -> dict[str, Any]:
        """Counts of tokens."""
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
        """Take a model as ``modelhost serve`` does, and any setting by its key."""
        self._host = Host(Settings.model_validate({"model": model, **settings}))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="modelhost", daemon=True)

    @property
    def host(self) -> Host:
        """The host inside; its coroutines belong to its own event loop."""
        return self._host

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._run(self._host.start())
        except BaseException:
            self._end_loop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._run(self._host.stop(drain_seconds=0))
        finally:
            self._end_loop()

    def chat(self, messages: Messages, **parameters: Any) -> Reply:
        """Answer a conversation, or the text of a user's one message; ``parameters`` are those of the API.

        Raises:
            ModelhostError: the request or the worker failed.
        """
        return Reply(self._run(self._host.chat(messages, **parameters)))

    def stream(self, messages: Messages, **parameters: Any) -> Iterator[dict[str, Any]]:
        """Yield chat completion chunks as they come; closing the iterator stops the model."""
        chunks = self._host.chat_stream(messages, **parameters)
        try:
            while (chunk := self._run(anext(chunks, None))) is not None:
                yield chunk
        finally:
            self._run(chunks.aclose())

    def embed(self, texts: str | list[str]) -> list[list[float]]:
        """Return a vector for each text."""
        answer = self._run(self._host.call("embeddings", {"input": texts}))
        return [entry["embedding"] for entry in answer["data"]]

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
