"""``POST /v1/responses/compact``: a conversation made shorter, as an item that only the hosts of one database open.

The model writes a summary; the answer consists of all messages of the user and one item with the summary, which a
client sends instead of the conversation. Without a summary, that item holds what it would stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, cast

import orjson
from msgspec.structs import replace

from modelhost import json_text
from modelhost.errors import InvalidEncryptedContent
from modelhost.exchange.messages import Message
from modelhost.exchange.requests import ChatRequest
from modelhost.http.responses.item_bodies import GivenItem
from modelhost.http.responses.items import MESSAGE, PREFIXES, Item, input_items, new_id
from modelhost.http.validation import Lenient

COMPACTION: Final = "compaction"
COMPACTED: Final = "response.compaction"
MOST_SUMMARY_TOKENS: Final = 2_000
"""More than a summary needs, so that a model that does not stop does not fill its context with one."""
INSTRUCTION: Final = (
    "Summarize the conversation so far for yourself: you will continue it with the user's messages and this summary "
    "alone. State what was asked for, what was found out and decided, what was done, with names, paths, numbers and "
    "results that are still needed, and what is left to do. Write the summary only."
)
PREFACE: Final = "Summary of the conversation so far:\n\n"

Seal = Callable[[str, str], str]
"""Seals a text, or opens it, for a purpose."""


class _Sealed(Lenient):
    """What is sealed in a compaction item."""

    items: list[GivenItem]


def summarizing(conversation: ChatRequest) -> ChatRequest:
    """Return the request for a summary; its prompt begins as that of the conversation did."""
    instruction = Message(role="user", content=INSTRUCTION)
    return replace(
        conversation,
        messages=(*conversation.messages, instruction),
        tool_choice="none",
        sampling=replace(conversation.sampling, max_tokens=MOST_SUMMARY_TOKENS),
        is_streamed=False,
    )


def compacted(items: Sequence[Item], summary: str, seal: Seal) -> list[Item]:
    """Return the messages of the user in ``items``, and the item that stands for everything else."""
    kept = [item for item in items if _is_of_user(item)]
    if summary.strip():
        hidden = input_items([{"role": "assistant", "content": PREFACE + summary.strip()}], lambda _: None)
    else:
        hidden = [item for item in items if not _is_of_user(item)]
    sealed = seal(orjson.dumps({"items": hidden}).decode(), COMPACTION)
    return [*kept, {"id": new_id(PREFIXES[COMPACTION]), "type": COMPACTION, "encrypted_content": sealed}]


def items_of(item: Item, unseal: Seal) -> list[Item]:
    """Return the items that a compaction item stands for.

    Raises:
        InvalidEncryptedContent: it holds something else, or was changed.
    """
    sealed = unseal(item["encrypted_content"], COMPACTION)
    try:
        opened = _Sealed.model_validate(json_text.decode(sealed))
    except ValueError:  # another version of the host sealed it, with items that this one does not know
        raise InvalidEncryptedContent(
            "encrypted_content: this is no compacted conversation. Send the item as you received it.", param="input"
        ) from None
    return input_items(cast("list[Item]", opened.items), lambda _: None)


def text_of(response: Item) -> str:
    parts = [part for item in response["output"] if item["type"] == MESSAGE for part in item["content"]]
    return "".join(part["text"] for part in parts if part["type"] == "output_text")


def _is_of_user(item: Item) -> bool:
    return bool(item["type"] == MESSAGE and item["role"] == "user")
