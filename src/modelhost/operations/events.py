"""What happens to the models, as every face tells it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modelhost.models.residency.status import Activity, ModelEvent, State
from modelhost.operations.operation import Result


class EventReport(Result):
    """One event."""

    at: float = Field(description="When it happened, in seconds since 1970.")
    kind: Literal["state", "progress", "reload_failed", "removed", "registry"] = Field(
        description="`state`: a model is in another state. `progress`: it is further. `reload_failed`: it could not be "
        "loaded with another configuration, and has the earlier one. `removed`: the host has it no longer. "
        "`registry`: the file of models was read again, or could not be."
    )
    model: str = Field(description="The model; empty for `registry`.")
    state: State | None = None
    activity: Activity | None = Field(default=None, description="What the model loads: its files, or itself.")
    progress: float | None = Field(default=None, description="How far that is, 0 to 1, where it is known.")
    message: str | None = Field(default=None, description="Why, where there is something to say.")


def reported(event: ModelEvent) -> EventReport:
    """Return ``event`` as every face tells it."""
    return EventReport.model_validate(event, from_attributes=True)
