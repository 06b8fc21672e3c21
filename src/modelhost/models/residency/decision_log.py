"""The debug log of the scheduling: each decision of the ledger, and what it was based on."""

from __future__ import annotations

from modelhost.logs import get_logger, has_debug
from modelhost.models.files.memory_pools import Bytes
from modelhost.models.residency.effects import Effect, Fetch, Grant, Load, Refuse, Stop
from modelhost.models.residency.ledger import Ledger
from modelhost.models.residency.record import Ticket

log = get_logger(__name__)


def log_wait(ticket: Ticket, ledger: Ledger) -> None:
    """Note that a request waits, and how its model stands."""
    if has_debug():
        record = ledger.record(ticket.model)
        log.debug(
            "request_waits",
            model=ticket.model,
            position=ticket.position,
            phase=record.phase.name.lower(),
            in_flight=record.in_flight,
            max_in_flight=record.policy.max_in_flight,
            place_in_line=ledger.queue_position(ticket.model),
            room_for=ledger.next_model,
        )


def log_decision(effect: Effect, ledger: Ledger) -> None:
    """Note what the ledger wants done; what is merely news is left out."""
    if not has_debug():
        return
    match effect:
        case Grant(ticket):
            log.debug("request_granted", model=ticket.model, in_flight=ledger.record(ticket.model).in_flight)
        case Refuse(ticket, error):
            log.debug("request_turned_away", model=ticket.model, code=error.code)
        case Fetch(name):
            log.debug("model_to_be_found", model=name, reason="what it needs is not known")
        case Load(name, is_smaller=is_smaller):
            log.debug(
                "model_to_be_loaded",
                model=name,
                need_bytes=_plain(ledger.record(name).need),
                used_bytes=_plain(ledger.occupancy.used()),
                budget_bytes=_plain(ledger.occupancy.budget),
                is_smaller=is_smaller,
            )
        case Stop(name, reason=reason):
            log.debug("model_to_be_unloaded", model=name, reason=reason, room_for=ledger.next_model)


def _plain(memory: Bytes | None) -> dict[str, int]:
    return dict(memory or {})
