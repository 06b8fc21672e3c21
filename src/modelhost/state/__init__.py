"""What a host keeps: sessions, saved states and the audit log, in SQLite or PostgreSQL."""
