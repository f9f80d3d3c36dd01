"""Policies and decisions as text for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from fastness.cli import render
from fastness.cli.render import Column

HISTORY: Final = (Column("VERSION", right=True), Column("APPLIED"), Column("BY"), Column("SHA256", spare=1))
CHANGES: Final = (
    Column("CHANGE"),
    Column("WHO"),
    Column("TENANT", spare=1),
    Column("ACTION"),
    Column("MODEL"),
    Column("NODE", spare=2),
    Column("MARKINGS"),
    Column("RULE"),
    Column("WHY", spare=4),
)
NAMES_MAX: Final = 3
"""Names of keys on one line of a difference."""
_RIGHT: Final = ("principal", "change", "action", "deployment")
_MARKINGS: Final = (Column("MARKING"), Column("ABOVE"), Column("LAW"), Column("OWNER"), Column("MEANING", spare=1))
_CAVEATS: Final = (Column("CAVEAT"), Column("FROM"), Column("LAW"), Column("OWNER"), Column("MEANING", spare=1))
_OPERATORS: Final = (Column("OPERATOR"), Column("OWNER"), Column("NAME"))


def shown(policy: Mapping[str, Any], width: int, colour: bool) -> str:
    """Write a policy: where it comes from, its profile, and the rules of its files."""
    profile = policy["profile"]
    facts = [
        ("policy", f"{policy['version']}, sha256 {policy['digest']}"),
        ("applied", f"{render.moment(policy['applied_s'])} by {policy['applied_by']}"),
        ("profile", f"{profile['name']} ({profile['title']}); what carries no marking is {profile['default']}"),
        ("laws", "; ".join(f"{code} {name}" for code, name in profile["jurisdictions"]) or "none"),
    ]
    markings = [(one["name"], _listed(one["above"], "-"), *_asked(one), one["meaning"]) for one in profile["markings"]]
    caveats = [(one["name"], one["lowest"], *_asked(one), one["meaning"]) for one in profile["caveats"]]
    operators = [(one["id"], one["owner"], one["name"]) for one in profile["operators"]]
    parts = [render.pairs(facts, width)]
    for columns, rows in ((_MARKINGS, markings), (_CAVEATS, caveats), (_OPERATORS, operators)):
        if rows:
            parts.append(render.table(columns, rows, width, colour))
    parts += [f"{render.paint(one['name'], 'bold', colour)}\n\n{one['text'].strip()}" for one in policy["policies"]]
    parts.append(
        "LAW and OWNER are what it asks of a node. The mandatory rules (ceilings, places, grants, lifeline) are in\n"
        "force besides, whatever stands in these files."
    )
    return "\n\n".join(parts)


def explained(answer: Mapping[str, Any], width: int, colour: bool) -> str:
    """Write a decision: the outcome, on each node the rule with needed and had, the rules, and every fact."""
    who = answer["principal"]
    of = f" of tenant {who['tenant']}" if who["tenant"] else ""
    what = answer["action"].replace("_", " ") + (f" with {answer['model']}" if answer["model"] else "")
    outcome = "allowed" if answer["allowed"] else "denied"
    asked = f"{who['id']}{of} ({', '.join(who['roles'])}): {what}, marked {answer['marking']}"
    lines = [render.paint(outcome, "green" if answer["allowed"] else "red", colour) + f"  {asked}"]
    lines.append(render.hanging("policy   ", answer["policy"], width))
    rules: dict[str, Mapping[str, Any]] = {}
    for decision in answer["decisions"]:
        lines += ["", *_decided(decision, width, colour)]
        rules |= {rule["id"]: rule for rule in decision["rules"]}
    for rule in rules.values():
        kind = "mandatory" if rule["mandatory"] else "of this policy"
        lines += ["", render.paint(f"{rule['id']}  {rule['file']}, line {rule['line']}, {kind}", "bold", colour)]
        lines += [f"  // {line}" for line in rule["comment"].splitlines()]
        lines += [f"  {line}" for line in rule["text"].strip().splitlines()]
    for decision in answer["decisions"]:
        title = (
            f"what the rules could see on node {decision['node']}" if decision["node"] else "what the rules could see"
        )
        facts = [(f"  {name}", value) for name, value in _leaves(decision["facts"])]
        lines += ["", render.paint(title, "bold", colour), render.pairs(facts, width)]
    return "\n".join(lines)


def tried(answer: Mapping[str, Any], width: int, colour: bool) -> str:
    """Write what came of each case, and how many came out otherwise."""
    lines = []
    for one in answer["outcomes"]:
        verdict = render.paint(f"{'ok' if one['passed'] else 'FAIL':<6}", "green" if one["passed"] else "red", colour)
        lines.append(verdict + one["name"])
        if not one["passed"]:
            lines.append(render.hanging("      ", one["problem"], width))
    failed = sum(not one["passed"] for one in answer["outcomes"])
    count = len(answer["outcomes"])
    lines += ["", f"{count - failed} of {count} cases came out as expected, under policy {answer['policy'][:12]}…"]
    return "\n".join(lines)


def changed_rows(changes: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the lines of a difference: those who share a change on one line.

    How far a parameter may be turned goes without saying where the whole right is gained or lost.
    """
    whole = {tuple(one[name] for name in _RIGHT) for one in changes if not one["parameters"]}
    alike: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for one in changes:
        if not one["parameters"] or tuple(one[name] for name in _RIGHT) not in whole:
            alike.setdefault(_changed(one), []).append(one)
    return [
        (change, _several([one["principal"] for one in found]), *rest, found[0]["why"])
        for (change, *rest), found in alike.items()
    ]


def _changed(one: Mapping[str, Any]) -> tuple[str, ...]:
    parameters = f" ({one['parameters']})" if one["parameters"] else ""
    return (
        one["change"],
        one["tenant"] or "-",
        one["action"] + parameters,
        one["deployment"] or "-",
        one["node"] or "-",
        ", ".join(one["labels"]),
        one["rule"],
    )


def _several(names: Sequence[str]) -> str:
    rest = len(names) - NAMES_MAX
    return ", ".join(names[:NAMES_MAX]) + (f" and {rest} more" if rest > 0 else "")


def _decided(decision: Mapping[str, Any], width: int, colour: bool) -> list[str]:
    where = f"on node {decision['node']}" if decision["node"] else "here"
    if decision["allowed"]:
        return [f"{render.paint('allowed', 'green', colour)}  {where}, by rule {decision['rule']}"]
    others = [rule["id"] for rule in decision["rules"] if rule["id"] != decision["rule"]]
    lines = [f"{render.paint('denied', 'red', colour)}   {where}, by rule {decision['rule']} ({decision['code']})"]
    lines.append(render.hanging("  needed  ", decision["needed"], width))
    lines.append(render.hanging("  had     ", decision["had"], width))
    if others:
        lines.append(render.hanging("  and by  ", ", ".join(others), width))
    return lines


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{name}.")
        elif isinstance(value, list):
            yield f"{path}{name}", ", ".join(render.plain(one) for one in value) or "none"
        else:
            yield f"{path}{name}", "-" if value is None else render.plain(value) or "not declared"


def _asked(one: Mapping[str, Any]) -> tuple[str, str]:
    return _listed(one["jurisdictions"], "any"), _listed(one["owners"], "any")


def _listed(names: Sequence[str], none: str) -> str:
    return ", ".join(names) or none
