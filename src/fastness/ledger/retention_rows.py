"""The rows of the table of events about content that a department chose to keep. No reason, no name, no content."""

from __future__ import annotations

from typing import Final

from fastness.core.event import EventType
from fastness.ledger.event_row import EventRow

_ACTOR: Final = {"by": "id of the principal that asked; `local` for the installation itself"}
_DISCLOSURE: Final = {
    "disclosure": "id of the wish",
    "purpose": "`open`, `export`, `shred` or `release`",
    "tenant": "whose content it is",
    "requests": "how many requests it is about",
    "digest": "SHA-256 over a salt, the reason and the selection, which are kept outside the ledger",
}

RETENTION_ROWS: Final = (
    EventRow(
        EventType.RETENTION_SET,
        "control",
        "A tenant was given another retention: whether what it asks and is answered is kept, and for how long.",
        {
            "tenant": "tenant id",
            "retention": "`none`, `sealed for N days` or `hold`",
            "before": "what it was",
            **_ACTOR,
        },
    ),
    EventRow(
        EventType.RETENTION_SEALED,
        "control",
        "A key was made, under which content of a tenant is sealed on one day.",
        {
            "tenant": "tenant id",
            "key": "id of the key",
            "public_sha256": "SHA-256 of its public half",
            "day": "days since 1970",
            "days": "for how many days content under it is kept; 0 as long as there is a hold",
        },
    ),
    EventRow(
        EventType.RETENTION_EXPIRED,
        "control",
        "The key of a day was destroyed, because its days were over: nothing under it can be opened any more.",
        {
            "tenant": "tenant id",
            "key": "id of the key",
            "requests": "how many requests were sealed under it",
        },
    ),
    EventRow(
        EventType.RETENTION_SHREDDED,
        "control",
        "Keys were destroyed, because two people wanted it: nothing under them can be opened any more.",
        {
            **_DISCLOSURE,
            "everything": "whether all keys of the tenant were destroyed, its own included",
            "requests_sha256": "SHA-256 of the ids of these requests, sorted, one a line",
            "keys": "how many keys of days were destroyed",
            "opened_after": "how many of these requests could still be opened when that was tried: none",
            "approved_by": "id of the second principal",
            **_ACTOR,
        },
    ),
    EventRow(
        EventType.DISCLOSURE_ASKED,
        "control",
        "Somebody asked to open, export or shred sealed content. Nothing happens before another one approves.",
        {
            **_DISCLOSURE,
            "break_glass": "whether it was somebody who is not of the tenant",
            "expires_s": "until when it may be approved and used, in seconds since 1970",
            **_ACTOR,
        },
    ),
    EventRow(
        EventType.DISCLOSURE_APPROVED,
        "control",
        "Another one approved what was asked.",
        {**_DISCLOSURE, "asked_by": "id of the principal that asked", **_ACTOR},
    ),
    EventRow(
        EventType.DISCLOSURE_OPENED,
        "control",
        "Sealed content was opened and shown to who had asked. The entry is durable before anything is shown.",
        {**_DISCLOSURE, "approved_by": "id of the second principal", **_ACTOR},
    ),
    EventRow(
        EventType.DISCLOSURE_EXPORTED,
        "control",
        "Sealed content was opened and written to a file. The entry is durable before the file is given out.",
        {
            **_DISCLOSURE,
            "approved_by": "id of the second principal",
            "file_sha256": "SHA-256 of the file",
            "encrypted": "whether the file is encrypted to somebody",
            **_ACTOR,
        },
    ),
    EventRow(
        EventType.BREAKGLASS_OPENED,
        "control",
        "Somebody who is not of the tenant is about to see content of it: two people of the installation wanted it.",
        {**_DISCLOSURE, "approved_by": "id of the second principal", **_ACTOR},
    ),
    EventRow(
        EventType.EVIDENCE_EXPORTED,
        "control",
        "A bundle of evidence was written for an auditor.",
        {
            "from_ms": "begin of its period, milliseconds since 1970",
            "to_ms": "end of its period",
            "manifest_sha256": "SHA-256 of its manifest",
            "files": "how many members it has",
            **_ACTOR,
        },
    ),
)
