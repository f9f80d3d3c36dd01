"""Limits and their book in dicts: for tests and trials. Passes the same contract as the SQL store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fastness.core.limit import Limit, Metric
from fastness.store.memory import MemoryStore
from fastness.store.port import Conflict, Missing, Use
from fastness.traffic.quota import Gateway, Grant, Line, Wish, answer


class MemoryLimitStore:
    """See `LimitStore`. The limits themselves stand in the access store, whose lock it shares."""

    def __init__(self, access: MemoryStore) -> None:
        self._access = access
        self._gateways: dict[str, Gateway] = {}
        self._book: dict[Use, dict[str, Line]] = {}

    def put_limit(self, limit: Limit) -> None:
        """Remember the limits of a scope."""
        with self._access.changing() as limits:
            limits[limit.scope.id] = limit

    def remove_limit(self, scope: str) -> Limit:
        """Forget the limits of a scope; raises Missing."""
        with self._access.changing() as limits:
            if scope not in limits:
                raise Missing(f"there is no limit {scope}")
            return limits.pop(scope)

    def gateway(self, name: str) -> Gateway | None:
        """Return what is known of a gateway."""
        with self._access.lock:
            return self._gateways.get(name)

    def gateways(self) -> tuple[Gateway, ...]:
        """Return every gateway, by name."""
        with self._access.lock:
            return tuple(self._gateways[name] for name in sorted(self._gateways))

    def lease(self, gateway: Gateway, wishes: Sequence[Wish]) -> tuple[Grant, ...]:
        """Take down what a gateway may hold, and return it; raises Conflict."""
        with self._access.lock:
            before = self._gateways.get(gateway.name)
            if before and before.boot == gateway.boot and gateway.sequence <= before.sequence:
                raise Conflict(f"request {gateway.sequence} of {gateway.name} is not newer than {before.sequence}")
            gateway = replace(gateway, position=before.position if before else gateway.position)
            self._gateways[gateway.name] = gateway
            grants = []
            for wish in wishes:
                lines = self._book.setdefault((wish.limit, wish.metric, wish.window_s), {})
                limit = self._access.limits.get(wish.limit)
                line, grant = answer(limit, tuple(lines.values()), self._gateways, gateway, wish)
                grants.append(grant)
                if line is not None:
                    lines[gateway.name] = line
            return tuple(grants)

    def settle(self, gateway: str, position: int, to: int, uses: Mapping[Use, int]) -> bool:
        """Add what a gateway's ledger shows, in one step with the position."""
        with self._access.lock:
            known = self._gateways.get(gateway)
            if known is None or known.position != position:
                return False
            self._gateways[gateway] = replace(known, position=to)
            for use, amount in uses.items():
                lines = self._book.setdefault(use, {})
                line = lines.get(gateway) or Line(gateway, "")
                lines[gateway] = replace(line, used=line.used + amount)
            return True

    def lines(self, use: Use) -> tuple[Line, ...]:
        """Return the lines of one limit, metric and window."""
        with self._access.lock:
            return tuple(line for _, line in sorted(self._book.get(use, {}).items()))

    def forget_uses(self, metrics: Sequence[Metric], before_s: int) -> int:
        """Remove what was counted in windows that began before then."""
        with self._access.lock:
            old = [use for use in self._book if use[1] in metrics and use[2] < before_s]
            return sum(len(self._book.pop(use)) for use in old)
