"""The rows of the table of events about hosts that the installation's authority certified."""

from __future__ import annotations

from typing import Final

from fastness.core.event import EventType
from fastness.ledger.event_row import EventRow

_ACTOR: Final = {"by": "id of the admin key that asked; `local` for the installation itself"}

CLUSTER_ROWS: Final = (
    EventRow(
        EventType.CERTIFICATE_ISSUED,
        "control",
        "A host was certified by the installation's authority. Its private key is kept nowhere here.",
        {
            "host": "name of the host",
            "role": "`head` or `node`",
            "serial": "serial number of the certificate, in hex",
            "expires_s": "seconds since 1970",
            "addresses": "its IP addresses, separated by spaces",
            "jurisdiction": "whose law it stands under",
            "operator": "who runs it; null when undeclared",
            "ceiling": "the most that may be handled there",
            "claims_sha256": "SHA-256 of all that the certificate says of it, as JSON",
            **_ACTOR,
        },
    ),
    EventRow(
        EventType.CERTIFICATE_REVOKED,
        "control",
        "A host's certificate was revoked.",
        {"host": "name of the host", "serial": "serial number of the certificate, in hex", **_ACTOR},
    ),
)
