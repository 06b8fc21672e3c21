"""Writes deploy/, a dashboard for Grafana and rules for Prometheus, from the code's metrics and alerts."""
