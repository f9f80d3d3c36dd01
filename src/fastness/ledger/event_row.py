"""One row of the table of ledger events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastness.core.event import EventType


@dataclass(frozen=True, slots=True)
class EventRow:
    """The type, the log or logs it is written to, what it means, and its fields with their meanings."""

    type: EventType
    logs: str
    meaning: str
    fields: Mapping[str, str]
