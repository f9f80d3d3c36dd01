"""Virtual token counters: what each tenant was given, in weighted tokens over its share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from fastness.core.priority import Band

INPUT_WEIGHT: Final = 1.0
OUTPUT_WEIGHT: Final = 2.0
"""What a token of input and of output costs, as in the VTC paper: output is made one by one."""
ACCOUNTS_MAX: Final = 1_024
"""Counters that are kept beside those of tenants that wait; the oldest of the others are forgotten."""

Usable = frozenset[str] | None
"""Ids of the replicas that a ticket may use; None: any."""


class Ask(NamedTuple):
    """What a ticket asks for. Tokens are estimates, `weight` is its tenant's share; `deadline_s` is of the same clock
    as what the caller says is now. `returns`: it had a slot and its engine failed, so it waits in front of all.
    """

    tenant: str
    weight: float
    band: Band
    input_tokens: int
    output_tokens: int
    deadline_s: float
    usable: Usable
    returns: bool = False


def cost(input_tokens: int, output_tokens: int, weight: float) -> float:
    """What tokens count for a tenant of that share."""
    return (INPUT_WEIGHT * input_tokens + OUTPUT_WEIGHT * output_tokens) / weight


@dataclass(eq=False, slots=True)
class Account:
    """One tenant's counter, and how many of its tickets wait. `pending` is what of the counter is estimate yet."""

    tenant: str
    weight: float = 1.0
    counter: float = 0.0
    pending: float = 0.0
    waiting: int = 0

    @property
    def served(self) -> float:
        """The counter without what is still running."""
        return self.counter - self.pending


class Counters:
    """The accounts. `reached` is how far the tenant whose turn came last had been served then."""

    __slots__ = ("_accounts", "reached")

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self.reached = 0.0

    def __len__(self) -> int:
        return len(self._accounts)

    def of(self, ask: Ask) -> Account:
        """Return the account of whoever asks, with its share as it is now."""
        account = self._accounts.get(ask.tenant)
        if account is None:
            if len(self._accounts) >= ACCOUNTS_MAX:
                self._forget()
            account = self._accounts[ask.tenant] = Account(ask.tenant)
        account.weight = ask.weight
        return account

    def find(self, tenant: str) -> Account | None:
        """Return the account of a tenant, if it has one."""
        return self._accounts.get(tenant)

    def charge(self, account: Account, ask: Ask) -> None:
        """Charge what is asked for, by its estimate."""
        charged = cost(ask.input_tokens, ask.output_tokens, ask.weight)
        self.reached = account.counter - account.pending
        account.counter += charged
        account.pending += charged

    def end(self, ask: Ask) -> None:
        """What was charged for that is estimate no more: it runs no more."""
        if (account := self._accounts.get(ask.tenant)) is not None:
            left = account.pending - cost(ask.input_tokens, ask.output_tokens, ask.weight)
            account.pending = max(0.0, left)

    def _forget(self) -> None:
        """Forget tenants that do not wait: those that a stranger would be level with, or else the older half."""
        idle = [one for one in self._accounts.values() if not one.waiting]
        level = [one for one in idle if one.counter <= self.reached]
        for one in level or idle[: len(idle) // 2 + 1]:
            del self._accounts[one.tenant]
