"""The database of a host: sessions, saved states and the audit log, in SQLite or PostgreSQL."""
