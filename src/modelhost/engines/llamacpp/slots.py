"""Prompt caches of llama.cpp: the cache of a conversation in a slot, saved to a file and restored.

How its server behaves, as of build 11549:

* when a request begins, the key-value cache of every idle slot moves to a separate memory (``cache_ram_mib``), from
  which it returns when a request continues its text. Only a slot can be saved to a file;
* with ``LLAMA_SERVER_SLOTS_DEBUG``, ``/slots`` reports the last text of each slot, even if its cache has moved, and how
  many tokens of it are in the slot;
* a truncated file ends the whole process (``GGML_ASSERT(nread <= state_size)``), so that callers must verify files.

Caches of requests with selected adapters are not saved: a file is restored for the model without them.

So saving finds the slot whose text is the conversation, requests that text without generating anything so that its
cache returns to a slot, saves the slot, and checks that no other request has used it in the meantime.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Self

from modelhost.engines.base import EngineClient
from modelhost.engines.special_tokens import ZERO_WIDTH_SPACE

Message = Mapping[str, Any]

ATTEMPTS = 4  # another request may take the slot between two steps
LEAST_CACHED = 0.9  # of a text that is requested again; evaluating a larger rest would delay other requests
HEADER_LETTERS = 16
MOST_SURPLUS = 96  # letters that a template may add after the last message


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A slot as ``/slots`` reports it. ``text`` is its last text, of which ``tokens`` are in the slot now."""

    id: int
    task: int
    is_busy: bool
    text: str
    tokens: int
    scales: tuple[tuple[int, float], ...] = ()
    """The scales of the adapters of that text, by their ids; empty: those of the load."""

    @classmethod
    def of(cls, reported: Mapping[str, Any]) -> Self:
        # A request for no tokens is made here, to evaluate a text again; the token it generates is not part of the
        # text.
        is_echo = reported.get("params", {}).get("n_predict") == 0
        return cls(
            id=reported["id"],
            task=reported.get("id_task", -1),
            is_busy=reported["is_processing"],
            text=reported.get("prompt", "") + ("" if is_echo else reported.get("generated", "")),
            tokens=reported.get("n_prompt_tokens") or 0,
            scales=tuple(sorted((each["id"], each["scale"]) for each in reported.get("params", {}).get("lora", ()))),
        )


class SlotFiles:
    """The :class:`~modelhost.engines.base.PromptCaches` of llama.cpp."""

    async def save(self, client: EngineClient, messages: Sequence[Message], file: str) -> int | None:
        opening = await self._opening(client, messages)
        for _ in range(ATTEMPTS):
            slot = slot_of(await self._without_adapters(client), messages, opening)
            if slot is None:
                return None
            if not slot.tokens:
                if not await self._bring_back(client, slot.text):
                    return None
                continue
            saved = await client.fetch(f"/slots/{slot.id}?action=save", {"filename": file})
            if slot in await self._slots(client):
                count: int = saved["n_saved"]
                return count
        return None

    async def restore(self, client: EngineClient, file: str) -> bool:
        if all(slot.is_busy for slot in await self._slots(client)):
            return False
        # A request for no tokens goes to the idle slot that was used least recently, and moves the caches of all idle
        # slots to memory first, so that the slot may be overwritten.
        answer = await client.fetch("/completion", {"prompt": [0], "n_predict": 0})
        await client.fetch(f"/slots/{answer['id_slot']}?action=restore", {"filename": file})
        return True

    async def _slots(self, client: EngineClient) -> list[Slot]:
        return [Slot.of(reported) for reported in await client.fetch("/slots")]

    async def _without_adapters(self, client: EngineClient) -> list[Slot]:
        """Return the slots whose text was made without selected adapters."""
        slots = await self._slots(client)
        if not any(slot.scales for slot in slots):
            return slots
        own = {each["id"]: each["scale"] for each in await client.fetch("/lora-adapters")}
        return [slot for slot in slots if all(own.get(number) == scale for number, scale in slot.scales)]

    async def _opening(self, client: EngineClient, messages: Sequence[Message]) -> str:
        """Return the beginning of the conversation, up to and including its first message that is not a system
        message."""
        first = next((place for place, message in enumerate(messages) if message["role"] != "system"), 0)
        rendered = await client.fetch("/apply-template", {"messages": [_plain(each) for each in messages[: first + 1]]})
        opening, content = _letters(rendered["prompt"]), _letters(_text(messages[first]))
        return opening[: opening.rfind(content) + len(content)] if content else ""

    async def _bring_back(self, client: EngineClient, text: str) -> bool:
        """Bring the cache of ``text`` back to a slot; return whether nearly all of it was cached."""
        request = {"content": text, "add_special": False, "parse_special": True}
        tokens = (await client.fetch("/tokenize", request))["tokens"]
        wanted = {"prompt": tokens, "n_predict": 0, "stream": True, "return_progress": True}
        async with client.fetch_events("/completion", wanted) as events, aclosing(events):
            async for event in events:
                progress = event.get("prompt_progress")
                if progress is not None and progress["cache"] < LEAST_CACHED * progress["total"]:
                    return False
        return True


def slot_of(slots: Sequence[Slot], messages: Sequence[Message], opening: str) -> Slot | None:
    """Return the idle slot whose text is the conversation of ``messages``, or ``None``.

    ``opening`` is the rendered beginning of the conversation, without blanks. A slot that has its cache is preferred.
    """
    found = [slot for slot in slots if not slot.is_busy and is_conversation(slot.text, messages, opening)]
    return max(found, key=lambda slot: (slot.tokens > 0, slot.task), default=None)


def is_conversation(text: str, messages: Sequence[Message], opening: str) -> bool:
    """Return whether ``text``, made by a template and a model, is the conversation of ``messages``.

    It must contain the messages in their order, starting where a conversation starts, and nothing may follow but what
    templates add at the end. What is between them is not compared: tools, reasoning, tool calls.
    """
    contents = [content for message in messages if (content := _letters(_text(message)))]
    if not opening or not contents:
        return False
    text = _letters(text)
    system = [_letters(_text(message)) for message in messages if message["role"] == "system"]
    first = next((content for content in contents if content not in system), "")
    header = opening[: len(opening) - len(first)][-HEADER_LETTERS:]
    at = text.find(header + first)
    # Another conversation may end with this one; then it contains such headers before it.
    if at < 0 or not first or text[:at].count(header) != opening[: -len(header + first)].count(header):
        return False
    for content in contents:
        if content in system:
            if content not in text[: at + len(header)]:
                return False
            continue
        place = text.find(content, at)
        if place < 0:
            return False
        at = place + len(content)
    return len(text) - at <= MOST_SURPLUS + _letters_of_last_calls(messages)


def _letters_of_last_calls(messages: Sequence[Message]) -> int:
    """Return how many letters may follow the last text because the model called tools after it."""
    last = messages[-1]
    calls = last.get("tool_calls") or []
    return sum(2 * len(json.dumps(call, ensure_ascii=False)) for call in calls)


def _plain(message: Message) -> dict[str, Any]:
    return {"role": message["role"], "content": _text(message)}


def _text(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text") or part.get("refusal") or "" for part in content)
    return content or ""


def _letters(text: str) -> str:
    """Return ``text`` without blanks, which templates trim and tokens restore slightly differently.

    The zero-width spaces that the host inserts into names of control tokens
    (:mod:`~modelhost.engines.special_tokens`) are removed, too.
    """
    return "".join(text.replace(ZERO_WIDTH_SPACE, "").split())
