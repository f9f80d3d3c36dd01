"""How often a generation was tried and where it failed, and whether it may be tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastness.core.replica import Replica, ReplicaState
from fastness.gateway.asking import give_back
from fastness.gateway.relay import EngineAway, EngineErred, EngineFailed
from fastness.traffic.circuit import CircuitState
from fastness.traffic.continuation import Written
from fastness.traffic.portion import Portion
from fastness.traffic.retry_budget import RetryBudget

if TYPE_CHECKING:
    from fastness.gateway.gateway import Gateway
    from fastness.gateway.trip import Trip
    from fastness.traffic.fair_queue import Usable

AWAY_MAX: Final = 5
"""So often nobody may have listened for one generation. It costs engines nothing, and circuits slow it down."""


class Tries:
    """How often one generation was tried, and where it failed. `failure` is the last one; None: it never failed.

    `paid` is how many retries it took from the budget.
    """

    __slots__ = (
        *("_away", "_began", "_failed", "_fruitless", "_gateway", "_trip", "_written"),
        *("came", "erred", "failure", "paid"),
    )

    def __init__(self, gateway: Gateway, trip: Trip, written: Written | None, began: float) -> None:
        self._gateway, self._trip, self._written, self._began = gateway, trip, written, began
        self._failed: dict[str, int] = {}
        self.erred: list[Replica] = []
        self._away = self._fruitless = self.came = self.paid = 0
        self.failure: EngineFailed | None = None

    def elsewhere(self, usable: Usable) -> Usable:
        """Of the usable replicas, those where it has not failed; as long as one of them can be sent anything."""
        served = self._trip.served
        if not self._failed or served is None:
            return usable
        now = self._gateway.now()
        others = frozenset(
            name
            for name, one in served.replicas.items()
            if (usable is None or name in usable)
            and self._failed.get(name) != one.epoch
            and one.state is ReplicaState.READY
            and served.circuit(one, now) is not CircuitState.OPEN
        )
        return others or usable

    def note(self, replica: Replica, failure: EngineFailed) -> None:
        """Take a failure to account. What an engine itself says is its fault is, once another did the same work."""
        served = self._trip.served
        assert served
        self._failed[replica.id] = replica.epoch
        give_back(self._trip)
        if isinstance(failure, EngineErred):
            self.erred.append(replica)
        else:
            served.failed(replica, self._gateway.now(), gone=isinstance(failure, EngineAway))

    def again(self, failure: EngineFailed) -> bool:
        """Tell whether it may be tried again, and count it."""
        gateway, traffic = self._gateway, self._gateway.settings.traffic
        came = self._written.count if self._written else 0
        if isinstance(failure, EngineAway):
            self._away += 1
        else:
            self._fruitless = 1 if came > self.came else self._fruitless + 1
            self.came = came
        late = gateway.now() - self._began > traffic.answer_timeout_s
        if late or self._away >= AWAY_MAX or self._fruitless >= traffic.attempts_max:
            return False
        model = self._trip.served.name if self._trip.served else ""
        if not gateway.budget(model).take(gateway.now()):
            gateway.meters.retry(model, "refused")
            return False
        self.paid += 1
        failure.__traceback__ = failure.__context__ = None  # its frames hold the trip
        self.failure = failure
        resumes = came > 0 and not isinstance(failure, EngineAway)  # else that failure is counted already
        if resumes:
            self._trip.resumed += 1
        elif not came:
            self._trip.retried += 1
        gateway.meters.retry(model, "resumed" if resumes else "retried")
        return True


def deadline_of(gateway: Gateway, trip: Trip, tries: Tries | None, now: float) -> float:
    """Until when the next try, which begins now, may wait for a slot."""
    traffic, own_s = gateway.settings.traffic, trip.wait_s
    if own_s is not None and (tries is None or not tries.came):
        return trip.exchange.received_at + own_s  # but what has begun is gone on with, whoever would rather not wait
    return now + (traffic.queue_timeout_s if tries is None or tries.failure is None else traffic.resume_timeout_s)


def budget_of(gateway: Gateway) -> RetryBudget:
    """Return a full budget: this gateway's part of what all may try again."""
    traffic, portion = gateway.settings.traffic, gateway.routing.portion or Portion()
    floor_per_s, burst = traffic.retry_floor_per_s / portion.count, portion.of(traffic.retry_burst)
    return RetryBudget(traffic.retry_percent / 100, floor_per_s, burst, gateway.now())
