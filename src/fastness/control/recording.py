"""What a supervisor sees of its replicas, put into ledger and log, and told to the person who started it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fastness.control.site import Progress
from fastness.core.event import Event, EventType, Scalar
from fastness.core.replica import Replica, ReplicaState
from fastness.ledger.port import Ledger, LedgerUnavailable
from fastness.telemetry.log import JsonLog


class Recording:
    """Writes what changed, once. `now` goes forward only; `clock` is the time of day. Both in seconds."""

    def __init__(
        self, ledger: Ledger, log: JsonLog, clock: Callable[[], float], now: Callable[[], float], progress: Progress
    ) -> None:
        self._ledger, self._log, self._clock, self._now, self._progress = ledger, log, clock, now, progress
        self._states: dict[str, tuple[int, ReplicaState]] = {}
        self._began: dict[str, float] = {}
        self._warned: dict[str, str | None] = {}
        self._failed: dict[str, str] = {}
        self._elsewhere: dict[str, int] = {}
        self.tells_ready = True
        """Whether each engine that becomes ready is told: it is while everything starts."""

    async def commit(self, type_: EventType, **fields: Scalar) -> None:
        """Record, and return when it is durable."""
        await self._ledger.commit(self._event(type_, **fields))

    def append(self, type_: EventType, **fields: Scalar) -> None:
        """Record without waiting. A ledger that takes nothing stops gateways, not the engines behind them."""
        try:
            self._ledger.append(self._event(type_, **fields))
        except LedgerUnavailable as error:
            self.fails("ledger.not_written", str(error))

    def fails(self, event: str, reason: str) -> None:
        """Log what goes on failing once."""
        if self._failed.get(event) != reason:
            self._failed[event] = reason
            self._log.record("error", event, reason=reason)

    def observed(self, replica: Replica) -> None:
        """Take note of a replica that changed by itself."""
        before = self._states.get(replica.id)
        if replica.state is ReplicaState.STOPPED:
            self._states.pop(replica.id, None)
            self._began.pop(replica.id, None)
        else:
            self._states[replica.id] = (replica.epoch, replica.state)
        if before == (replica.epoch, replica.state):
            return
        diagnosis = replica.diagnosis.code if replica.diagnosis else None
        self._log.record(
            "info", "replica", replica=replica.id, state=replica.state.value, epoch=replica.epoch, diagnosis=diagnosis
        )
        if replica.state is ReplicaState.STARTING:
            self._began[replica.id] = self._now()
        elif replica.state is ReplicaState.READY:
            if self.tells_ready:
                began_s = self._began.get(replica.id, self._now())
                self._progress.done("engine", _described(replica), self._now() - began_s)
            self._warned.pop(replica.id, None)
            self.append(EventType.MODEL_LOADED, **_loaded(replica))
        elif replica.state in (ReplicaState.BACKING_OFF, ReplicaState.FAILED):
            self._failing(replica, diagnosis)

    def heard(self, replicas: Iterable[Replica]) -> None:
        """Record what engines of other hosts have loaded, as those hosts report it: each start of an engine, once.

        Their own logs say it too, and are there. Receipts are made here, and rest on what is recorded before an answer.
        """
        before, self._elsewhere = self._elsewhere, {}
        for one in replicas:
            if one.state is ReplicaState.READY and before.get(one.id) != one.epoch:
                self.append(EventType.MODEL_LOADED, **_loaded(one), reported_by=one.node)
            if one.state is ReplicaState.READY or before.get(one.id) == one.epoch:
                self._elsewhere[one.id] = one.epoch

    def _failing(self, replica: Replica, diagnosis: str | None) -> None:
        self.append(
            EventType.ENGINE_FAILED,
            replica=replica.id,
            model=replica.model,
            epoch=replica.epoch,
            diagnosis=diagnosis,
            restarts=replica.restarts,
        )
        if self._warned.get(replica.id) == diagnosis:
            return  # it goes on failing in the same way, ever more slowly: the ledger has each time
        self._warned[replica.id] = diagnosis
        summary = replica.diagnosis.summary if replica.diagnosis else "it ended"
        self._progress.warn(f"{replica.id}: {summary.rstrip('.')}. It is being restarted; `fastness ps` tells more.")

    def _event(self, type_: EventType, **fields: Scalar) -> Event:
        return Event(type_, int(self._clock() * 1_000), fields)


def _loaded(replica: Replica) -> dict[str, Scalar]:
    return {
        "replica": replica.id, "model": replica.model, "model_digest": replica.model_digest, "engine": replica.engine,
        "build": replica.build,
        "epoch": replica.epoch, "sealed": replica.sealed, "slots": replica.slots,
        "context_tokens": replica.context_tokens, "adapters": " ".join(replica.adapters),
    }  # fmt: skip


def _described(replica: Replica) -> str:
    return f"{replica.engine} · {replica.model} · {replica.slots} slots × {replica.context_tokens:,} tokens"
