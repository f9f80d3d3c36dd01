"""The table of what each type of event may say. What is not in it is refused, so that no content can slip in (law 3).

docs/reference/ledger-events.md shows this table to readers; a test holds the two together.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from fastness.core.event import Event, EventType
from fastness.core.limit import Metric
from fastness.ledger.binding_rows import BOUND, CONFIGURATION_ROW, SHIPPED_ROW
from fastness.ledger.cluster_rows import CLUSTER_ROWS
from fastness.ledger.event_row import EventRow
from fastness.ledger.fleet_rows import FLEET_ROWS
from fastness.ledger.retention_rows import RETENTION_ROWS

_REQUEST: Final = {
    "request_id": "the `x-request-id` of the answer",
    "tenant": "tenant id; null when the key is not known",
    "key": "id of the API key, or of the principal of a token or certificate; null when it is not known",
    "marking": "what the request was marked with, caveats included; null when it did not come to that",
    "policy": "SHA-256 of the policy in force; null when it was not asked",
    "rule": "id of the policy rule that decided; null when none was asked",
    "operation": "`chat`, `text_completion` or `embeddings`",
    "model": "name of a served model; null when the request named none of them",
    "adapter": "name of the adapter of it that the request named; absent when it named none",
    "band": "how urgent it was: `interactive`, `standard` or `batch`; null when it did not come to that",
    "stream": "whether the answer was asked for as a stream",
}
_SERVED: Final = {
    "model_digest": "SHA-256 of the weights",
    "adapter_digest": "SHA-256 of the adapter that it ran with; absent when it ran on the model alone",
    "replica": "id of the replica that answered; the last one when several did",
    "epoch": "which start of that replica's engine",
    "sealed": "whether that engine was sealed off from the network",
    "retried": "how often an engine failed before anything came of a generation, and it was tried again",
    "hedged": "how many of its generations were asked of a second replica, the first being late to begin",
    "resumed": "how often an engine failed in the middle of a generation, and another run went on",
    "choices": "how many generations were made",
    "input_tokens": "as metered by the engine",
    "output_tokens": "as metered by the engine",
    "cached_tokens": "input tokens taken from the engine's cache",
    "queue_ms": "wait for a free slot",
    "ttft_ms": "from the whole request to the first token; null when there was none",
    "total_ms": "from the whole request to this entry",
}
_RETAINED: Final = {
    "retention": "under which retention its content was sealed; absent when nothing of it was kept",
}
_LIMITED: Final = {
    "admitted_s": "when it was counted against its limits, in seconds since 1970; absent when it had none",
}
_KEPT: Final = {
    "request_id": "the `x-request-id` of the answer",
    "tenant": "tenant id",
    "key": "id of the API key, or of the principal of a token or certificate",
    "marking": "what it is handled under, caveats included",
}
_REFUSED: Final = {"code": "a code of the error table", "status": "the HTTP status"}
_ENGINE: Final = {
    "replica": "id of the replica",
    "model": "name of the model",
    "epoch": "which start of the replica's engine",
}
_ACTOR: Final = {"by": "id of the admin key that asked; `local` for the installation itself"}
_SCOPE: Final = {
    "limit": "id of the limits",
    "tenant": "tenant id; null for any",
    "key": "id of the key; null for any",
    "model": "name of the model; null for any",
}
_ARTEFACT: Final = {
    "model": "name of the model or adapter",
    "kind": "`model` or `adapter`",
    "digest": "SHA-256 of its manifest, which names the SHA-256 of each file",
}

_ROWS: Final = (
    EventRow(
        EventType.BOOT,
        "node, control",
        "A process of Fastness began.",
        {
            "process": "`supervisor` or `control`",
            "version": "version of Fastness",
            "pid": "process id",
            "sealed": "whether engines are sealed off from the network",
        },
    ),
    EventRow(
        EventType.STOPPED,
        "node, control",
        "A process of Fastness ended in order. One that was killed leaves no such entry.",
        {"process": "as in `boot`", "pid": "process id", "reason": "`signal`: it was told to"},
    ),
    EventRow(
        EventType.MODEL_LOADED,
        "node",
        "An engine has loaded a model and is ready.",
        {
            **_ENGINE,
            "model_digest": "SHA-256 of the weights",
            "engine": "name of the engine",
            "build": "package and version of the engine; empty when it is not known",
            "slots": "answers it makes at the same time",
            "context_tokens": "context of each slot",
            "sealed": "whether the engine is sealed off from the network",
            "adapters": "SHA-256 of each adapter that it has loaded as well, separated by spaces; empty without any",
            "reported_by": "where the engine is on another host: its node, which reports all this by its certificate",
        },
    ),
    EventRow(
        EventType.ENGINE_FAILED,
        "node",
        "An engine ended, or never became ready.",
        {
            **_ENGINE,
            "diagnosis": "code of the diagnosis; the evidence is in the logs",
            "restarts": "how often it was restarted before",
        },
    ),
    EventRow(
        EventType.UNSEALED_ALLOWED,
        "node",
        "An operator allowed engines to run without a seal.",
        {
            "process": "as in `boot`",
        },
    ),
    EventRow(
        EventType.TENANT_CREATED,
        "control",
        "A tenant was created.",
        {
            "tenant": "tenant id",
            "clearance": "the most its principals may handle; null for the profile's default",
            "marking": "what its requests carry that say nothing; null for the profile's default",
            "share": "its weight where tenants compete, as text",
            **_ACTOR,
        },
    ),
    EventRow(
        EventType.TENANT_CHANGED,
        "control",
        "A tenant was given another share.",
        {"tenant": "tenant id", "share": "its weight where tenants compete, as text", **_ACTOR},
    ),
    EventRow(
        EventType.POLICY_APPLIED,
        "control",
        "A policy was put in force.",
        {
            "policy": "SHA-256 of its profile and rules",
            "before": "the digest of the policy that it replaced; null for the first",
            "version": "how many policies were in force here, this one included",
            **_ACTOR,
        },
    ),
    EventRow(
        EventType.IDENTITY_CHANGED,
        "control",
        "The trusted issuers and services, or the keys of an issuer, changed.",
        {
            "issuer": "URL of the issuer whose keys changed; null when the configuration did",
            "keys_sha256": "SHA-256 of its JWKS; null when the configuration changed",
            "identity_sha256": "SHA-256 of the whole configuration of identities, keys included",
        },
    ),
    EventRow(
        EventType.MODEL_IMPORTED,
        "control",
        "A model or adapter was taken into quarantine: inspected, and not yet usable.",
        {**_ARTEFACT, "size_bytes": "all files together", "files": "how many", **_ACTOR},
    ),
    EventRow(
        EventType.MODEL_REFUSED,
        "control",
        "What was to be imported or admitted broke a rule. Nothing of it was kept.",
        {"rule": "id of the rule of admission", "digest": "SHA-256 of the file; null when it was not read", **_ACTOR},
    ),
    EventRow(
        EventType.MODEL_APPROVED,
        "control",
        "An approver agreed to a model or adapter, up to a ceiling.",
        {
            **_ARTEFACT,
            "ceiling": "the most that it may be used for",
            "needed": "how many approvers that takes",
            **_ACTOR,
        },
    ),
    EventRow(
        EventType.MODEL_ADMITTED,
        "control",
        "A model or adapter may be loaded: as many approvers as needed agreed.",
        {
            **_ARTEFACT,
            "ceiling": "the most that it may be used for",
            "approvers": "ids of the principals that agreed, separated by spaces",
            "licence": "SPDX identifier of its licence",
            "template_sha256": "SHA-256 of the chat template that was shown; null when it has none",
            "signer": "fingerprint of the key or certificate that signed it; null when it is not signed",
        },
    ),
    EventRow(
        EventType.MODEL_REVOKED,
        "control",
        "A model or adapter may not be loaded any more.",
        {**_ARTEFACT, **_ACTOR},
    ),
    SHIPPED_ROW,
    EventRow(
        EventType.MODEL_EXPORTED,
        "control",
        "Models, adapters and policy were written to a signed bundle.",
        {
            "bundle": "id of the bundle",
            "version": "its number, which only grows",
            "digest": "SHA-256 of its manifest",
            "artefacts": "how many models and adapters it carries",
            **_ACTOR,
        },
    ),
    EventRow(
        EventType.BUNDLE_IMPORTED,
        "control",
        "A signed bundle was verified and taken over.",
        {
            "bundle": "id of the bundle",
            "version": "its number, which only grows",
            "digest": "SHA-256 of its manifest",
            "signer": "fingerprint of the key or certificate that signed it",
            "artefacts": "how many models and adapters it carries",
            **_ACTOR,
        },
    ),
    EventRow(
        EventType.PERIMETER_PROVED,
        "control",
        "A proof that nothing leaves was run; its report was signed.",
        {
            "report_sha256": "SHA-256 of the report",
            "probes_total": "attempts from inside every kind of process",
            "probes_allowed": "how many got through: none in a proof that holds",
            "packets_total": "packets captured around the workload",
            "packets_outside": "how many of them were for outside the perimeter: none in a proof that holds",
            "holds": "whether it is a proof",
        },
    ),
    EventRow(
        EventType.TENANT_REVOKED,
        "control",
        "A tenant was revoked, and all its keys with it.",
        {"tenant": "tenant id", **_ACTOR},
    ),
    EventRow(
        EventType.KEY_ISSUED,
        "control",
        "An API key was issued. Neither the key nor its MAC is recorded.",
        {
            "key": "id of the key",
            "tenant": "tenant id",
            "role": "`developer`, `admin`, `approver` or `auditor`",
            "expires_s": "seconds since 1970; null when it does not expire",
            "models": "names the key is limited to, separated by spaces; null when it is not limited",
            "clearance": "the most it may handle; null for its tenant's clearance",
            **_ACTOR,
        },
    ),
    EventRow(
        EventType.LIMIT_SET,
        "control",
        "Limits of a tenant, key or model were set, in the place of those it had.",
        {**_SCOPE, **{metric.value: "how many; null when that is not limited" for metric in Metric}, **_ACTOR},
    ),
    EventRow(
        EventType.LIMIT_REMOVED,
        "control",
        "Limits of a tenant, key or model were removed.",
        {**_SCOPE, **_ACTOR},
    ),
    EventRow(
        EventType.KEY_REVOKED,
        "control",
        "An API key was revoked.",
        {"key": "id of the key", "tenant": "tenant id", **_ACTOR},
    ),
    EventRow(
        EventType.FILE_CREATED,
        "control",
        "A file was uploaded; its content is kept sealed. Neither its name nor anything of its content is recorded.",
        {
            **_KEPT,
            "file": "id of the file",
            "size_bytes": "of its content",
            "expires_s": "when it is destroyed, seconds since 1970",
        },
    ),
    EventRow(
        EventType.FILE_DELETED,
        "control",
        "A file is destroyed: its key first, then its content.",
        {
            "file": "id of the file",
            "tenant": "tenant id",
            "reason": "`asked` or `expired`",
            "by": "id of the principal that asked; null when it expired",
        },
    ),
    EventRow(
        EventType.BATCH_CREATED,
        "control",
        "A batch was made. Each of its lines has an entry of its own in a gateway's log.",
        {
            **_KEPT,
            "batch": "id of the batch",
            "file": "id of its input file",
            "endpoint": "the route that its lines are for",
        },
    ),
    EventRow(
        EventType.BATCH_ENDED,
        "control",
        "A batch came to its end.",
        {
            "batch": "id of the batch",
            "tenant": "tenant id",
            "status": "`completed`, `failed`, `expired` or `cancelled`",
            "total": "lines",
            "completed": "lines that were answered",
            "failed": "lines that were not",
        },
    ),
    *CLUSTER_ROWS,
    *FLEET_ROWS,
    *RETENTION_ROWS,
    CONFIGURATION_ROW,
    EventRow(
        EventType.INFERENCE_COMPLETED,
        "gateway-N",
        "A whole answer was made. The entry is durable before its body or its final stream event is sent.",
        {
            **_REQUEST,
            **_SERVED,
            **_LIMITED,
            **_RETAINED,
            **BOUND,
            "finish": "`stop`, `length` or `tool_calls` for each choice, with commas",
        },
    ),
    EventRow(
        EventType.INFERENCE_REFUSED,
        "gateway-N",
        "A request was refused before an engine worked on it.",
        {**_REQUEST, **_REFUSED},
    ),
    EventRow(
        EventType.INFERENCE_FAILED,
        "gateway-N",
        "A request was taken on and got no whole answer: the engine failed, time ran out, or the client left.",
        {
            **_REQUEST,
            **_SERVED,
            **_REFUSED,
            **_LIMITED,
            **_RETAINED,
            "charged_tokens": "what counts against limits of tokens: output that came, and the input it was made from",
        },
    ),
    EventRow(
        EventType.LOG_REPAIRED,
        "any",
        "The log was opened after a crash, and bytes at its end that were no whole entry were cut.",
        {
            "segment": "number of the segment file",
            "cut_bytes": "how many bytes were cut",
            "cut_sha256": "SHA-256 of these bytes, in hex",
        },
    ),
)

EVENTS: Final = MappingProxyType({row.type: row for row in _ROWS})
_NAMES: Final = {row.type: frozenset(row.fields) for row in _ROWS}


def check_fields(event: Event) -> None:
    """Raise ValueError when an event says what its type may not say."""
    if not event.fields.keys() <= _NAMES[event.type]:
        undeclared = ", ".join(sorted(event.fields.keys() - _NAMES[event.type]))
        raise ValueError(
            f"{event.type} has no field {undeclared}; it has {', '.join(sorted(_NAMES[event.type]))}. "
            "If a new one holds no content, declare it in ledger/events.py and docs/reference/ledger-events.md."
        )
