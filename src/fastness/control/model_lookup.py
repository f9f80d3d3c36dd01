"""Which model or adapter a deployment means by `name` or `name@sha256:…`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fastness.control.models_here import AdapterFacts, ModelFacts
from fastness.control.problem import Problem
from fastness.core.desired import DeploymentSpec, WantedAdapter

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
    name, pinned, digits = _parted(text, "model")
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
    _check_digits(name, digits, card.digest, "model")
    return NamedModel(card.name, card.digest, card.kind.value, card.context_tokens)


def named_adapter(
    text: str, adapters: Mapping[str, AdapterFacts], before: Mapping[str, WantedAdapter]
) -> tuple[str, str]:
    """Return the name and digest of an adapter; raises Problem. `before` are those of the deployment as it is."""
    name, _, digits = _parted(text, "adapters")
    facts, known = adapters.get(name), before.get(name)
    if facts is None and known is not None and known.digest.startswith(digits or known.digest):
        return name, known.digest
    if facts is None:
        shown = ", ".join(sorted(adapters)[:_SHOWN_MAX]) or "none"
        near = difflib.get_close_matches(name, adapters, n=1)
        raise Problem(
            "model_not_found",
            f"There is no adapter {name[:80]!r} that is admitted here; there are {shown}.",
            f"Did you mean {near[0]}?" if near else "fastness models import --kind adapter --base MODEL brings one in.",
            param="adapters",
        )
    _check_digits(name, digits, facts.digest, "adapters")
    return name, facts.digest


def _parted(text: str, param: str) -> tuple[str, str, str]:
    name, pinned, digits = text.partition("@")
    digits = digits.removeprefix("sha256:").removesuffix("…")
    if pinned and not _DIGEST.fullmatch(digits):
        raise Problem(
            "invalid_value",
            f"`{param}` has {text[:160]!r}; after the @ it needs `sha256:` and {DIGEST_CHARS_MIN} to 64 hex digits.",
            f"{name[:80]!r} alone takes the digest that is here.",
            param=param,
        )
    return name, pinned, digits


def _check_digits(name: str, digits: str, digest: str, param: str) -> None:
    if not digest.startswith(digits):
        raise Problem(
            "conflict",
            f"{name} with a digest that begins with {digits[:12]} was asked for; the one here is {digest[:12]}….",
            "fastness models lists the digests; import the one that is wanted.",
            param=param,
        )
