"""Responses and items as the store gets them."""

from __future__ import annotations

from typing import Any

from modelhost.state.stored_response import ConversationPlace, Item, NewResponse


def message(name: str, text: str = "", role: str = "user") -> Item:
    """Return a message item."""
    kind = "output_text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": text or name}]
    return {"type": "message", "id": name, "role": role, "status": "completed", "content": content}


def body(name: str, status: str = "completed", **more: Any) -> Item:
    """Return a response object that answers with one message."""
    output = [] if status in {"queued", "in_progress"} else [message(f"msg_of_{name}", role="assistant")]
    return {"id": name, "object": "response", "status": status, "incomplete_details": None, "output": output} | more


def new(name: str, owner: str = "", *, after: str | None = None, **more: Any) -> NewResponse:
    """Return a response of one message, which continues ``after``."""
    fields: dict[str, Any] = {"body": body(name), "own_input": [message(f"msg_to_{name}")]} | more
    return NewResponse(owner=owner, previous_id=after, **fields)


def background(name: str, owner: str = "", **more: Any) -> NewResponse:
    """Return a response that is made in the background."""
    return new(name, owner, body=body(name, "queued"), is_background=True, **more)


def in_conversation(name: str, place: ConversationPlace, **more: Any) -> NewResponse:
    """Return a response in a conversation."""
    return new(name, conversation=place, **more)


def event(number: int, kind: str = "response.output_text.delta", **more: Any) -> Item:
    """Return an event."""
    return {"type": kind, "sequence_number": number} | more
