"""The part of the table of ledger events that binds an answer: to what was asked, and to what made it."""

from __future__ import annotations

from typing import Final

from fastness.core.event import EventType
from fastness.ledger.event_row import EventRow

BOUND: Final = {
    "request_commitment": "salted SHA-256 of the body as it came",
    "prompt_commitment": "salted SHA-256 of messages, prompts or inputs, in canonical form",
    "parameters_commitment": "salted SHA-256 of what was set of how to answer, in canonical form",
    "answer_commitment": "salted SHA-256 of what was answered, in canonical form",
    "content_at": "where its sealed content is, whose key the salts follow from; absent when nothing of it was kept",
    "salt_day": "the day whose key the salts follow from, counted from 1970; absent when it was kept",
    "configuration": "SHA-256 of the gateway's settings, as in `configuration.loaded`",
    "engine": "name of the engine",
    "build": "package and version of the engine; empty when it is not known",
    "node": "name of the node that the replica runs on",
    "jurisdiction": "code of the jurisdiction that this node stands under",
    "operator": "who runs this node; empty when it is undeclared",
}
"""What the entry of a whole answer says besides what is counted."""

CONFIGURATION_ROW: Final = EventRow(
    EventType.CONFIGURATION_LOADED,
    "gateway-N",
    "A gateway began, with these settings; the entries of its answers name them by the same digest.",
    {
        "process": "name of the gateway, and of its log",
        "configuration": "SHA-256 of the settings as canonical JSON",
        "version": "version of Fastness",
    },
)

SHIPPED_ROW: Final = EventRow(
    EventType.MODEL_SHIPPED,
    "control",
    "A model comes with this release, which names it by its digest: nobody here was asked. Once for each.",
    {
        "model": "name of the model",
        "model_digest": "SHA-256 of the weights, as in the release",
        "licence": "SPDX identifier of its licence",
        "version": "version of Fastness",
    },
)
