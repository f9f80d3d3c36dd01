"""Ledger event types: one closed table. An event holds no content, only identifiers, counts, times and digests."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fastness.core.value import quick

Scalar = str | int | bool | None


class EventType(StrEnum):
    """What can be recorded. docs/reference/ledger-events.md describes each; a test holds the two together."""

    BOOT = "boot"
    STOPPED = "stopped"
    MODEL_LOADED = "model.loaded"
    ENGINE_FAILED = "engine.failed"
    UNSEALED_ALLOWED = "perimeter.unsealed"
    TENANT_CREATED = "tenant.created"
    TENANT_CHANGED = "tenant.changed"
    TENANT_REVOKED = "tenant.revoked"
    POLICY_APPLIED = "policy.applied"
    IDENTITY_CHANGED = "identity.changed"
    MODEL_IMPORTED = "model.imported"
    MODEL_REFUSED = "model.refused"
    MODEL_APPROVED = "model.approved"
    MODEL_ADMITTED = "model.admitted"
    MODEL_REVOKED = "model.revoked"
    MODEL_SHIPPED = "model.shipped"
    MODEL_EXPORTED = "model.exported"
    BUNDLE_IMPORTED = "bundle.imported"
    PERIMETER_PROVED = "perimeter.proved"
    KEY_ISSUED = "key.issued"
    KEY_REVOKED = "key.revoked"
    LIMIT_SET = "limit.set"
    LIMIT_REMOVED = "limit.removed"
    FILE_CREATED = "file.created"
    FILE_DELETED = "file.deleted"
    BATCH_CREATED = "batch.created"
    BATCH_ENDED = "batch.ended"
    DEPLOYMENT_APPLIED = "deployment.applied"
    DEPLOYMENT_REMOVED = "deployment.removed"
    DEPLOYMENT_SCALED = "deployment.scaled"
    REVISION_PROMOTED = "revision.promoted"
    REVISION_REVERTED = "revision.reverted"
    CERTIFICATE_ISSUED = "certificate.issued"
    CERTIFICATE_REVOKED = "certificate.revoked"
    NODE_CORDONED = "node.cordoned"
    NODE_UNCORDONED = "node.uncordoned"
    NODE_LABELLED = "node.labelled"
    NODE_LOST = "node.lost"
    NODE_RETURNED = "node.returned"
    NODE_FORGOTTEN = "node.forgotten"
    LEASE_GRANTED = "lease.granted"
    LEASE_LAPSED = "lease.lapsed"
    SHARE_SET = "share.set"
    REPLICA_PLACED = "replica.placed"
    REPLICA_DRAINING = "replica.draining"
    REPLICA_STOPPING = "replica.stopping"
    REPLICA_REMOVED = "replica.removed"
    RETENTION_SET = "retention.set"
    RETENTION_SEALED = "retention.sealed"
    RETENTION_EXPIRED = "retention.expired"
    RETENTION_SHREDDED = "retention.shredded"
    DISCLOSURE_ASKED = "disclosure.asked"
    DISCLOSURE_APPROVED = "disclosure.approved"
    DISCLOSURE_OPENED = "disclosure.opened"
    DISCLOSURE_EXPORTED = "disclosure.exported"
    BREAKGLASS_OPENED = "breakglass.opened"
    EVIDENCE_EXPORTED = "evidence.exported"
    CONFIGURATION_LOADED = "configuration.loaded"
    INFERENCE_COMPLETED = "inference.completed"
    INFERENCE_REFUSED = "inference.refused"
    INFERENCE_FAILED = "inference.failed"
    LOG_REPAIRED = "log.repaired"


@quick
@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `fields` has ASCII keys and string, integer, boolean or null values only."""

    type: EventType
    time_ms: int
    fields: dict[str, Scalar]
