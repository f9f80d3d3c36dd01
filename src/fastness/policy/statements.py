"""Cedar text taken apart into single rules, each with its place, before Cedar itself sees it.

Cedar's parser recurses, and brackets nested a thousand deep overflow its stack and end the process. So brackets are
counted here first. And Cedar names policies by position; here each is its own statement, named by its `@id`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from cedarpy import Schema, policies_to_json_str, validate_policies

from fastness.core.policy import PolicyText
from fastness.policy.port import PolicyProblem

TEXT_BYTES_MAX: Final = 262_144
"""One file of policies."""
RULE_BYTES_MAX: Final = 16_384
RULES_MAX: Final = 512
"""Rules of one file, and of a whole bundle."""
NESTING_MAX: Final = 24
"""Brackets within brackets."""

_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9._/-]{0,62}[a-z0-9])?")
_TOKEN: Final = re.compile(r'//[^\r\n]*|"(?:[^"\\]|\\.)*"|[][(){};"]|\n', re.DOTALL)
_OPENING: Final = "([{"
_CLOSING: Final = ")]}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as written. `comment` is what stands above it; `line` counts from 1; `effect` is permit or forbid.

    `code`, `needed` and `had` are its annotations, empty where it has none.
    """

    id: str
    file: str
    line: int
    effect: str
    mandatory: bool
    comment: str
    text: str
    code: str = ""
    needed: str = ""
    had: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: the line of its first token, what stands above it, and its text to the semicolon."""

    line: int
    comment: str
    text: str


def read_rules(policies: PolicyText, schema: Schema, *, mandatory: bool) -> list[tuple[Rule, dict[str, Any]]]:
    """Read a file of policies: each rule, with Cedar's JSON form of it. Raises PolicyProblem with file and line."""
    size_bytes = len(policies.text.encode(errors="replace"))
    if size_bytes > TEXT_BYTES_MAX:
        raise PolicyProblem(f"{policies.name}: {size_bytes} bytes; a file of policies has {TEXT_BYTES_MAX} at most")
    _refuse_what_cannot_be_seen(policies)
    statements = list(_statements(policies))
    if len(statements) > RULES_MAX:
        line = statements[RULES_MAX].line
        raise PolicyProblem(f"{policies.name}:{line}: a file of policies has {RULES_MAX} rules at most")
    forms = _forms(policies, statements, schema)
    return [
        (_rule(policies.name, statement, form, mandatory), form)
        for statement, form in zip(statements, forms, strict=True)
    ]


def _forms(policies: PolicyText, statements: list[Statement], schema: Schema) -> list[dict[str, Any]]:
    """Have Cedar parse and validate all at once, and one by one only to find where it refuses one."""
    try:
        forms = _parsed("", policies.text)
        if len(forms) == len(statements) and validate_policies(policies.text, schema).validation_passed:
            return forms
    except PolicyProblem:
        pass
    return [_form(f"{policies.name}:{statement.line}", statement.text, schema) for statement in statements]


def _form(where: str, text: str, schema: Schema) -> dict[str, Any]:
    forms = _parsed(where, text)
    if len(forms) != 1:
        raise PolicyProblem(f"{where}: one whole rule is needed, without ?principal or ?resource")
    validated = validate_policies(text, schema)
    if not validated.validation_passed:
        said = validated.errors[0].error if validated.errors else "it does not fit the schema"
        raise PolicyProblem(f"{where}: rule {forms[0].get('annotations', {}).get('id')}: {said}")
    return forms[0]


def _parsed(where: str, text: str) -> list[dict[str, Any]]:
    """Return Cedar's forms of the rules in `text`, in its order; templates are left out."""
    try:
        found = json.loads(policies_to_json_str(text))["staticPolicies"]
    except ValueError as error:
        raise PolicyProblem(f"{where}: {error}") from None
    except RecursionError:
        raise PolicyProblem(
            f"{where}: too long a chain of conditions; a set with .contains() says it shorter"
        ) from None
    return [found[name] for name in sorted(found, key=lambda name: int(name.removeprefix("policy")))]


def _rule(name: str, statement: Statement, form: dict[str, Any], mandatory: bool) -> Rule:
    where = f"{name}:{statement.line}"
    if len(statement.text.encode(errors="replace")) > RULE_BYTES_MAX:
        raise PolicyProblem(f"{where}: a rule has {RULE_BYTES_MAX} bytes at most; several rules say as much")
    annotations: dict[str, str | None] = form.get("annotations", {})
    rule_id = annotations.get("id") or ""
    if _ID.fullmatch(rule_id) is None:
        came = f"{rule_id[:80]!r} came" if rule_id else "none came"
        raise PolicyProblem(f'{where}: each rule needs a name like @id("health/1"), lower case, 64 at most; {came}')
    code, needed, had = (annotations.get(key) or "" for key in ("code", "needed", "had"))
    return Rule(
        id=rule_id,
        file=name,
        line=statement.line,
        effect=form["effect"],
        mandatory=mandatory,
        comment=statement.comment,
        text=statement.text,
        code=code,
        needed=needed,
        had=had,
    )


def _refuse_what_cannot_be_seen(policies: PolicyText) -> None:
    """Refuse what an editor does not show: to Cedar a lone carriage return ends a comment, and a rule may follow it."""
    for number, line in enumerate(policies.text.split("\n"), 1):
        shown = line.removesuffix("\r").replace("\t", " ")
        if not shown.isprintable():
            hidden = next(one for one in shown if not one.isprintable())
            raise PolicyProblem(f"{policies.name}:{number}: the invisible character U+{ord(hidden):04X}")


def _statements(policies: PolicyText) -> Iterator[Statement]:
    """Cut the text at its semicolons, which Cedar uses for nothing else; raises PolicyProblem."""
    text = policies.text
    begin = depth = 0
    line = 1
    for token in _TOKEN.finditer(text):
        symbol = token.group()
        if symbol == '"':
            raise PolicyProblem(f"{policies.name}:{line}: a string that does not end")
        if symbol in _OPENING:
            depth += 1
            if depth > NESTING_MAX:
                raise PolicyProblem(f"{policies.name}:{line}: brackets nested more than {NESTING_MAX} deep")
        elif symbol in _CLOSING:
            depth -= 1
        elif symbol == ";":
            end = token.end()
            yield _statement(text[begin:end], text.count("\n", 0, begin) + 1)
            begin, depth = end, 0
        line += symbol.count("\n")
    rest = _statement(text[begin:], text.count("\n", 0, begin) + 1)
    if rest.text:
        raise PolicyProblem(f"{policies.name}:{rest.line}: a rule that does not end with a semicolon")


def _statement(text: str, line: int) -> Statement:
    """Part what stands above a statement from it. Only the last block of comments belongs to it."""
    comment: list[str] = []
    lines = text.split("\n")
    for index, one in enumerate(lines):
        stripped = one.strip()
        if not stripped:
            comment = []
        elif stripped.startswith("//"):
            comment.append(stripped.removeprefix("//").strip())
        else:
            return Statement(line + index, " ".join(comment), "\n".join(lines[index:]).strip())
    return Statement(line, "", "")
