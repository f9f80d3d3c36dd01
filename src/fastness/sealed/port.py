"""What others need of the sealed store: the record that is sealed, and who holds the tenants' keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class SealedUnavailable(Exception):  # noqa: N818 - a state of the machine
    """Content cannot be sealed now: no key, no room, or the disk refuses. The message says which, and no content."""


@dataclass(frozen=True, slots=True, repr=False)
class Kept:
    """One request and its answer, to be sealed. It has no `repr`: it must not end up in a message.

    `body` is what came and `answer` what goes out, to the byte; `whole` is False when the answer broke off. `said` is
    what the receipt commits to of the answer, and `salts` are those of its commitments, in hex. `record_key` are 32
    random bytes that it is sealed under, and that nobody else has: whatever follows from them goes when they go.
    """

    tenant: str
    request_id: str
    time_ms: int
    key: str
    marking: str
    policy: str | None
    operation: str
    model: str | None
    body: bytes
    answer: bytes
    whole: bool
    said: bytes
    salts: dict[str, str]
    record_key: bytes


class TenantKeys(Protocol):
    """The keys of tenants, one for each, under which the keys of days are sealed. Every method blocks, raises OSError.

    Raises `box.Damaged` for what does not open, SealedUnavailable for a device that cannot be used.
    """

    def seal(self, tenant: str, name: str, plain: bytes) -> bytes:
        """Seal something small under the key of a tenant, which is made if there is none."""
        ...

    def open(self, tenant: str, name: str, sealed: bytes) -> bytes:
        """Open what `seal` made."""
        ...

    def destroy(self, tenant: str) -> bool:
        """Destroy the key of a tenant, for good; False when there was none."""
        ...
