"""What every reader of traces refuses with."""

from __future__ import annotations


class TraceError(ValueError):
    """A trace that cannot be read; the message names the file, the line, what was needed and what came."""
