"""Writes docs/reference from the code: settings, endpoints, doors, engines, errors, metrics, commands,
compatibility."""
