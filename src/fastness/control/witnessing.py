"""Has witnesses cosign every log of this installation, round after round, and tells gateways how far that has come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastness.control.failures import Log
from fastness.core.ids import is_name
from fastness.core.witnessed import WitnessedLog, WitnessSnapshot
from fastness.ledger.checkpoint import parse_checkpoint
from fastness.ledger.note import Note, Signature
from fastness.ledger.receipts.receipt import PARTIAL
from fastness.ledger.stored_log import StoredLog
from fastness.ledger.witness.policy import WitnessPolicy
from fastness.ledger.witness.submitting import NotCosigned, Post, Submitter
from fastness.store.snapshot_file import write_snapshot

LOGS_MAX: Final = 1_024


@dataclass(frozen=True, slots=True)
class Places:
    """Where logs are, where cosigned checkpoints are kept, and the snapshot for gateways."""

    ledger: Path
    cosigned: Path
    snapshot: Path


class Witnessing:
    """The rounds. `post` speaks to a witness; `failures` are what it raises when nobody answers."""

    def __init__(
        self,
        policy: WitnessPolicy,
        places: Places,
        post: Post,
        failures: tuple[type[Exception], ...],
        interval_s: float,
        clock: Callable[[], float],
        log: Log,
    ) -> None:
        self._policy, self._places, self._post, self._failures = policy, places, post, failures
        self._interval_s, self._clock, self._log = interval_s, clock, log
        self._submitters: dict[tuple[str, str], Submitter] = {}
        self._witnessed: dict[str, WitnessedLog] = {}
        self._troubles: dict[tuple[str, str], str] = {}
        self._version = 0

    @asynccontextmanager
    async def keep_cosigned(self) -> AsyncIterator[None]:
        """Go round until the block ends."""
        task = asyncio.create_task(self._go_round())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _go_round(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await self.round()
            except (OSError, ValueError) as error:
                self._log.record("error", "witness.problem", reason=type(error).__name__)
            await asyncio.sleep(max(0.0, self._interval_s - (time.monotonic() - began)))

    async def round(self) -> None:
        """Submit the last checkpoint of every log to every witness once; raises OSError, ValueError."""
        logs = sorted(path.parent.name for path in self._places.ledger.glob("*/checkpoint"))
        for log in [name for name in logs if is_name(name)][:LOGS_MAX]:
            note, _ = StoredLog(self._places.ledger / log).checkpoint()
            witnesses = [one for one in self._policy.witnesses.values() if one.url]
            found = await asyncio.gather(*(self._submit(log, one.name, note) for one in witnesses))
            cosigned = {name for name, signed in zip((one.name for one in witnesses), found, strict=True) if signed}
            if cosigned:
                self._keep(log, note.signed_also(line for line in found if line), cosigned)
        self._version += 1
        snapshot = WitnessSnapshot(self._version, tuple(self._witnessed.values()))
        write_snapshot(self._places.snapshot, snapshot, durable=False)

    async def _submit(self, log: str, name: str, note: Note) -> Signature | None:
        submitter = self._submitters.get((log, name))
        if submitter is None:
            witness = self._policy.witnesses[name]
            submitter = Submitter(self._places.ledger / log, witness, self._post, self._failures)
            self._submitters[log, name] = submitter
        try:
            signature = await submitter.submit(note)
        except NotCosigned as trouble:
            self._trouble(log, name, str(trouble), disputed=trouble.disputed)
            return None
        self._trouble(log, name, "", disputed=False)
        return signature

    def _keep(self, log: str, note: Note, cosigned: set[str]) -> None:
        """Keep the newest cosigned checkpoint, and the newest with a quorum if that is another."""
        enough = self._policy.met(cosigned)
        self._places.cosigned.mkdir(exist_ok=True, mode=0o700)
        path = self._places.cosigned / (log if enough else f"{log}{PARTIAL}")
        draft = path.with_suffix(".new")
        draft.write_text(str(note))
        draft.replace(path)
        if enough:
            size = parse_checkpoint(note.text).size
            self._witnessed[log] = WitnessedLog(log, size, self._clock())

    def _trouble(self, log: str, name: str, why: str, *, disputed: bool) -> None:
        """Log what is wrong with a witness when that changes."""
        if self._troubles.get((log, name), "") == why:
            return
        self._troubles[log, name] = why
        level, event = ("error", "witness.disputes") if disputed else ("warning", "witness.away")
        if not why:
            level, event = "info", "witness.cosigns"
        self._log.record(level, event, where=f"{name} {log}", reason=why or None)
