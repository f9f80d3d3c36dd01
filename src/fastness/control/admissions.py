"""Commands on models and adapters that are imported here: take in, approve, revoke.

As with keys, power is recorded before it is given and taken before that is recorded: a crash leaves an entry about an
admission that does not hold yet, never weights that may be loaded without an entry. Asking again finishes what a crash
cut off. Copying and inspecting take long and hold nobody up; only the decision that follows is made one at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fastness.config import RegistrySettings
from fastness.control.admission_words import ImportWish, Outcome, check_same, imported, named, refused, told
from fastness.control.policies import Policies
from fastness.control.problem import Problem
from fastness.control.vouching import Vouching
from fastness.core.admission import Admission, AdmissionState, Approval, Artefact, ArtefactFile, ArtefactKind
from fastness.core.event import Event, EventType, Scalar
from fastness.core.ids import is_name
from fastness.core.marking import Label, UnknownMarking
from fastness.core.policy import Action, Query
from fastness.core.tenant import Principal
from fastness.ledger.port import Ledger
from fastness.registry.admission import approving
from fastness.registry.admission.quarantine import Draft, Quarantine, Review
from fastness.registry.admission.record import Record, Records, card_of
from fastness.registry.admission.refusal import AdmissionRefused
from fastness.registry.inspection.port import (
    ArtefactRefused,
    Base,
    Inspected,
    InspectionUnavailable,
    Inspector,
    Wish,
)
from fastness.registry.library import ModelLibrary, ModelRefused, ModelUnavailable
from fastness.registry.signing.keys import KeyRefused
from fastness.store.admissions import AdmissionStore
from fastness.store.port import Missing

AT_ONCE_MAX: Final = 2
"""Artefacts that are copied and inspected at the same time; more wait, and hold nobody else up."""
_SHOW: Final = "fastness models inspect NAME shows what is known of one; fastness models list shows all"


@dataclass(frozen=True, slots=True)
class Parts:
    """What main builds. `inspector` reads artefacts in a sealed process; `home` has the directory `trust`."""

    home: Path
    settings: RegistrySettings
    store: AdmissionStore
    ledger: Ledger
    policies: Policies
    library: ModelLibrary
    inspector: Inspector
    clock: Callable[[], float]


class Admissions:
    """The commands. Files are copied, hashed and inspected in threads."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.quarantine = Quarantine(parts.home, parts.settings)
        self.vouching = Vouching(parts.home / "trust", self.quarantine, parts.clock)
        self.order = asyncio.Lock()
        self.turns = asyncio.Semaphore(AT_ONCE_MAX)
        self._records = Records(parts.home)

    async def all(self) -> tuple[Admission, ...]:
        """Return every artefact that was ever imported, oldest first."""
        return await asyncio.to_thread(self.parts.store.admissions)

    async def one(self, name: str) -> Admission:
        """Return the admission of that name; raises Problem (not_found)."""
        return await asyncio.to_thread(self._known, name)

    async def shown(self, name: str) -> tuple[Admission, Review]:
        """Return what is known of one; raises Problem."""
        admission = await self.one(name)
        try:
            return admission, await asyncio.to_thread(self.quarantine.review, admission.artefact.digest)
        except AdmissionRefused as error:
            raise refused(error.rule, told(error)) from None

    async def look(self, wish: ImportWish) -> Review:
        """Inspect a file or directory where it lies, and keep nothing. Raises Problem."""
        async with self.turns, self.refusals(None):
            inspected = await asyncio.to_thread(self.inspect, wish.path, await self._wish(wish))
            found = await asyncio.to_thread(self.vouching.of_path, wish.path, inspected, wish.signature)
            return Review(found.named(inspected), found.said)

    async def take_in(self, wish: ImportWish, by: Principal) -> tuple[Admission, Review]:
        """Copy an artefact into quarantine, inspect the copy, and remember it. Raises Problem, store.port.Conflict."""
        self.check_name(wish.name)
        async with self.turns, self.refusals(by), self.draft() as draft:
            copied = await asyncio.to_thread(self.quarantine.copy_in, draft, wish.path)
            inspected = await asyncio.to_thread(self.inspect, draft.content, await self._wish(wish))
            check_same(copied, inspected)
            found = await asyncio.to_thread(self.vouching.of_draft, draft, inspected, wish.signature)
            inspected = found.named(inspected)
            admission = self.new(inspected.artefact, by)
            async with self.order:
                await self.check_new(inspected.artefact)
                await self.record(EventType.MODEL_IMPORTED, by, **imported(inspected.artefact))
                review = Review(inspected, found.said)
                await asyncio.to_thread(self.quarantine.keep, draft, inspected.artefact, review, found.text)
                await asyncio.to_thread(self.parts.store.add_admissions, [admission])
            return admission, review

    async def approve(self, name: str, ceiling: str, by: Principal) -> Outcome:
        """Agree to an artefact up to a ceiling; it is admitted when enough have. Raises Problem."""
        asked = self.parts.policies.read_label(ceiling, "ceiling")
        assert asked is not None
        self._permit(by, asked)
        async with self.order, self.refusals(by):
            before = await self.one(name)
            if before.state is AdmissionState.REVOKED:
                raise refused("admission.revoked", f"{name} was revoked by {before.revoked_by}, which is for good")
            signed = await asyncio.to_thread(self.vouching.still_signed, before.artefact)
            after = self._decided(before, Approval(by.id, int(self.parts.clock()), asked), signed=signed)
            weights = await asyncio.to_thread(self._verified, after)
            await self._record_approval(before, after, asked, by)
            if after != before:
                await asyncio.to_thread(self.parts.store.change_admission, before, after)
            if after.state is AdmissionState.ADMITTED:
                review = await asyncio.to_thread(self.quarantine.review, after.artefact.digest)
                await asyncio.to_thread(self._records.write, Record(after, card_of(after, weights, review)))
            approvers = approving.approvers_of(after.approvals, asked, self.parts.policies.lattice)
            return Outcome(after, asked, approvers, self.rules().approvers_needed(asked))

    async def revoke(self, name: str, by: Principal) -> Admission:
        """Take an admission back, for good; again is harmless. Raises Problem."""
        async with self.order:
            before = await self.one(name)
            if before.state is AdmissionState.REVOKED:
                return before
            after = replace(before, state=AdmissionState.REVOKED, revoked_by=by.id, revoked_s=int(self.parts.clock()))
            await asyncio.to_thread(self.parts.store.change_admission, before, after)
            await asyncio.to_thread(self._records.write, Record(after, None))
            await self.record(EventType.MODEL_REVOKED, by, **named(after.artefact))
            return after

    async def finish(self) -> tuple[str, ...]:
        """Lay down what was admitted, and withdraw what was revoked, where a crash came between. Call it at start.

        Returns the names of what could not be finished, and is not loaded meanwhile.
        """
        unfinished = []
        async with self.order:
            for one in await self.all():
                try:
                    await asyncio.to_thread(self._finish, one)
                except (AdmissionRefused, OSError):
                    unfinished.append(one.artefact.name)
        return tuple(unfinished)

    def _finish(self, one: Admission) -> None:
        try:
            record = self._records.read(one.artefact.name)
        except ValueError:  # damaged: it is written anew
            record = None
        if one.state is AdmissionState.ADMITTED and (record is None or record.admission != one):
            self._records.lay_down(one, self.quarantine)
        if one.state is AdmissionState.REVOKED and record is not None and _is_unrevoked(record, one):
            self._records.write(Record(one, None))

    def rules(self) -> approving.Rules:
        """Return from which marking on admission takes more; raises Problem for settings that the profile lacks."""
        settings = self.parts.settings
        try:
            return approving.Rules(self.parts.policies.lattice, settings.two_approvers_above, settings.signature_above)
        except UnknownMarking as error:
            raise Problem(
                "unknown_marking",
                f"registry.two_approvers_above or registry.signature_above: {error}.",
                "fastness config explain registry.two_approvers_above",
            ) from None

    def inspect(self, path: Path, wish: Wish) -> Inspected:
        """Read an artefact in a sealed process; raises ArtefactRefused, InspectionUnavailable."""
        return self.parts.inspector.inspect(path, wish)

    def new(self, artefact: Artefact, by: Principal) -> Admission:
        """Return the admission of something just imported."""
        return Admission(artefact, AdmissionState.QUARANTINED, by.id, int(self.parts.clock()))

    def check_name(self, name: str) -> None:
        """Refuse what cannot be a name here; raises Problem."""
        if not is_name(name) or self.parts.library.is_shipped(name):
            why = "comes with Fastness" if is_name(name) else "needs lower-case letters, digits and hyphens, at most 63"
            raise Problem("invalid_value", f"{name[:80]!r} {why}.", "Choose another: --name NAME", param="name")

    async def check_new(self, artefact: Artefact) -> None:
        """Refuse bytes that were imported before, and a name in use; raises AdmissionRefused, Problem."""
        for one in await self.all():
            same, alive = one.artefact.digest == artefact.digest, one.state is not AdmissionState.REVOKED
            if same and not alive:
                raise AdmissionRefused(
                    "admission.revoked",
                    f"these bytes were revoked by {one.revoked_by}, as {one.artefact.name}; they do not come back",
                )
            if same:
                raise Problem("conflict", f"These bytes are here already, as {one.artefact.name}.", _SHOW)
            if alive and one.artefact.name == artefact.name:
                raise Problem("conflict", f"There is a {artefact.name} already, with other bytes.", _SHOW, param="name")

    async def record(self, kind: EventType, by: Principal, /, **fields: Scalar) -> None:
        """Write a ledger entry, durably."""
        actor: dict[str, Scalar] = {} if kind is EventType.MODEL_ADMITTED else {"by": by.id}
        await self.parts.ledger.commit(Event(kind, int(self.parts.clock() * 1000), {**fields, **actor}))

    @asynccontextmanager
    async def draft(self) -> AsyncIterator[Draft]:
        """Make a draft, which is gone when the block ends unless it was kept."""
        draft = self.quarantine.draft()
        opened = await asyncio.to_thread(draft.__enter__)
        try:
            yield opened
        finally:
            await asyncio.to_thread(draft.__exit__, None, None, None)

    @asynccontextmanager
    async def refusals(self, by: Principal | None) -> AsyncIterator[None]:
        """Turn what the registry raises into problems; a rule that was broken becomes a ledger entry first."""
        try:
            yield
        except (ArtefactRefused, AdmissionRefused) as error:
            if by is not None:
                await self.record(EventType.MODEL_REFUSED, by, rule=error.rule, digest=None)
            raise refused(error.rule, told(error)) from None
        except (InspectionUnavailable, KeyRefused, ModelUnavailable, ModelRefused, OSError) as error:
            said = f"Nothing was imported or admitted: {str(error).rstrip('.')}."
            raise Problem("artefact_refused", said, "fastness doctor; df shows the free space") from None

    async def _wish(self, wish: ImportWish) -> Wish:
        base = await asyncio.to_thread(self.base, wish.base) if wish.base else None
        return Wish(wish.name, wish.kind, wish.licence, wish.provenance, base, wish.accept_template_sha256)

    def base(self, name: str) -> Base:
        """Return the model that an adapter is for, shipped or imported; raises Problem, ModelUnavailable."""
        if self.parts.library.is_shipped(name):
            card, weights, _ = self.parts.library.ensure(name, lambda *_: None)
            for one in self.parts.store.admissions():  # then its file has a second name, which inspection refuses
                if card.digest in {file.digest for file in one.artefact.files}:
                    return self.quarantine.review(one.artefact.digest).inspected.as_base()
            wish = Wish(card.name, ArtefactKind.MODEL, card.licence, "it comes with Fastness")
            return self.parts.inspector.inspect(weights, wish).as_base()
        admission = self._known(name)
        if admission.state is AdmissionState.REVOKED:
            raise refused("admission.revoked", f"the base {name} was revoked")
        return self.quarantine.review(admission.artefact.digest).inspected.as_base()

    def _verified(self, admission: Admission) -> ArtefactFile | None:
        """Hash every file again; of what is admitted, lay down the weights, which nothing may load without a record."""
        if admission.state is AdmissionState.ADMITTED:
            return self._records.prepare(admission.artefact, self.quarantine)
        self.quarantine.check(admission.artefact)
        return None

    def _known(self, name: str) -> Admission:
        try:
            return self.parts.store.admission(name)
        except Missing:
            raise Problem(
                "not_found",
                f"There is no imported model or adapter {name[:80]!r}.",
                "fastness models list",
                param="name",
            ) from None

    def _permit(self, by: Principal, asked: Label) -> None:
        """Ask policy whether this principal may admit something for this ceiling; raises Problem."""
        decision = self.parts.policies.in_force.engine.decide(Query(by, Action.ADMIT, asked))
        if not decision.allowed:
            raise Problem(
                decision.code or "permission_denied",
                f"{by.id} may not admit anything for {asked}. Needed: {decision.needed}; {decision.had} "
                f"(policy rule {decision.rule}).",
                f"fastness policy explain --key {by.id} --action admit shows every attribute",
            )

    def _decided(self, before: Admission, approval: Approval, *, signed: bool) -> Admission:
        """Return what an admission becomes by one more approval; raises AdmissionRefused, Problem."""
        rules = self.rules()
        if rules.signature_needed(approval.ceiling) and not signed:
            raise AdmissionRefused(
                "admission.signer",
                f"nobody trusted here has signed {before.artefact.name}, which is needed above {rules.signed_above}. "
                f"Put the signer's public key or authority into {self.vouching.directory}, and import it with its "
                "signature; or admit it for less",
            )
        if any((one.by, one.ceiling) == (approval.by, approval.ceiling) for one in before.approvals):
            approvals = before.approvals  # said before: nothing new
        else:
            approvals = approving.with_approval(before.approvals, approval)
        ceiling = approving.agreed_ceiling(approvals, rules, signed=signed)
        if ceiling is None and before.state is AdmissionState.ADMITTED:
            raise Problem(
                "conflict",
                f"{before.artefact.name} would not be admitted for anything any more.",
                f"To take it back for good: fastness models revoke {before.artefact.name}",
            )
        state = AdmissionState.QUARANTINED if ceiling is None else AdmissionState.ADMITTED
        return replace(before, approvals=approvals, state=state, ceiling=ceiling)

    async def _record_approval(self, before: Admission, after: Admission, asked: Label, by: Principal) -> None:
        artefact, needed = after.artefact, self.rules().approvers_needed(asked)
        if after.approvals != before.approvals:
            await self.record(EventType.MODEL_APPROVED, by, **named(artefact), ceiling=str(asked), needed=needed)
        if after.ceiling is not None and after.ceiling != before.ceiling:
            approvers = approving.approvers_of(after.approvals, after.ceiling, self.parts.policies.lattice)
            await self.record(
                EventType.MODEL_ADMITTED,
                by,
                **named(artefact),
                ceiling=str(after.ceiling),
                approvers=" ".join(approvers),
                licence=artefact.licence,
                template_sha256=artefact.template_sha256,
                signer=artefact.signer,
            )


def _is_unrevoked(record: Record, now: Admission) -> bool:
    same = record.admission.artefact.digest == now.artefact.digest
    return same and record.admission.state is not AdmissionState.REVOKED
