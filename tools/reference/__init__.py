"""Writes docs/reference from the code: settings, endpoints, errors, metrics, commands."""
