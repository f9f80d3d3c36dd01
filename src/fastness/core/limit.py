"""Limits on what a key, a tenant or a model may use: how much, counted how, and in which window of time.

Windows are fixed: a minute begins with each minute of UTC, a day at midnight UTC. How many requests run at the same
time has no window.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MINUTE_S: Final = 60
DAY_S: Final = 86_400


class Metric(StrEnum):
    """What is counted; the values are the fields of a limit."""

    REQUESTS_PER_MINUTE = "requests_per_minute"
    TOKENS_PER_MINUTE = "tokens_per_minute"
    REQUESTS_PER_DAY = "requests_per_day"
    TOKENS_PER_DAY = "tokens_per_day"
    CONCURRENT = "concurrent"

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are counted, and not requests."""
        return self in _OF_TOKENS

    @property
    def period_s(self) -> int:
        """The length of its windows in seconds; 0 for what runs at the same time."""
        return _PERIODS[self]

    def window_s(self, now_s: float) -> int:
        """Return when the window that holds `now_s` began, in seconds since 1970; 0 for what has no window."""
        period_s = _PERIODS[self]
        return int(now_s) // period_s * period_s if period_s else 0


_OF_TOKENS: Final = frozenset({Metric.TOKENS_PER_MINUTE, Metric.TOKENS_PER_DAY})
_PERIODS: Final = {
    Metric.REQUESTS_PER_MINUTE: MINUTE_S,
    Metric.TOKENS_PER_MINUTE: MINUTE_S,
    Metric.REQUESTS_PER_DAY: DAY_S,
    Metric.TOKENS_PER_DAY: DAY_S,
    Metric.CONCURRENT: 0,
}


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a limit is about: requests of this tenant, key and model together; None: of any. One at least is set."""

    tenant: str | None = None
    key: str | None = None
    model: str | None = None

    def holds(self, tenant: str, key: str, model: str) -> bool:
        """Tell whether a request of this tenant and key for this model falls under it."""
        return (
            (self.tenant is None or self.tenant == tenant)
            and (self.key is None or self.key == key)
            and (self.model is None or self.model == model)
        )

    @property
    def id(self) -> str:
        """Its name, the same wherever it is written: `tenant:health,model:small`."""
        parts = (("tenant", self.tenant), ("key", self.key), ("model", self.model))
        return ",".join(f"{what}:{name}" for what, name in parts if name is not None)

    def __str__(self) -> str:
        parts = (("tenant", self.tenant), ("key", self.key), ("model", self.model))
        return ", ".join(f"{what} {name}" for what, name in parts if name is not None)


@dataclass(frozen=True, slots=True)
class Limit:
    """The limits of one scope; None: not limited. What is counted goes on when a number is changed."""

    scope: Scope
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_day: int | None = None
    concurrent: int | None = None

    def bounds(self) -> tuple[tuple[Metric, int], ...]:
        """Return what is limited, and how much of it there is in a window."""
        found = ((metric, getattr(self, metric.value)) for metric in Metric)
        return tuple((metric, bound) for metric, bound in found if bound is not None)
