"""Bundles out and in: what is admitted here is carried elsewhere, and what comes is quarantined like anything else.

A bundle brings bytes and whose they are, never a decision: the approvals of one installation are not those of another.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fastness.control.admission_words import imported
from fastness.control.admissions import Admissions
from fastness.control.problem import Problem
from fastness.control.vouching import BUNDLE_SIGNATURE, Voucher
from fastness.core.admission import Admission, AdmissionState
from fastness.core.event import EventType, Scalar
from fastness.core.policy import PolicyBundle
from fastness.core.tenant import Principal
from fastness.policy.bundle import check_digest
from fastness.policy.port import PolicyProblem
from fastness.registry.admission.quarantine import FILES, Draft, Review
from fastness.registry.admission.refusal import AdmissionRefused
from fastness.registry.bundle.manifest import (
    FORMAT,
    Blob,
    Entry,
    Manifest,
    artefact_files,
    check_age,
    check_newer,
    entry_of,
    manifest_text,
)
from fastness.registry.bundle.transfer import Arrived, assemble, read_bundle, write_bundle
from fastness.registry.inspection.port import Base, Wish
from fastness.registry.signing.keys import Signer, installation_signer
from fastness.store.admissions import BundleMark, Direction

_POLICY: Final = msgspec.json.Decoder(PolicyBundle)
LIFETIME_S_MAX: Final = 31_536_000
"""How long a bundle may say that it is to be believed."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A bundle that was written: `signer` is to be trusted where it goes, and `public_key` is the file with it."""

    manifest: Manifest
    digest: str
    signer: str
    public_key: Path


@dataclass(frozen=True, slots=True)
class Taken:
    """A bundle that was taken over: what is new here, and what was known. `policy` is a file, not in force."""

    arrived: Arrived
    new: tuple[Admission, ...]
    known: tuple[Admission, ...]
    policy: Path | None


class Carriage:
    """The commands on bundles."""

    def __init__(self, admissions: Admissions) -> None:
        self._admissions = admissions
        self._parts = admissions.parts
        self._secrets = self._parts.home / "secrets"

    async def send(
        self, output: Path, names: tuple[str, ...], by: Principal, *, as_file: bool, policy: bool, lifetime_s: int
    ) -> Sent:
        """Write a signed bundle of what is admitted here (no names: all of it); raises Problem, FileExistsError."""
        if await asyncio.to_thread(output.exists):
            raise Problem("conflict", f"{output} is there already; a bundle overwrites nothing.", "another --output")
        async with self._admissions.order, self._admissions.refusals(by):
            chosen = await self._chosen(names)
            signer = await asyncio.to_thread(installation_signer, self._secrets)
            sources: dict[str, Path | bytes] = {}
            manifest = await self._manifest(chosen, sources, signer, policy=policy, lifetime_s=lifetime_s)
            digest = hashlib.sha256(manifest_text(manifest)).hexdigest()
            count = len(manifest.artefacts)
            await self._admissions.record(
                EventType.MODEL_EXPORTED,
                by,
                bundle=manifest.id,
                version=manifest.version,
                digest=digest,
                artefacts=count,
            )
            mark = BundleMark(manifest.id, Direction.OUT, manifest.version, digest, manifest.created_s)
            await asyncio.to_thread(self._parts.store.mark_bundle, mark)
            try:
                await asyncio.to_thread(write_bundle, output, manifest, sources, signer, as_file=as_file)
            except OSError as error:
                raise Problem(
                    "conflict", f"{output} cannot be written: {error}.", "Name a place that is free: --output PATH"
                ) from None
            return Sent(manifest, digest, signer.fingerprint, self._secrets / "export-key.pub.pem")

    async def take(self, source: Path, by: Principal, accept_template_sha256: str | None) -> Taken:
        """Verify a bundle and quarantine what is new in it. Raises Problem, store.port.Conflict."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._admissions.turns)
            await stack.enter_async_context(self._admissions.refusals(by))
            place = await stack.enter_async_context(self._admissions.draft())
            arrived = await asyncio.to_thread(self._read, source, place)
            await asyncio.to_thread(_check_policy, arrived)
            known = [await self._known(entry) for entry in arrived.manifest.artefacts]
            fresh = [entry for entry, one in zip(arrived.manifest.artefacts, known, strict=True) if one is None]
            drafts = [await stack.enter_async_context(self._admissions.draft()) for _ in fresh]
            reviews: list[tuple[Review, Voucher]] = []
            for entry, draft in zip(fresh, drafts, strict=True):
                bases = [one.inspected.as_base() for one, _ in reviews]
                reviews.append(
                    await asyncio.to_thread(self._unpack, entry, arrived, draft, bases, accept_template_sha256)
                )
            async with self._admissions.order:
                new = await self._keep(arrived, drafts, reviews, by)
            policy = await asyncio.to_thread(self._keep_policy, arrived)
            return Taken(arrived, new, tuple(one for one in known if one is not None), policy)

    async def _chosen(self, names: tuple[str, ...]) -> tuple[Admission, ...]:
        admitted = [one for one in await self._admissions.all() if one.state is AdmissionState.ADMITTED]
        for name in names:
            if all(name != one.artefact.name for one in admitted):
                there = ", ".join(one.artefact.name for one in admitted) or "none"
                raise Problem(
                    "not_found",
                    f"{name[:80]!r} is not an imported model or adapter that is admitted here; there are: {there}.",
                    "Models that come with Fastness come with it there too.",
                    param="names",
                )
        # Bases first: what an adapter is held to must be there before it.
        chosen = [one for one in admitted if not names or one.artefact.name in names]
        return tuple(sorted(chosen, key=lambda one: one.artefact.base is not None))

    async def _manifest(
        self,
        chosen: tuple[Admission, ...],
        sources: dict[str, Path | bytes],
        signer: Signer,
        *,
        policy: bool,
        lifetime_s: int,
    ) -> Manifest:
        bundle_id, now_s = signer.fingerprint[:32], int(self._parts.clock())
        newest = await asyncio.to_thread(self._parts.store.bundle_version, bundle_id, Direction.OUT)
        in_force = self._parts.policies.in_force.snapshot.bundle if policy else None
        entries = []
        for one in chosen:
            artefact, folder = one.artefact, self._admissions.quarantine.folder(one.artefact.digest) / FILES
            sources |= {file.digest: folder / file.path for file in artefact.files}
            signature = await asyncio.to_thread(self._admissions.quarantine.signature, artefact.digest)
            entries.append(entry_of(artefact, _blob(signature, sources)))
        return Manifest(
            format=FORMAT,
            id=bundle_id,
            version=newest + 1,
            created_s=now_s,
            expires_s=now_s + lifetime_s,
            artefacts=tuple(entries),
            policy=_blob(msgspec.json.encode(in_force), sources) if in_force else None,
            policy_digest=in_force.digest if in_force else None,
        )

    def _read(self, source: Path, place: Draft) -> Arrived:
        settings, now_s = self._parts.settings, self._parts.clock()

        def accept(manifest: Manifest) -> None:
            check_age(manifest, now_s, settings.bundle_age_s_max)
            check_newer(manifest, self._parts.store.bundle_version(manifest.id, Direction.IN))
            for entry in manifest.artefacts:
                self._admissions.check_name(entry.name)

        trust = self._admissions.vouching.trust
        return read_bundle(source, place.content, trust, now_s, settings.artefact_bytes_max, accept)

    async def _known(self, entry: Entry) -> Admission | None:
        found = await asyncio.to_thread(self._parts.store.admission_of, entry.digest)
        if found is not None and found.state is AdmissionState.REVOKED:
            raise AdmissionRefused(
                "admission.revoked",
                f"the bundle carries {entry.name}, which was revoked here by {found.revoked_by}",
            )
        return found

    def _unpack(
        self, entry: Entry, arrived: Arrived, draft: Draft, bases: list[Base], accept: str | None
    ) -> tuple[Review, Voucher]:
        """Lay one artefact out and inspect it, as if it had come alone."""
        assemble(entry, arrived, draft.content)
        base = self._base(entry, bases) if entry.base else None
        wish = Wish(entry.name, entry.kind, entry.licence, entry.provenance, base, accept)
        inspected = self._admissions.inspect(draft.content, wish)
        if inspected.artefact.digest != entry.digest or inspected.artefact.files != artefact_files(entry):
            raise AdmissionRefused("bundle.mixed", f"the artefact {entry.name} is not what the manifest says")
        by_bundle = f"signed with its bundle by {arrived.signer}, who is trusted here"
        found = Voucher(None, arrived.signer, by_bundle)
        if entry.signature is not None:
            text = arrived.file(entry.signature.digest).read_bytes()
            own = self._admissions.vouching.checked(text, inspected.artefact.files, must=False)
            found = own if own.signer is not None else found
        return Review(found.named(inspected), found.said), found

    def _base(self, entry: Entry, bases: list[Base]) -> Base:
        """Find the model that an adapter is for: in the same bundle, or here."""
        for base in bases:
            if base.digest == entry.base:
                return base
        for one in self._parts.store.admissions():
            if one.state is not AdmissionState.REVOKED:
                base = self._admissions.quarantine.review(one.artefact.digest).inspected.as_base()
                if base.digest == entry.base:
                    return base
        raise AdmissionRefused(
            "bundle.form", f"the adapter {entry.name} is for weights {entry.base}, which are neither here nor with it"
        )

    async def _keep(
        self, arrived: Arrived, drafts: list[Draft], reviews: list[tuple[Review, Voucher]], by: Principal
    ) -> tuple[Admission, ...]:
        manifest = arrived.manifest
        newest = await asyncio.to_thread(self._parts.store.bundle_version, manifest.id, Direction.IN)
        check_newer(manifest, newest)  # another may have come while this one was read
        new = tuple(self._admissions.new(review.inspected.artefact, by) for review, _ in reviews)
        for one in new:
            await self._admissions.check_new(one.artefact)
        fields = _named(manifest, arrived.digest)
        await self._admissions.record(EventType.BUNDLE_IMPORTED, by, **fields, signer=arrived.signer)
        for one, draft, (review, voucher) in zip(new, drafts, reviews, strict=True):
            await self._admissions.record(EventType.MODEL_IMPORTED, by, **imported(one.artefact))
            (draft.folder / BUNDLE_SIGNATURE).write_bytes(arrived.signature)
            keep = self._admissions.quarantine.keep
            await asyncio.to_thread(keep, draft, one.artefact, review, voucher.text)
        mark = BundleMark(manifest.id, Direction.IN, manifest.version, arrived.digest, int(self._parts.clock()))
        await asyncio.to_thread(self._parts.store.add_admissions, new, mark)
        return new

    def _keep_policy(self, arrived: Arrived) -> Path | None:
        """Keep the policy as a file: to put it in force is a decision of its own."""
        policy = arrived.manifest.policy
        if policy is None:
            return None
        folder = self._parts.home / "policies"
        folder.mkdir(exist_ok=True, mode=0o700)
        place = folder / f"{arrived.manifest.policy_digest}.json"
        place.write_bytes(arrived.file(policy.digest).read_bytes())
        return place


def _check_policy(arrived: Arrived) -> None:
    """Refuse a bundle whose policy is none, or not the one that its manifest names; raises AdmissionRefused."""
    policy, digest = arrived.manifest.policy, arrived.manifest.policy_digest
    if policy is None:
        return
    try:
        came = _POLICY.decode(arrived.file(policy.digest).read_bytes())
        check_digest(came)
    except (msgspec.MsgspecError, PolicyProblem) as error:
        raise AdmissionRefused("bundle.form", f"the policy in the bundle cannot be read: {error}") from None
    if came.digest != digest:
        raise AdmissionRefused("bundle.mixed", f"the policy has digest {came.digest}; the manifest says {digest}")


def _named(manifest: Manifest, digest: str) -> dict[str, Scalar]:
    """Return how ledger entries name a bundle."""
    count = len(manifest.artefacts)
    return {"bundle": manifest.id, "version": manifest.version, "digest": digest, "artefacts": count}


def _blob(content: bytes | None, sources: dict[str, Path | bytes]) -> Blob | None:
    if content is None:
        return None
    blob = Blob(hashlib.sha256(content).hexdigest(), len(content))
    sources[blob.digest] = content
    return blob
