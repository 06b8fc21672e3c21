"""Several choices or prompts in one request: one stream each, merged into one answer.

llama.cpp's own ``n`` loses pieces and repeats usage when it streams, so every choice is a request of its own to the
engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

Chunks = AsyncGenerator[dict[str, Any], None]
QUEUE_CHUNKS = 64  # per merged answer; a client that reads slowly slows the engine down


def split(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one body for each choice, prompts in order and the choices of one prompt side by side.

    A seed is counted up from choice to choice, so that equal seeds do not make equal choices.
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


def total(usages: Sequence[dict[str, Any]], *, choices_per_prompt: int) -> dict[str, Any]:
    """Return one usage for all parts: each prompt counts once, however many choices were made of it."""
    prompt = sum(usage.get("prompt_tokens") or 0 for usage in usages[::choices_per_prompt])
    completion = sum(usage.get("completion_tokens") or 0 for usage in usages)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


async def merge(parts: Sequence[Callable[[], Chunks]]) -> Chunks:
    """Yield the chunks of all ``parts`` as they come, each with the index of its part and the id of the first chunk.

    The first error of any part ends all of them and is raised.
    """
    queue: asyncio.Queue[tuple[int, dict[str, Any] | None]] = asyncio.Queue(QUEUE_CHUNKS)

    async def pump(index: int, part: Callable[[], Chunks]) -> None:
        async for chunk in part():
            await queue.put((index, chunk))
        await queue.put((index, None))

    pumps = [asyncio.create_task(pump(index, part)) for index, part in enumerate(parts)]
    shared: dict[str, Any] | None = None
    running = len(pumps)
    try:
        while running:
            index, chunk = await _next(queue, pumps)
            if chunk is None:
                running -= 1
                continue
            if shared is None:
                shared = {"id": chunk["id"], "created": chunk["created"]}
            for choice in chunk["choices"]:
                choice["index"] = index
            yield {**chunk, **shared}
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _next(
    queue: asyncio.Queue[tuple[int, dict[str, Any] | None]], pumps: Sequence[asyncio.Task[None]]
) -> tuple[int, dict[str, Any] | None]:
    """Return the next entry, or raise what a pump died of."""
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
