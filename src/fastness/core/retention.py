"""Whether what a tenant asks and is answered is kept, for how long, and who is told under which keys to seal it.

The default is that nothing is kept. Days are those of UTC: what is sealed on a day is destroyed when the day after its
last day begins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DAY_S: Final = 86_400
DAYS_MAX: Final = 36_500
_SEALED: Final = re.compile(r"sealed for ([1-9][0-9]{0,4}) days?")


class Keep(StrEnum):
    """The classes of retention."""

    NONE = "none"
    SEALED = "sealed"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Retention:
    """A class, and with `sealed` for how many days. As text: `none`, `sealed for 30 days`, `hold`."""

    keep: Keep = Keep.NONE
    days: int = 0

    def __str__(self) -> str:
        if self.keep is Keep.SEALED:
            return f"sealed for {self.days} day{'' if self.days == 1 else 's'}"
        return self.keep.value

    @property
    def seals(self) -> bool:
        """Whether content is kept."""
        return self.keep is not Keep.NONE

    @property
    def is_valid(self) -> bool:
        """Whether it says days when, and only when, they mean something."""
        return 1 <= self.days <= DAYS_MAX if self.keep is Keep.SEALED else self.days == 0


NOTHING_KEPT: Final = Retention()


def read_retention(text: str) -> Retention:
    """Read what `str` of a retention says; raises ValueError."""
    if text in (Keep.NONE.value, Keep.HOLD.value):
        return Retention(Keep(text))
    found = _SEALED.fullmatch(text)
    if found is None or int(found[1]) > DAYS_MAX:
        raise ValueError(f"retention is `none`, `sealed for N days` (N from 1 to {DAYS_MAX}) or `hold`")
    return Retention(Keep.SEALED, int(found[1]))


@dataclass(frozen=True, slots=True)
class SealingKey:
    """The public half of the key of one tenant's day: with it content can be sealed, and none be opened.

    `day` counts from 1970; `days` is for how many days content under it is kept, 0 as long as there is a hold.
    `public` (X25519) and `index` (for the pseudonyms of end users) are in hex.
    """

    id: str
    tenant: str
    day: int
    days: int
    public: str
    index: str


@dataclass(frozen=True, slots=True)
class SealingSnapshot:
    """All keys that gateways may seal with, from today on for a few days. `full`: there is no room for more content."""

    keys: tuple[SealingKey, ...] = ()
    full: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """Which content of a tenant is meant: what fits everything that is set. Nothing set: all of it.

    `end_user` is what callers sent as `safety_identifier` or `user`. Times are in milliseconds since 1970: from the
    first, up to and not including the second.
    """

    requests: tuple[str, ...] = ()
    key: str | None = None
    end_user: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None


class Purpose(StrEnum):
    """What sealed content is asked for; `release`: that a hold on it ends."""

    OPEN = "open"
    EXPORT = "export"
    SHRED = "shred"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Disclosure:
    """One wish to open, export or shred content, and what became of it. Times are in seconds since 1970.

    `reason` and `selection` are kept with the other state and never in the ledger, which has `digest` of them: SHA-256
    over `salt` and both. `requests` are the ids of what was found when it was asked: an approval is for these alone.
    `break_glass`: somebody who is not of the tenant asked.
    """

    id: str
    purpose: Purpose
    tenant: str
    reason: str
    selection: Selection
    salt: str
    digest: str
    requests: tuple[str, ...]
    labels: tuple[str, ...]
    asked_by: str
    asked_s: int
    expires_s: int
    break_glass: bool = False
    everything: bool = False
    approved_by: str | None = None
    approved_s: int | None = None
    done_s: int | None = None
