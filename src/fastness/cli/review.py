"""What an approver reads of a model or adapter, as text."""

from __future__ import annotations

from typing import Any, Final

from fastness.cli import render
from fastness.cli.render import Column
from fastness.cli.talk import Talk

FILE_COLUMNS: Final = (Column("FILE", firm=True), Column("SIZE", right=True), Column("SHA256", spare=1))
TEMPLATE_MARGIN: Final = "  │ "


def print_review(talk: Talk, review: dict[str, Any], *, template: bool) -> None:
    """Write a review on stdout, with the chat template's text if `template`."""
    found, files = review["artefact"], review["files"]
    talk.text(render.pairs(_facts(review), talk.width))
    talk.text("")
    talk.table(FILE_COLUMNS, [(one["path"], render.size(one["size_bytes"]), one["digest"]) for one in files], "")
    if template:
        if review["header"]:
            talk.text("")
            talk.text(render.pairs([tuple(pair) for pair in review["header"]], talk.width))
        _print_template(talk, review)
    if found["approvals"]:
        talk.text("")
        rows = [(one["by"], one["ceiling"], render.moment(one["at_s"])) for one in found["approvals"]]
        talk.table((Column("APPROVED BY"), Column("UP TO"), Column("AT")), rows, "")


def _facts(review: dict[str, Any]) -> list[tuple[str, str]]:
    found, seen = review["artefact"], review["template_review"]
    what = [found["kind"], found["format"], found["architecture"], render.size(found["size_bytes"])]
    if found["context_tokens"]:
        what.append(f"{render.count(found['context_tokens'])} tokens")
    facts = [
        (found["name"], " · ".join(part for part in what if part)),
        ("digest", found["digest"]),
        ("licence", found["licence"]),
        ("provenance", found["provenance"]),
        ("signature", review["signature"]),
        ("template", _template_line(found, seen)),
        ("served by", found["served_by"]),
        ("state", _state(found)),
    ]
    return facts if found["base"] is None else [*facts[:4], ("base", found["base"]), *facts[4:]]


def _state(found: dict[str, Any]) -> str:
    if found["state"] == "admitted":
        return f"admitted for {found['ceiling']}"
    if found["state"] == "revoked":
        return f"revoked by {found['revoked_by']} at {render.moment(found['revoked_s'])}"
    return str(found["state"])


def _template_line(found: dict[str, Any], seen: dict[str, Any] | None) -> str:
    if seen is None:
        return "none"
    if seen["known"]:
        return f"{found['template_sha256']}  known: it was reviewed before"
    return f"{found['template_sha256']}  {'SUSPICIOUS: read it' if seen['suspicious'] else 'nothing odd in it'}"


def _print_template(talk: Talk, review: dict[str, Any]) -> None:
    if review["template"] is None:
        return
    seen = review["template_review"] or {"conditions": [], "words": [], "constructs": []}
    talk.text("\nchat template")
    for line in render.printable(review["template"]).splitlines():
        talk.text(TEMPLATE_MARGIN + line)
    odd = [one for one in seen["conditions"] if one["suspicious"]]
    for one in odd:
        adds = f" and adds {one['adds']!r}" if one["adds"] else ""
        talk.text(render.printable(f"odd   line {one['line']}: {one['what']}{adds}"))
    if seen["words"]:
        talk.text(render.hanging("says  ", " | ".join(seen["words"]), talk.width))
    if seen["constructs"]:
        talk.text(render.hanging("uses  ", ", ".join(seen["constructs"]), talk.width))
