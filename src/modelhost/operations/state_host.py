"""What the operations on sessions, saved states and the audit log need of a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from modelhost.persistence.saved_state import Persistence
    from modelhost.state.store import StateStore


class StateHost(Protocol):
    """The host as these operations see it."""

    @property
    def state(self) -> StateStore: ...
    @property
    def persistence(self) -> Persistence: ...
