"""What a denial tells, from a rule's annotations: `{deployment.ceiling}` and the like, a closed vocabulary."""

from __future__ import annotations

import re
from typing import Any, Final

CODES: Final = ("permission_denied", "marking_not_cleared", "parameter_not_allowed")
"""Codes that a rule may deny with."""
FACTS: Final = frozenset(
    {
        "action",
        "label",
        "needs.jurisdictions",
        "needs.owners",
        "principal.id",
        "principal.tenant",
        "principal.roles",
        "principal.credential",
        "principal.models",
        "principal.clearance",
        "principal.tenant_clearance",
        "deployment.name",
        "deployment.ceiling",
        "deployment.tenants",
        "model.name",
        "model.digest",
        "model.ceiling",
        "adapter.name",
        "adapter.base",
        "adapter.ceiling",
        "node.name",
        "node.jurisdiction",
        "node.operator",
        "node.owner",
        "node.ceiling",
        "parameters.uses",
        "parameters.choices",
        "parameters.tools",
        "parameters.max_output_tokens",
        "parameters.temperature_milli",
        "parameters.top_p_milli",
    }
)
"""What may stand in braces."""
TEMPLATE_CHARACTERS_MAX: Final = 512
FACT_CHARACTERS_MAX: Final = 256
"""One fact put into a template; the rest of it is cut."""

_FIELD: Final = re.compile(r"\{([^{}]*)\}")


def problem_of(template: str) -> str:
    """Say what is wrong with a template, or nothing."""
    if len(template) > TEMPLATE_CHARACTERS_MAX or not template.isprintable():
        return f"one line of at most {TEMPLATE_CHARACTERS_MAX} characters is needed"
    for field in _FIELD.findall(template):
        if field not in FACTS:
            return f"there is no {{{field[:80]}}}; there are {', '.join(sorted(FACTS))}"
    if set("{}") & set(_FIELD.sub("", template)):
        return "a brace without its partner"
    return ""


def fill(template: str, facts: dict[str, Any]) -> str:
    """Put facts into a template that has no problem."""
    return _FIELD.sub(lambda match: _text_of(match[1], facts), template)


def _text_of(path: str, facts: dict[str, Any]) -> str:
    value: Any = facts
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if value is None or value in ("", []):
        return "none"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= FACT_CHARACTERS_MAX else text[: FACT_CHARACTERS_MAX - 1] + "…"
