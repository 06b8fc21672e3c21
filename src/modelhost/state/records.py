"""Records of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from modelhost.config.value_types import LONGEST_ID, is_session_id
from modelhost.errors import InvalidRequest
from modelhost.exchange.caller import Face

Message = Mapping[str, Any]
"""A message of OpenAI's chat completions, tool calls and results included."""

_SYSTEM_ROLES: Final = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """A session without its messages; times are aware, in UTC. Counts include the system message."""

    id: str
    created_at: datetime
    updated_at: datetime
    message_count: int
    model: str | None
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(SessionInfo):
    """A session with its messages, the system message first if there is one."""

    messages: tuple[Message, ...]

    @classmethod
    def of(
        cls,
        id: str,  # noqa: A002 - the name of the field
        messages: Sequence[Message],
        *,
        model: str | None = None,
        created_at: datetime | None = None,
        updated_at: datetime | None = None,
    ) -> Session:
        """Return a session of ``messages``; a time that is not given is now."""
        now = datetime.now(UTC)
        return cls(
            id=id,
            created_at=created_at or updated_at or now,
            updated_at=updated_at or now,
            message_count=len(messages),
            model=model,
            size_bytes=sum(len(orjson.dumps(message)) for message in messages),
            messages=tuple(messages),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotInfo:
    """A saved state without its contents. ``size_bytes`` is its size in the database, with its prompt caches."""

    state_id: str
    session_id: str
    created_at: datetime
    size_bytes: int
    schema_version: int
    compression: str
    models: int
    conversations: int
    configurations: int
    has_metrics: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One performed operation. ``outcome`` is ``ok`` or the code of an error.

    ``arguments`` hold neither secrets nor contents; the caller leaves them out.
    """

    at: datetime
    actor: str
    face: Face
    operation: str
    arguments: Mapping[str, Any]
    outcome: str
    duration_ms: float
    request_id: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What a removal deleted. ``files`` are names of prompt caches that are not referenced any more."""

    items: int = 0
    messages: int = 0
    bytes: int = 0
    files: tuple[str, ...] = ()

    def __add__(self, other: Removed) -> Removed:
        return Removed(
            items=self.items + other.items,
            messages=self.messages + other.messages,
            bytes=self.bytes + other.bytes,
            files=(*self.files, *other.files),
        )


def system_and_rest(messages: Sequence[Message]) -> tuple[Sequence[Message], Sequence[Message]]:
    """Return the system messages at the beginning of ``messages``, and the rest."""
    count = next((at for at, message in enumerate(messages) if message.get("role") not in _SYSTEM_ROLES), len(messages))
    return messages[:count], messages[count:]


def check_session_id(session_id: str) -> None:
    """Raise :class:`InvalidRequest` unless ``session_id`` can be the id of a session."""
    if not is_session_id(session_id):
        raise InvalidRequest(
            f"A session id is text of 1 to {LONGEST_ID} characters, none of them a control character.",
            param="session_id",
        )
