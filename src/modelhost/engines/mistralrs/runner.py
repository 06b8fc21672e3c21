"""The one ``Runner`` of the library, shared by the threads of a worker.

What has to be observed: two threads that call it at once get ``Already borrowed``, so there is one call at a time; a
call that does not stream holds it to its end, so every call streams; what is dropped is cancelled.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

BUFFERED = 64
"""Pieces of an answer that are buffered for a slow client before the answer's thread stops reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of an answer: usually one token, whose text the library may still hold back."""

    text: str = ""
    logprob: Any = None
    """The library's object, if log probabilities were requested."""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    """Both only in the last piece."""
    failure: str | None = None
    """The reason for a premature end."""


class SharedRunner:
    """One runner for many threads.

    Args:
        one_prompt: evaluate one prompt at a time. On CPUs, the library (0.9.5) cannot evaluate several prompts at once
            with weights that it has quantized itself.
    """

    def __init__(self, runner: Any, *, one_prompt: bool) -> None:
        self._runner = runner
        self._calling = threading.Lock()
        self._prompt = threading.Lock() if one_prompt else None

    def tokens(self, text: str, *, add_special: bool) -> list[int]:
        with self._calling:
            found: list[int] = self._runner.tokenize_text(text, add_special, None)
        return found

    def text(self, tokens: list[int]) -> str:
        with self._calling:
            found: str = self._runner.detokenize_text(tokens, False)
        return found

    async def stream(self, arguments: Mapping[str, Any]) -> AsyncGenerator[Piece, None]:
        """Yield the pieces of the answer to ``arguments``, the arguments of a ``ChatCompletionRequest``.

        The last one has a finish reason or a failure. Closing the generator cancels the work at the next token.
        """
        bridge = _Bridge()
        thread = threading.Thread(target=self._read, args=(arguments, bridge), name="answer", daemon=True)
        thread.start()
        try:
            while True:
                piece = await bridge.take()
                yield piece
                if piece.failure is not None or piece.finish_reason is not None:
                    return
        finally:
            bridge.close()

    def _read(self, arguments: Mapping[str, Any], bridge: _Bridge) -> None:
        try:
            for piece in self._pieces(arguments):
                if not bridge.put(piece):
                    return
            bridge.put(Piece(failure="the answer ended without an end"))
        except Exception as error:  # noqa: BLE001 (reported to the client)
            traceback.print_exc()
            bridge.put(Piece(failure=str(error)))
        except BaseException:  # noqa: BLE001 (a panic: the library is not what it was)
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)  # the host fails its requests, and starts another worker

    def _pieces(self, arguments: Mapping[str, Any]) -> Iterator[Piece]:
        from mistralrs import ChatCompletionRequest  # noqa: PLC0415 (of the environment of the worker)

        with ExitStack() as until_first:
            if self._prompt is not None:
                until_first.enter_context(self._prompt)
            request = ChatCompletionRequest(**arguments, stream=True)
            with self._calling:
                stream = self._runner.send_chat_completion_request(request)
            for chunk in stream:
                until_first.close()
                yield _piece(chunk)


def _piece(chunk: Any) -> Piece:
    choice, usage = chunk.choices[0], chunk.usage
    return Piece(
        text=choice.delta.content or "",
        logprob=choice.logprobs,
        finish_reason=choice.finish_reason,
        prompt_tokens=usage.prompt_tokens if usage is not None else None,
        completion_tokens=usage.completion_tokens if usage is not None else None,
    )


class _Bridge:
    """Delivers pieces from a thread to the event loop that created it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[Piece] = asyncio.Queue()
        self._room = threading.BoundedSemaphore(BUFFERED)
        self._is_closed = False

    def put(self, piece: Piece) -> bool:
        """Wait for room and deliver ``piece``; return whether the answer is still being read. Called in the thread."""
        self._room.acquire()
        if not self._is_closed:
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)
        return not self._is_closed

    async def take(self) -> Piece:
        piece = await self._pieces.get()
        self._room.release()
        return piece

    def close(self) -> None:
        """Stop reading; a thread that waits for room continues and notices it."""
        self._is_closed = True
        while not self._pieces.empty():
            self._pieces.get_nowait()
            self._room.release()
