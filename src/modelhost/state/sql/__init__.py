"""Tables and statements; imported when a database is first needed."""
