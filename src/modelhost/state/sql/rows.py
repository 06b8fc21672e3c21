"""The tables, within one transaction."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from sqlalchemy import text
from sqlalchemy.engine import Connection

from modelhost.state.sql.audit_rows import AuditRows
from modelhost.state.sql.dialect import is_postgresql
from modelhost.state.sql.lease_rows import LeaseRows
from modelhost.state.sql.session_rows import SessionRows
from modelhost.state.sql.snapshot_rows import SnapshotRows

_ONE_AT_A_TIME: Final = 0x6D6F64656C01
"""Of all that lock something on a server this is us: "model"."""


class Rows:
    """What a transaction may read and write."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @cached_property
    def sessions(self) -> SessionRows:
        """Sessions and their messages."""
        return SessionRows(self.connection)

    @cached_property
    def leases(self) -> LeaseRows:
        """Who has which session."""
        return LeaseRows(self.connection)

    @cached_property
    def snapshots(self) -> SnapshotRows:
        """Saved states."""
        return SnapshotRows(self.connection)

    @cached_property
    def audit(self) -> AuditRows:
        """The audit log."""
        return AuditRows(self.connection)

    def one_at_a_time(self) -> None:
        """Wait for other transactions that said so, and keep later ones waiting until the end of this one.

        For those that change sessions which they have no lease of: two of them could wait for each other for ever.
        """
        if is_postgresql(self.connection):
            self.connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_AT_A_TIME})
