"""Writes docs/reference from the code: settings, endpoints, engines, errors, metrics, commands, compatibility."""
