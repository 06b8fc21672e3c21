"""Several choices or prompts in one request: one stream each, merged into one answer.

llama.cpp's own ``n`` loses pieces and repeats usage in streams, so every choice is a request to the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from msgspec.structs import replace

from modelhost.exchange.events import ChoiceEvent, Envelope, Event, Piece, PieceStream

PROMPT_DETAILS = "prompt_tokens_details"
QUEUE_PIECES = 64  # per merged answer; a client that reads slowly slows the engine down


def split(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one body for each choice, prompts in order and the choices of a prompt together.

    A seed is incremented for each choice of a prompt, so that its choices differ.
    """
    prompt = body.get("prompt")
    prompts = prompt if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list) else [prompt]
    count, seed = body.get("n") or 1, body.get("seed")
    parts = []
    for position in range(len(prompts) * count):
        part = {key: value for key, value in body.items() if key not in ("n", "prompt", "seed")}
        if prompt is not None:
            part["prompt"] = prompts[position // count]
        if seed is not None:
            part["seed"] = seed + position % count
        parts.append(part)
    return parts


def total(usages: Sequence[Mapping[str, Any]], *, choices_per_prompt: int) -> dict[str, Any]:
    """Return one usage for all parts; each prompt counts once, however many choices it has."""
    prompt = sum(usage.get("prompt_tokens") or 0 for usage in usages[::choices_per_prompt])
    completion = sum(usage.get("completion_tokens") or 0 for usage in usages)
    counted = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    of_prompts = [usage[PROMPT_DETAILS] for usage in usages[::choices_per_prompt] if usage.get(PROMPT_DETAILS)]
    if of_prompts:
        cached = sum(details.get("cached_tokens") or 0 for details in of_prompts)
        counted[PROMPT_DETAILS] = {"cached_tokens": cached}
    return counted


async def merge(parts: Sequence[Callable[[], PieceStream]], *, at_once: int) -> PieceStream:
    """Yield the pieces of all ``parts`` as they come, each with the index of its part and the id of the first piece.

    At most ``at_once`` are read concurrently, in order: the engine queues requests first come, first served, so a long
    list would block all others, and would have to be cancelled one by one if its client disconnects.

    No part begins before those with lower indexes: OpenAI's clients append choices to a list as they begin. The first
    error of any part ends all of them and is raised.
    """
    queue: asyncio.Queue[tuple[int, Piece | None]] = asyncio.Queue(QUEUE_PIECES)

    waiting = iter(enumerate(parts))

    async def pump() -> None:
        for index, part in waiting:
            async with aclosing(part()) as pieces:
                async for piece in pieces:
                    await queue.put((index, piece))
            await queue.put((index, None))

    pumps = [asyncio.create_task(pump()) for _ in range(min(at_once, len(parts)))]
    shared: Envelope | None = None
    order = _Order()
    running = len(parts)
    try:
        while running:
            index, piece = await _next(queue, pumps)
            running -= piece is None
            for at, ready in order.after(index, piece):
                if shared is None:
                    shared = ready[0].envelope
                yield tuple(_moved(event, at, shared) for event in ready)
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


class _Order:
    """Holds back the pieces of a part until all parts before it have begun."""

    def __init__(self) -> None:
        self._begun = 0
        self._early: dict[int, list[Piece]] = {}

    def after(self, index: int, piece: Piece | None) -> Iterator[tuple[int, Piece]]:
        """Yield what may be passed on after ``piece`` of the part ``index``, or its end (``None``)."""
        if index > self._begun:
            self._early.setdefault(index, []).extend([] if piece is None else [piece])
            return
        if piece is not None:
            yield index, piece
        if index == self._begun:
            self._begun += 1
            while (kept := self._early.pop(self._begun, None)) is not None:
                yield from ((self._begun, each) for each in kept)
                self._begun += 1


def _moved(event: Event, index: int, shared: Envelope) -> Event:
    """Return ``event`` of the part ``index`` as part of the merged answer."""
    envelope = event.envelope
    if envelope is not shared:
        envelope = replace(envelope, id=shared.id, created=shared.created)
    if isinstance(event, ChoiceEvent):
        return replace(event, choice=index, envelope=envelope)
    return replace(event, envelope=envelope)


async def _next(
    queue: asyncio.Queue[tuple[int, Piece | None]], pumps: Sequence[asyncio.Task[None]]
) -> tuple[int, Piece | None]:
    """Return the next entry, or raise the error of a pump."""
    if not queue.empty():
        return queue.get_nowait()
    _raise_first_failure(pumps)
    getting = asyncio.create_task(queue.get())
    try:
        await asyncio.wait([getting, *(task for task in pumps if not task.done())], return_when=asyncio.FIRST_COMPLETED)
        if not getting.done():
            _raise_first_failure(pumps)
        return await getting
    finally:
        getting.cancel()


def _raise_first_failure(pumps: Sequence[asyncio.Task[None]]) -> None:
    for task in pumps:
        if task.done():
            task.result()
