"""Which model a deployment means by `name` or `name@sha256:…`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fastness.control.models_here import ModelFacts
from fastness.control.problem import Problem
from fastness.core.desired import DeploymentSpec

DIGEST_CHARS_MIN: Final = 6
_DIGEST: Final = re.compile(rf"[0-9a-f]{{{DIGEST_CHARS_MIN},64}}")
_SHOWN_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class NamedModel:
    """The model that was meant; `context_tokens` 0: it is not here any more, and what runs is left as it is."""

    name: str
    digest: str
    kind: str
    context_tokens: int


def named_model(text: str, models: Mapping[str, ModelFacts], before: DeploymentSpec | None) -> NamedModel:
    """Return the model; raises Problem (model_not_found, invalid_value, conflict)."""
    name, pinned, digits = text.partition("@")
    digits = digits.removeprefix("sha256:").removesuffix("…")
    if pinned and not _DIGEST.fullmatch(digits):
        raise Problem(
            "invalid_value",
            f"`model` is {text[:160]!r}; after the @ it needs `sha256:` and {DIGEST_CHARS_MIN} to 64 hex digits.",
            f"model = {name[:80]!r} takes the digest that is here.",
            param="model",
        )
    facts = models.get(name)
    if before is not None and before.model == name and before.model_digest.startswith(digits or before.model_digest):
        if facts is None:
            return NamedModel(name, before.model_digest, before.kind, 0)
        if pinned and facts.card.digest != before.model_digest:
            return NamedModel(name, before.model_digest, before.kind, facts.card.context_tokens)
    if facts is None:
        near = difflib.get_close_matches(name, models, n=1)
        shown = ", ".join(sorted(models)[:_SHOWN_MAX]) or "none"
        raise Problem(
            "model_not_found",
            f"There is no model {name[:80]!r} that may be loaded here; there are {shown}.",
            f"Did you mean {near[0]}?" if near else "fastness models import and admit bring one in.",
            param="model",
        )
    card = facts.card
    if not card.digest.startswith(digits):
        raise Problem(
            "conflict",
            f"{name} with a digest that begins with {digits[:12]} was asked for; the one here is {card.digest[:12]}….",
            "fastness models lists the digests; import the one that is wanted.",
            param="model",
        )
    return NamedModel(card.name, card.digest, card.kind.value, card.context_tokens)
