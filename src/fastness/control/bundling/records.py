"""Drafts of the records that the state asks for, each line with its evidence: a test, an entry, a member, a page.

What a line says stands in a TOML file beside this one; which entries and members there are, a bundle knows. A line that
points to nothing that is there says so: it is never claimed without evidence.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any, Final

import msgspec

from fastness.control.bundling.members import Draft

NAMES: Final = ("atrs", "dpia-data-flow", "ncsc-cloud-principles", "en-304-223")
OPEN: Final = ("Not claimed:", "To be answered by")


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """One piece: `kind` is `test`, `entry`, `member` or `document`."""

    kind: str
    id: str | None = None
    path: str | None = None
    log: str | None = None
    index: int | None = None


class Line(msgspec.Struct, frozen=True):
    """One line of a record."""

    id: str
    heading: str
    statement: str
    evidence: tuple[Evidence, ...]


class Record(msgspec.Struct, frozen=True):
    """A draft."""

    record: str
    title: str
    draft: bool
    lines: tuple[Line, ...]


class GivenLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line as it is written in TOML; `entries` are types of events, `members` kinds of members."""

    id: str
    heading: str
    says: str
    tests: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()


class GivenRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record as it is written in TOML."""

    title: str
    line: tuple[GivenLine, ...]


msgspec.json.Decoder(GivenRecord)  # so that msgspec has looked at it before several threads ask


def add_records(draft: Draft) -> None:
    """Take the drafts, each as JSON and as Markdown. Call it last: it points to what is there."""
    for name in NAMES:
        record = made(name, given(name), draft)
        draft.add_json("record", f"records/{name}.json", record)
        draft.add("record", f"records/{name}.md", written(record).encode())


def given(name: str) -> GivenRecord:
    """Read what is written of a record."""
    text = files("fastness.control.bundling").joinpath(f"records/{name}.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), GivenRecord)


def made(name: str, record: GivenRecord, draft: Draft) -> Record:
    """Point a record's lines to what a bundle has."""
    return Record(name, record.title, True, tuple(_line(one, draft) for one in record.line))


def written(record: Record) -> str:
    """Write a record for people."""
    lines = "\n".join(f"## {one.id} {one.heading}\n\n{one.statement}\n\n{_listed(one)}" for one in record.lines)
    about = "A draft, made from what the software knows. What only people know is left open."
    return f"# {record.title}\n\n{about}\n\n{lines}"


def _line(one: GivenLine, draft: Draft) -> Line:
    evidence = [Evidence("test", id=test) for test in one.tests]
    evidence += [Evidence("document", path=page) for page in one.documents]
    missing = []
    for kind in one.entries:
        newest = next((seen for seen in reversed(draft.entries) if seen.type == kind), None)
        if newest is None:
            missing.append(f"no entry `{kind}`")
        else:
            evidence.append(Evidence("entry", log=newest.log, index=newest.index))
    for kind in one.members:
        found = [path for path, its in sorted(draft.kinds.items()) if its == kind]
        if not found:
            missing.append(f"no member of the kind `{kind}`")
        evidence += [Evidence("member", path=path) for path in found]
    statement = " ".join(one.says.split())
    if missing:
        statement += f" (Not in this bundle: {', '.join(missing)}.)"
    if not evidence and not statement.startswith(OPEN):
        statement = f"Not claimed: {statement}"
    return Line(one.id, one.heading, statement, tuple(evidence))


def _listed(line: Line) -> str:
    shown: list[str] = []
    for one in line.evidence:
        if one.kind == "entry":
            shown.append(f"- entry {one.index} of the log {one.log}")
        else:
            shown.append(f"- {one.kind} `{one.id or one.path}`")
    return "\n".join(shown) + "\n" if shown else "- no evidence here\n"


def tests_named() -> dict[str, Any]:
    """Return every test that a record names, with the record and line that name it."""
    return {test: (name, line.id) for name in NAMES for line in given(name).line for test in line.tests}
