"""The history of metrics and alerts, in a SQLite file without SQLAlchemy."""
