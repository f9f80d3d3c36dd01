"""The table of what each type of event may say. What is not in it is refused, so that no content can slip in (law 3).

docs/reference/ledger-events.md shows this table to readers; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from fastness.core.event import Event, EventType


@dataclass(frozen=True, slots=True)
class EventRow:
    """One row: the type, the log or logs it is written to, what it means, and its fields with their meanings."""

    type: EventType
    logs: str
    meaning: str
    fields: Mapping[str, str]


_REQUEST: Final = {
    "request_id": "the `x-request-id` of the answer",
    "tenant": "tenant id; null when the key is not known",
    "key": "id of the API key; null when the key is not known",
    "operation": "`chat`, `text_completion` or `embeddings`",
    "model": "name of a served model; null when the request named none of them",
    "stream": "whether the answer was asked for as a stream",
}
_SERVED: Final = {
    "model_digest": "SHA-256 of the weights",
    "replica": "id of the replica that answered; the last one when several did",
    "epoch": "which start of that replica's engine",
    "sealed": "whether that engine was sealed off from the network",
    "choices": "how many generations were made",
    "input_tokens": "as metered by the engine",
    "output_tokens": "as metered by the engine",
    "cached_tokens": "input tokens taken from the engine's cache",
    "queue_ms": "wait for a free slot",
    "ttft_ms": "from the whole request to the first token; null when there was none",
    "total_ms": "from the whole request to this entry",
}
_REFUSED: Final = {"code": "a code of the error table", "status": "the HTTP status"}
_ENGINE: Final = {
    "replica": "id of the replica",
    "model": "name of the model",
    "epoch": "which start of the replica's engine",
}
_ACTOR: Final = {"by": "id of the admin key that asked; `local` for the installation itself"}

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
            "slots": "answers it makes at the same time",
            "context_tokens": "context of each slot",
            "sealed": "whether the engine is sealed off from the network",
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
        {"tenant": "tenant id", **_ACTOR},
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
            "role": "`developer` or `admin`",
            "expires_s": "seconds since 1970; null when it does not expire",
            "models": "names the key is limited to, separated by spaces; null when it is not limited",
            **_ACTOR,
        },
    ),
    EventRow(
        EventType.KEY_REVOKED,
        "control",
        "An API key was revoked.",
        {"key": "id of the key", "tenant": "tenant id", **_ACTOR},
    ),
    EventRow(
        EventType.INFERENCE_COMPLETED,
        "gateway-N",
        "A whole answer was made. The entry is durable before its body or its final stream event is sent.",
        {
            **_REQUEST,
            **_SERVED,
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
        {**_REQUEST, **_SERVED, **_REFUSED},
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
