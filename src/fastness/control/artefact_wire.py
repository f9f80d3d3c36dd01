"""What the routes of models, adapters and bundles take and give, as typed JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from fastness.control.admission_words import ImportWish, Outcome
from fastness.control.carriage import LIFETIME_S_MAX, Sent, Taken
from fastness.control.problem import Problem
from fastness.core.admission import Admission, ArtefactFile, ArtefactKind
from fastness.registry.admission.quarantine import Review
from fastness.registry.admission.record import served_by
from fastness.registry.inspection.port import TemplateReview

_PathText = Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)]
_Line = Annotated[str, msgspec.Meta(min_length=1, max_length=1_024)]


class NewArtefact(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/artefacts, and /inspect, which keeps nothing. `path` is absolute, on this machine."""

    path: _PathText
    name: _Line
    kind: ArtefactKind = ArtefactKind.MODEL
    licence: _Line = "NOASSERTION"
    provenance: _Line = "not said"
    base: str | None = None
    signature: _PathText | None = None
    accept_template_sha256: str | None = None

    def wish(self) -> ImportWish:
        """Return the command's own value."""
        signature = absolute(self.signature, "signature") if self.signature else None
        return ImportWish(
            absolute(self.path, "path"),
            self.name,
            self.kind,
            self.licence,
            self.provenance,
            self.base,
            signature,
            self.accept_template_sha256,
        )


class NewApproval(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/artefacts/{name}/admit."""

    ceiling: _Line


class NewBundle(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/bundles. `names` empty: all that is admitted; `form` is `file` or `directory`."""

    output: _PathText
    names: tuple[str, ...] = ()
    directory: bool = False
    policy: bool = True
    lifetime_s: Annotated[int, msgspec.Meta(ge=60, le=LIFETIME_S_MAX)] = 7_776_000


class ArrivedBundle(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/bundles/import."""

    path: _PathText
    accept_template_sha256: str | None = None


class ApprovalView(msgspec.Struct, frozen=True):
    """One approval."""

    by: str
    at_s: int
    ceiling: str


class ArtefactView(msgspec.Struct, frozen=True):
    """An imported model or adapter: what it is, whose, and where it stands."""

    name: str
    kind: ArtefactKind
    format: str
    architecture: str
    digest: str
    size_bytes: int
    context_tokens: int
    licence: str
    provenance: str
    base: str | None
    template_sha256: str | None
    signer: str | None
    served_by: str
    state: str
    ceiling: str | None
    approvals: tuple[ApprovalView, ...]
    imported_by: str
    imported_s: int
    revoked_by: str | None
    revoked_s: int | None


class ReviewView(msgspec.Struct, frozen=True):
    """What an approver looks at. Where nothing was imported its state is `not imported`."""

    artefact: ArtefactView
    files: tuple[ArtefactFile, ...]
    header: tuple[tuple[str, str], ...]
    signature: str
    template: str | None
    template_review: TemplateReview | None


class OutcomeView(msgspec.Struct, frozen=True):
    """What became of an approval for `asked`: `approvers` cover it, and `needed` of them are needed."""

    artefact: ArtefactView
    asked: str
    approvers: tuple[str, ...]
    needed: int


class SentView(msgspec.Struct, frozen=True):
    """A bundle that was written."""

    bundle: str
    version: int
    digest: str
    expires_s: int
    artefacts: tuple[str, ...]
    policy: str | None
    signer: str
    public_key: str


class TakenView(msgspec.Struct, frozen=True):
    """A bundle that was taken over. `policy` is the file in which its policy lies, which is not in force."""

    bundle: str
    version: int
    digest: str
    signer: str
    new: tuple[ArtefactView, ...]
    known: tuple[ArtefactView, ...]
    policy: str | None
    policy_digest: str | None


def artefact_view(admission: Admission, state: str | None = None) -> ArtefactView:
    """Show an admission; `state` is said instead of its own."""
    artefact = admission.artefact
    return ArtefactView(
        name=artefact.name,
        kind=artefact.kind,
        format=artefact.format,
        architecture=artefact.architecture,
        digest=artefact.digest,
        size_bytes=artefact.size_bytes,
        context_tokens=artefact.context_tokens,
        licence=artefact.licence,
        provenance=artefact.provenance,
        base=artefact.base,
        template_sha256=artefact.template_sha256,
        signer=artefact.signer,
        served_by=served_by(artefact),
        state=state or admission.state.value,
        ceiling=None if admission.ceiling is None else str(admission.ceiling),
        approvals=tuple(ApprovalView(one.by, one.at_s, str(one.ceiling)) for one in admission.approvals),
        imported_by=admission.imported_by,
        imported_s=admission.imported_s,
        revoked_by=admission.revoked_by,
        revoked_s=admission.revoked_s,
    )


def review_view(admission: Admission, review: Review, state: str | None = None) -> ReviewView:
    """Show what an approver looks at."""
    found = review.inspected
    return ReviewView(
        artefact=artefact_view(admission, state),
        files=admission.artefact.files,
        header=found.header,
        signature=review.signature,
        template=found.template,
        template_review=found.template_review,
    )


def outcome_view(outcome: Outcome) -> OutcomeView:
    """Show what became of an approval."""
    return OutcomeView(artefact_view(outcome.admission), str(outcome.asked), outcome.approvers, outcome.needed)


def sent_view(sent: Sent) -> SentView:
    """Show a bundle that was written."""
    manifest = sent.manifest
    return SentView(
        bundle=manifest.id,
        version=manifest.version,
        digest=sent.digest,
        expires_s=manifest.expires_s,
        artefacts=tuple(entry.name for entry in manifest.artefacts),
        policy=manifest.policy_digest,
        signer=sent.signer,
        public_key=str(sent.public_key),
    )


def taken_view(taken: Taken) -> TakenView:
    """Show a bundle that was taken over."""
    manifest = taken.arrived.manifest
    return TakenView(
        bundle=manifest.id,
        version=manifest.version,
        digest=taken.arrived.digest,
        signer=taken.arrived.signer,
        new=tuple(map(artefact_view, taken.new)),
        known=tuple(map(artefact_view, taken.known)),
        policy=None if taken.policy is None else str(taken.policy),
        policy_digest=manifest.policy_digest,
    )


def absolute(text: str, param: str) -> Path:
    """Read a path, which must be absolute: whoever asks may stand in another directory. Raises Problem."""
    path = Path(text)
    if not path.is_absolute() or "\0" in text:
        raise Problem(
            "invalid_value", f"{param} is {text[:80]!r}; an absolute path is needed.", "Begin it with /.", param=param
        )
    return path
