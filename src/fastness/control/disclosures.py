"""Sealed content is opened, exported or destroyed by two people: one asks, another one approves, within a time.

Who is of the tenant asks policy for `open_sealed`; who is not breaks the glass (`break_glass`), which is an event of
its own. To destroy is `shred_sealed`, and so is to end a hold. Every label of what was found is asked about, of both.
An approval is for the requests that were found when it was asked, and no others. The entry is durable before anything
is shown or given out.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from fastness.control.access import Access
from fastness.control.policies import Policies
from fastness.control.problem import Problem
from fastness.core.event import Event, EventType, Scalar
from fastness.core.marking import Label, UnknownMarking
from fastness.core.policy import Action
from fastness.core.retention import Disclosure, Keep, Purpose, Selection
from fastness.core.tenant import DEFAULT_TENANT, Credential, Principal
from fastness.ledger.port import Ledger, Position
from fastness.sealed.safe import FOUND_MAX, Found, Safe
from fastness.store.disclosures import DisclosureStore
from fastness.store.port import Missing

REASON_CHARS_MAX: Final = 2_000
OPEN_MAX: Final = 1_000
"""Disclosures that may wait to be approved or used at the same time."""
REMEMBERED_S: Final = 7 * 365 * 86_400
"""For so long what was asked is remembered with its reason; the ledger's entries stay."""
_SHOWS: Final = frozenset({Purpose.OPEN, Purpose.EXPORT})
"""Purposes for which somebody sees content."""
_LIST: Final = "fastness retention requests lists what was asked"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for."""

    purpose: Purpose
    tenant: str
    reason: str
    selection: Selection
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Parts:
    """What main builds; `disclosure_s` is for how long a disclosure lives."""

    store: DisclosureStore
    access: Access
    policies: Policies
    ledger: Ledger
    safe: Safe
    disclosure_s: int
    clock: Callable[[], float]
    entropy: Callable[[int], bytes]


class Disclosures:
    """The steps that are common to all purposes. Each raises Problem, and what the store and the ledger raise."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.order = asyncio.Lock()

    async def find(self, tenant: str, selection: Selection, by: Principal) -> list[Found]:
        """Find what fits a selection, without opening anything."""
        await self._known(tenant)
        self._permit(Purpose.OPEN, tenant, (), by)
        return await asyncio.to_thread(self.parts.safe.find, tenant, selection, FOUND_MAX + 1)

    async def ask(self, wish: Wish, by: Principal) -> Disclosure:
        """Ask for content."""
        if not wish.reason.strip() or len(wish.reason) > REASON_CHARS_MAX:
            raise Problem(
                "missing_field",
                f"`reason` says for what, in 1 to {REASON_CHARS_MAX:,} characters.",
                "Name the request that it answers: --reason 'FOI 2026/114'",
                param="reason",
            )
        async with self.order:
            await self._check_hold(wish.tenant, wish.purpose)
            asked = await self._asked(wish, by)
            self._permit(asked.purpose, asked.tenant, asked.labels, by)
            await self._check_room()
            await self.record(EventType.DISCLOSURE_ASKED, asked, by=by.id, break_glass=asked.break_glass,
                              expires_s=asked.expires_s)  # fmt: skip
            await asyncio.to_thread(self.parts.store.add_disclosure, asked)
            return asked

    async def approve(self, disclosure_id: str, by: Principal) -> Disclosure:
        """Approve what another one asked."""
        async with self.order:
            before = await self.one(disclosure_id)
            self._check_alive(before)
            if before.approved_by is not None:
                raise Problem("conflict", f"{before.id} was approved by {before.approved_by} already.", _LIST)
            if by.id == before.asked_by:
                raise Problem(
                    "permission_denied",
                    f"{by.id} asked for {before.id}, and whoever asks does not approve: two people are needed.",
                    "Let another principal approve it, with a key or token of their own.",
                )
            await self._check_hold(before.tenant, before.purpose)
            self._permit(before.purpose, before.tenant, before.labels, by)
            glass = before.break_glass or (before.purpose in _SHOWS and by.tenant != before.tenant)
            after = replace(before, approved_by=by.id, approved_s=int(self.parts.clock()), break_glass=glass)
            await self.record(EventType.DISCLOSURE_APPROVED, after, by=by.id, asked_by=after.asked_by)
            await asyncio.to_thread(self.parts.store.change_disclosure, before, after)
            return after

    async def all(self) -> tuple[Disclosure, ...]:
        """Return all that was asked, oldest first."""
        return await asyncio.to_thread(self.parts.store.disclosures)

    async def shown(self, disclosure_id: str, by: Principal) -> Disclosure:
        """Return one with its reason and selection, for who asked it and who may approve it."""
        found = await self.one(disclosure_id)
        if by.id != found.asked_by:
            self._permit(found.purpose, found.tenant, found.labels, by)
        return found

    async def one(self, disclosure_id: str) -> Disclosure:
        """Return one."""
        try:
            return await asyncio.to_thread(self.parts.store.disclosure, disclosure_id)
        except Missing:
            raise Problem("not_found", f"There is no request {disclosure_id[:80]!r}.", _LIST, param="id") from None

    async def begin(self, disclosure_id: str, purpose: Purpose, by: Principal) -> tuple[Disclosure, list[Found]]:
        """Check that it may be done now, by whom it was asked; return what is still there of it."""
        disclosure = await self.one(disclosure_id)
        self._check_alive(disclosure)
        if disclosure.purpose is not purpose:
            raise Problem("conflict", f"{disclosure.id} was asked to {disclosure.purpose}, not to {purpose}.", _LIST)
        if by.id != disclosure.asked_by:
            raise Problem(
                "permission_denied",
                f"{disclosure.id} was asked by {disclosure.asked_by}, and is for nobody else; {by.id} came.",
                f"Ask yourself: fastness retention ask {purpose} --help",
            )
        if disclosure.approved_by is None:
            raise Problem(
                "permission_denied",
                f"Nobody has approved {disclosure.id} yet; one other principal is needed.",
                f"fastness retention approve {disclosure.id}, by somebody else",
            )
        await self._check_hold(disclosure.tenant, purpose)
        self._permit(purpose, disclosure.tenant, disclosure.labels, by)
        selection = Selection(requests=disclosure.requests)
        found: list[Found] = []
        if disclosure.requests:
            found = await asyncio.to_thread(self.parts.safe.find, disclosure.tenant, selection)
        return disclosure, found

    async def finish(self, before: Disclosure) -> None:
        """Remember when it was done first."""
        if before.done_s is None:
            after = replace(before, done_s=int(self.parts.clock()))
            await asyncio.to_thread(self.parts.store.change_disclosure, before, after)

    async def record(self, kind: EventType, disclosure: Disclosure, /, **fields: Scalar) -> Position:
        """Write an entry about a disclosure, durably."""
        said: dict[str, Scalar] = {
            "disclosure": disclosure.id,
            "purpose": disclosure.purpose.value,
            "tenant": disclosure.tenant,
            "requests": len(disclosure.requests),
            "digest": disclosure.digest,
        }
        return await self.parts.ledger.commit(Event(kind, int(self.parts.clock() * 1000), said | fields))

    async def _asked(self, wish: Wish, by: Principal) -> Disclosure:
        found = await asyncio.to_thread(self.parts.safe.find, wish.tenant, wish.selection, FOUND_MAX + 1)
        if wish.purpose is Purpose.RELEASE and await self._known(wish.tenant) is not Keep.HOLD:
            raise Problem("conflict", f"There is no hold on {wish.tenant}.", "fastness retention shows what there is.")
        if len(found) > FOUND_MAX and not wish.everything:
            raise Problem(
                "limit_exceeded",
                f"More than {FOUND_MAX:,} requests fit this selection.",
                "Narrow it by time, key or end user; or, to destroy all of a tenant's content: --everything",
            )
        if not found and not wish.everything:
            raise Problem("not_found", "Nothing that is kept fits this selection.", "fastness retention find --help")
        now_s, salt = int(self.parts.clock()), self.parts.entropy(32).hex()
        return Disclosure(
            id="disc_" + self.parts.entropy(10).hex(),
            purpose=wish.purpose,
            tenant=wish.tenant,
            reason=wish.reason,
            selection=wish.selection,
            salt=salt,
            digest=digest_of(salt, wish.reason, wish.selection),
            requests=() if wish.everything else tuple(one.head.request_id for one in found),
            labels=tuple(sorted({one.head.marking for one in found})),
            asked_by=by.id,
            asked_s=now_s,
            expires_s=now_s + self.parts.disclosure_s,
            break_glass=wish.purpose in _SHOWS and by.tenant != wish.tenant,
            everything=wish.everything,
        )

    def _permit(self, purpose: Purpose, tenant: str, labels: Sequence[str], by: Principal) -> None:
        """Ask policy, for each label that is there; raises Problem."""
        if purpose not in _SHOWS:
            ours = by.tenant in (tenant, DEFAULT_TENANT) or by.credential is Credential.LOCAL
            if not ours:
                raise Problem(
                    "permission_denied",
                    f"Content of {tenant} is destroyed by people of it or of the installation; {by.id} is neither.",
                    "Use a key of that tenant, or of the tenant default.",
                )
            self.parts.policies.permit(by, Action.SHRED_SEALED)
            return
        action = Action.OPEN_SEALED if by.tenant == tenant else Action.BREAK_GLASS
        self.parts.policies.permit(by, action)
        for text in labels:
            self.parts.policies.permit(by, action, self._label(text))

    def _label(self, text: str) -> Label:
        try:
            return self.parts.policies.lattice.read(text)
        except UnknownMarking:
            raise Problem(
                "unknown_marking",
                f"Content here is marked {text}, which the policy in force does not know: it is opened to nobody.",
                "Apply a policy whose profile has that marking.",
            ) from None

    async def _known(self, tenant: str) -> Keep:
        for one in (await self.parts.access.snapshot()).tenants:
            if one.id == tenant:
                return one.retention.keep
        raise Problem(
            "not_found", f"There is no tenant {tenant[:80]!r}.", "fastness tenants list shows them.", param="tenant"
        )

    async def _check_hold(self, tenant: str, purpose: Purpose) -> None:
        if await self._known(tenant) is Keep.HOLD and purpose is Purpose.SHRED:
            raise Problem(
                "conflict",
                f"Tenant {tenant} is on hold: nothing of it is destroyed.",
                f"To end the hold takes two: fastness retention ask release --tenant {tenant} --reason …",
            )

    async def _check_room(self) -> None:
        now_s = int(self.parts.clock())
        await asyncio.to_thread(self.parts.store.forget_disclosures, now_s - REMEMBERED_S)
        if sum(one.expires_s > now_s and one.done_s is None for one in await self.all()) >= OPEN_MAX:
            raise Problem("limit_exceeded", f"{OPEN_MAX} requests wait to be approved or used already.", _LIST)

    def _check_alive(self, disclosure: Disclosure) -> None:
        if self.parts.clock() >= disclosure.expires_s:
            raise Problem(
                "conflict",
                f"The time of {disclosure.id} is over: {self.parts.disclosure_s} s after it was asked.",
                "Ask again; both steps have to fit into that time (retention.disclosure_s).",
            )


def digest_of(salt: str, reason: str, selection: Selection) -> str:
    """Return what the ledger says of a reason and a selection."""
    said = msgspec.json.encode({"salt": salt, "reason": reason, "selection": selection}, order="sorted")
    return hashlib.sha256(said).hexdigest()
