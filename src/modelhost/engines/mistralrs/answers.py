"""The answers of a worker of mistral.rs, in OpenAI's form; generations are always streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from modelhost.engines.mistralrs.requests import GenerationRequest, RequestReader, raw, unsupported
from modelhost.engines.mistralrs.runner import Piece, SharedRunner
from modelhost.engines.worker.asgi import EVENT_TYPE, ErrorResponse, Receive, Send, invalid, while_connected
from modelhost.engines.worker.events import AnswerEvents, error_events, error_payload
from modelhost.engines.worker.template import shows_tools

BAD_GRAMMAR = "Invalid grammar"


class RunnerAnswers:
    """The :class:`~modelhost.engines.worker.asgi.Answering` of one worker; ``config`` is made by :mod:`.engine`."""

    def __init__(self, runner: Any, config: Mapping[str, Any]) -> None:
        self._runner = SharedRunner(runner, one_prompt=config["isq"] != "none")
        self._model = config["name"]
        self._requests = RequestReader(self._runner, config)
        self._read: Mapping[str, Callable[[dict[str, Any]], GenerationRequest]] = {
            "/v1/chat/completions": self._requests.chat,
            "/v1/completions": self._requests.completion,
        }

    def calls_tools(self) -> bool:
        """Whether a chat may have tools; the log gets the reason why not."""
        return shows_tools(self._requests.call_form)

    async def generate(self, path: str, body: dict[str, Any], receive: Receive, send: Send) -> None:
        request = await asyncio.to_thread(self._read[path], body)
        async with aclosing(
            self._runner.stream(raw(request.arguments) if request.is_raw else request.arguments)
        ) as pieces:
            await while_connected(receive, self._write(request, pieces, send))

    async def _write(self, request: GenerationRequest, pieces: AsyncGenerator[Piece, None], send: Send) -> None:
        first = await anext(pieces)
        if first.failure is not None:
            raise _refusal(first.failure, request)
        written: list[str] = []
        counting = partial(_so_far, request, written) if request.continuous_usage else None
        events = AnswerEvents(request.kind, self._model, request.reader, counting)
        await send({"type": "http.response.start", "status": 200, "headers": EVENT_TYPE})
        beginning = events.begin()
        written.append(first.text)
        await _send(send, beginning + _events_of(events, first))
        last = first
        while last.finish_reason is None and not events.is_whole:
            last = await anext(pieces)
            if last.failure is not None:
                await _send(send, error_events(_first_line(last.failure)), is_last=True)
                return
            written.append(last.text)
            if data := _events_of(events, last):
                await _send(send, data)
        usage = await self._usage(request, last, "".join(written)) if request.include_usage else None
        await _send(send, events.end(_reason(last), usage), is_last=True)

    async def _usage(self, request: GenerationRequest, last: Piece, text: str) -> dict[str, Any]:
        """Return the number of tokens; of an answer that was cancelled, those of its text."""
        count = last.completion_tokens
        if count is None:
            count = len(await asyncio.to_thread(self._runner.tokens, text, add_special=False))
        prompt = last.prompt_tokens or request.prompt_tokens
        return _usage(prompt, count)

    async def tokenize(self, body: dict[str, Any]) -> Any:
        if body.get("parse_special") is False:
            raise unsupported("parse_special", "this engine reads the names of special tokens wherever they stand")
        if "messages" in body:
            tokens = await asyncio.to_thread(self._requests.prompt, body)
        else:
            special = bool(body.get("add_special"))
            tokens = await asyncio.to_thread(self._runner.tokens, body["content"], add_special=special)
        if not body.get("with_pieces"):
            return {"tokens": tokens}
        pieces = await asyncio.to_thread(lambda: [self._runner.text([token]) for token in tokens])
        return {"tokens": [{"id": token, "piece": piece} for token, piece in zip(tokens, pieces, strict=True)]}

    async def detokenize(self, body: dict[str, Any]) -> Any:
        return {"content": await asyncio.to_thread(self._requests.text_of, body["tokens"], "tokens")}


def _so_far(request: GenerationRequest, written: list[str]) -> dict[str, Any]:
    """Return the tokens so far: each is one piece, even if its text is still held back."""
    return _usage(request.prompt_tokens, len(written))


def _usage(prompt: int, count: int) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": count, "total_tokens": prompt + count}


def _events_of(events: AnswerEvents, piece: Piece) -> bytes:
    if piece.logprob is not None:
        events.add_logprob(_logprob(piece.logprob))
    return events.text(piece.text)


def _logprob(of_library: Any) -> dict[str, Any]:
    top = [{"id": each.token, **_weighed(each.bytes or "", each.logprob)} for each in of_library.top_logprobs]
    return {**_weighed(of_library.token, of_library.logprob), "top_logprobs": top}


def _weighed(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "bytes": list(token.encode()), "logprob": logprob}


def _reason(last: Piece) -> str:
    return "length" if last.finish_reason == "length" else "stop"


def _refusal(failure_text: str, request: GenerationRequest) -> ErrorResponse:
    if failure_text.startswith(BAD_GRAMMAR) and request.grammar_param:
        reason = _first_line(failure_text.removeprefix(f"{BAD_GRAMMAR}."))
        return invalid(f"{request.grammar_param}: {reason}", param=request.grammar_param)
    return ErrorResponse(500, error_payload(_first_line(failure_text)))


def _first_line(text: str) -> str:
    """Return the library's message without the stack frames after it."""
    return next(iter(text.strip().splitlines()), "it does not say why")


async def _send(send: Send, data: bytes, *, is_last: bool = False) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": not is_last})
