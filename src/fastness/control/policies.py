"""The policy in force, and the commands on it: show, apply, and what was in force before.

A policy is built before anything is changed, recorded in the ledger before it is in force, remembered whole, and then
published: a crash in between leaves an entry about a policy that was never in force, or a policy that the next upkeep
publishes; never one in force without an entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastness.control.problem import Problem
from fastness.control.publication import publish
from fastness.control.routes import LOCAL
from fastness.core.event import Event, EventType
from fastness.core.marking import Label, Lattice, UnknownMarking
from fastness.core.policy import Action, Decision, PolicyBundle, PolicySnapshot, Query
from fastness.core.tenant import Principal
from fastness.ledger.port import Ledger
from fastness.policy.cedar import CedarEngine
from fastness.policy.port import PolicyProblem
from fastness.store.port import AppliedPolicy, Conflict, Missing, PolicyStore

HISTORY_MAX: Final = 1_000
"""Lines of the history that are shown at most; the store keeps all."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that was built: what is in the store, and what decides by it."""

    snapshot: PolicySnapshot
    engine: CedarEngine


class Policies:
    """The commands. `path` is where policy.json goes; `first` makes the policy of the first start.

    Until `publish` has found one in the store, or made the first, no policy is in force here and nothing is permitted.
    """

    def __init__(
        self,
        store: PolicyStore,
        ledger: Ledger,
        path: Path | None,
        first: Callable[[], PolicyBundle],
        clock: Callable[[], float],
        build: Callable[[PolicyBundle], CedarEngine] = CedarEngine,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._path = path
        self._first = first
        self._clock = clock
        self._build = build
        self._order = asyncio.Lock()
        self._held: Policy | None = None

    @property
    def in_force(self) -> Policy:
        """The policy in force; raises Problem (policy_unavailable)."""
        if self._held is None:
            raise Problem(
                "policy_unavailable",
                "No policy is in force here, so nothing is permitted but applying one on this machine itself.",
                "fastness logs control says why; fastness policy apply DIR puts one in force",
            )
        return self._held

    @property
    def lattice(self) -> Lattice:
        """The markings of the policy in force; raises Problem (policy_unavailable)."""
        return self.in_force.engine.lattice

    def read_label(self, text: str | None, param: str) -> Label | None:
        """Read a label by the policy in force; raises Problem (unknown_marking, policy_unavailable)."""
        if text is None:
            return None
        try:
            return self.lattice.read(text)
        except UnknownMarking as error:
            raise Problem(
                "unknown_marking", f"{error}.", "fastness policy show lists the markings.", param=param
            ) from None

    def permit(self, principal: Principal, action: Action, label: Label | None = None) -> Decision:
        """Ask whether `principal` may do `action` with the installation; raises Problem when it may not.

        `label` is what it is about (None: the default marking). While no policy is in force, the local operator may
        apply one: that is how the installation is recovered.
        """
        if self._held is None and principal == LOCAL and action is Action.APPLY_POLICY:
            return Decision(True, "recovery")
        decision = self.decide(principal, action, label)
        if not decision.allowed:
            raise Problem(
                decision.code or "permission_denied",
                f"Policy does not permit {principal.id} to {action.value.replace('_', ' ')}. Needed: "
                f"{decision.needed}; {decision.had} (policy rule {decision.rule}).",
                f"fastness policy explain --key {principal.id} --action {action.value} shows every attribute",
            )
        return decision

    def decide(self, principal: Principal, action: Action, label: Label | None = None) -> Decision:
        """Decide about `action` with the installation itself; raises Problem (policy_unavailable)."""
        engine = self.in_force.engine
        return engine.decide(Query(principal, action, label or Label(engine.lattice.profile.default)))

    async def apply(self, bundle: PolicyBundle, by: str, *, force: bool = False) -> PolicySnapshot:
        """Put `bundle` in force; what is in force already stays as it is.

        Raises Problem (policy_invalid; also when the local operator could apply no other, unless `force`), Conflict.
        """
        async with self._order:
            engine = await self._built(bundle)
            _refuse_lock_out(engine, force)
            newest = await self._newest()
            if newest is not None and newest.bundle.digest == bundle.digest:
                if self._held is None or self._held.snapshot != newest:
                    await self._take_over()
                return newest
            version, before = (newest.version, newest.bundle.digest) if newest else (0, None)
            return await self._apply(bundle, by, version, before)

    async def earlier(self, version: int) -> PolicySnapshot:
        """Return a policy that was in force; raises Problem (not_found)."""
        try:
            return await asyncio.to_thread(self._store.policy, version)
        except Missing:
            raise Problem(
                "not_found", f"There is no policy {version}.", "fastness policy history lists them", param="version"
            ) from None

    async def history(self, count: int) -> tuple[AppliedPolicy, ...]:
        """Return the newest `count` policies that were in force, newest first."""
        return await asyncio.to_thread(self._store.policy_history, count)

    async def publish(self, *, always: bool = False) -> None:
        """Put in force and publish what the store has, where that is not what is in force and published already.

        Where there never was a policy, the first is applied. One that cannot be built is not published: what was
        published before stays. Raises Problem, Unavailable and LedgerUnavailable.
        """
        async with self._order:
            version = await asyncio.to_thread(self._store.policy_version)
            if version == 0:
                with suppress(Conflict):  # another process was first; we take it over in a second
                    await self._apply(await asyncio.to_thread(self._made_first), LOCAL.id, 0, None)
                return
            missing = self._path is not None and not self._path.exists()
            if always or missing or self._held is None or self._held.snapshot.version != version:
                await self._take_over()

    async def _apply(self, bundle: PolicyBundle, by: str, version: int, before: str | None) -> PolicySnapshot:
        snapshot = PolicySnapshot(version + 1, bundle, int(self._clock()), by)
        await self._ledger.commit(
            Event(
                EventType.POLICY_APPLIED,
                int(self._clock() * 1000),
                {"policy": bundle.digest, "before": before, "version": snapshot.version, "by": by},
            )
        )
        await asyncio.to_thread(self._store.add_policy, snapshot)
        await self._take_over()
        return snapshot

    async def _take_over(self) -> None:
        snapshot = await asyncio.to_thread(self._store.policy)
        if self._held is None or self._held.snapshot != snapshot:
            self._held = Policy(snapshot, await self._built(snapshot.bundle))
        if self._path is not None:
            await asyncio.to_thread(publish, self._path, self._store.policy)

    async def _newest(self) -> PolicySnapshot | None:
        try:
            return await asyncio.to_thread(self._store.policy)
        except Missing:
            return None

    async def _built(self, bundle: PolicyBundle) -> CedarEngine:
        try:
            return await asyncio.to_thread(self._build, bundle)
        except PolicyProblem as error:
            raise unfit(error) from None

    def _made_first(self) -> PolicyBundle:
        try:
            bundle = self._first()
            self._build(bundle)
        except PolicyProblem as error:
            raise unfit(error) from None
        return bundle


def unfit(error: PolicyProblem) -> Problem:
    """Return the problem of a policy or profile that cannot be put in force."""
    said = str(error).rstrip(".")
    return Problem("policy_invalid", f"{said}.", "Nothing was changed: the policy in force stays as it was.")


def _refuse_lock_out(engine: CedarEngine, force: bool) -> None:
    decision = engine.decide(Query(LOCAL, Action.APPLY_POLICY, Label(engine.lattice.profile.default)))
    if decision.allowed or force:
        return
    raise Problem(
        "policy_invalid",
        "You would lock yourself out: under this policy the local operator could not apply another one. Needed: "
        f"{decision.needed}; {decision.had} (policy rule {decision.rule}).",
        'Permit apply_policy to Role::"operator", or, when somebody else shall hold that right alone: --force',
    )
