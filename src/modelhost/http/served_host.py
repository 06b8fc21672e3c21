"""What the HTTP face needs of a host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from modelhost.http.generating_host import GeneratingHost, ServedModel
from modelhost.operations.administered_host import AdministeredHost, EventSource
from modelhost.operations.perform import PerformingHost


class ServedHost(GeneratingHost, AdministeredHost, EventSource, PerformingHost, Protocol):
    """The host as the application sees it. Operations on tools and on what is kept need more of it, as they declare."""

    @property
    def is_ready(self) -> bool:
        """Whether a request would be answered."""

    @property
    def models(self) -> Sequence[ServedModel]:
        """The models, the active one first."""

    def find(self, name: str | None) -> ServedModel: ...
