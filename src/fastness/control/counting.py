"""What entries of a gateway's ledger count for: pure, so that whoever has the ledger can count it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastness.core.event import EventType
from fastness.core.limit import Limit, Metric
from fastness.store.port import Use


def uses_of(entries: Iterable[Mapping[str, Any]], limits: tuple[Limit, ...]) -> dict[Use, int]:
    """Return what these entries, in order of the ledger, add to each limit, metric and window.

    A request counts in the window in which it was admitted, and all that hold for its tenant, key and model. One that
    met no limit has no `admitted_s`, and counts for nothing.
    """
    uses: dict[Use, int] = {}
    applying: dict[tuple[str, str, str], list[tuple[str, Metric]]] = {}
    for entry in entries:
        fields = entry["fields"]
        tokens, admitted_s = tokens_of(entry), fields.get("admitted_s")
        if tokens is None or type(admitted_s) is not int:
            continue
        who = str(fields.get("tenant")), str(fields.get("key")), str(fields.get("model"))
        if who not in applying:
            found = [limit for limit in limits if limit.scope.holds(*who)]
            applying[who] = [(one.scope.id, metric) for one in found for metric, _ in one.bounds() if metric.period_s]
        for scope, metric in applying[who]:
            use = (scope, metric, metric.window_s(admitted_s))
            uses[use] = uses.get(use, 0) + (tokens if metric.counts_tokens else 1)
    return uses


def tokens_of(entry: Mapping[str, Any]) -> int | None:
    """Return the tokens that an entry counts for; None: it is not one of a request that an engine worked on."""
    fields = entry["fields"]
    if entry["type"] == EventType.INFERENCE_COMPLETED:
        return int(fields.get("input_tokens") or 0) + int(fields.get("output_tokens") or 0)
    return int(fields.get("charged_tokens") or 0) if entry["type"] == EventType.INFERENCE_FAILED else None
