"""Logs and metrics, without content; every name is pinned once."""
