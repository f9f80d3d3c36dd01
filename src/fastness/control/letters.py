"""What the head and a node write to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from fastness.core.observation import NodeOrders, NodeReport
from fastness.fleet.door.orders import HostDoor, WantedModel

REPORT_PERIOD_S: Final = 0.5
"""How often the head hears of a node on which nothing changes, if there are not many. A lease is several of these."""


@dataclass(frozen=True, slots=True)
class Word:
    """From the head to a node: that its report of `answers_ms` was heard, and all that it has to run.

    One that answers 0 answers nothing: it is a greeting, to a node that has not heard yet which run of the head is on.
    `orders` are None while control has given none yet; the node keeps to what it has. `revoked` is the list of revoked
    certificates, as PEM. `missing` are models that the node lacks and who has them, `records` those of the admission of
    what it was ordered to run, as JSON. The node reports at least every `pace_s`. `doors` are those of the hosts with
    which it shares gangs, and its own.
    """

    answers_ms: int
    orders: NodeOrders | None = None
    revoked: str = ""
    missing: tuple[WantedModel, ...] = ()
    records: tuple[str, ...] = ()
    pace_s: float = REPORT_PERIOD_S
    doors: tuple[HostDoor, ...] = ()


_WORDS: Final = msgspec.json.Decoder(Word)
_REPORTS: Final = msgspec.json.Decoder(NodeReport)


def write(content: Word | NodeReport) -> bytes:
    """Return the body of a letter."""
    return msgspec.json.encode(content)


def read_word(body: bytes) -> Word:
    """Read what the head wrote; raises ValueError."""
    return _WORDS.decode(body)


def read_report(body: bytes) -> NodeReport:
    """Read what a node wrote; raises ValueError."""
    return _REPORTS.decode(body)
