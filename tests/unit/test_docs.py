"""Documentation is a tested surface: what is generated is fresh, what exists is documented, what is linked is there."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
import typer

from fastness.cli.app import build_app
from fastness.config import LimitSettings, load
from fastness.control.given_fleet import GivenFile
from fastness.core.error import ERROR_CODES
from fastness.core.event import EventType
from fastness.gateway.wire.chat import ChatBody
from fastness.gateway.wire.completion import CompletionBody
from fastness.gateway.wire.embedding import EmbeddingBody
from fastness.identity.configuration import read_identities
from fastness.simulator.pace import read_paces
from fastness.telemetry import names

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
API = "docs/reference/openai-api.md"
METRICS = [value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)]
AMERICAN = [
    "analyze",
    "authorize",
    "authorized",
    "behavior",
    "canceled",
    "catalog",
    "center",
    "color",
    "defense",
    "favor",
    "fulfill",
    "honor",
    "initialize",
    "labeled",
    "modeling",
    "optimize",
    "organization",
    "organize",
    "recognize",
    "recognized",
    "serialize",
    "signaling",
    "summarize",
    "traveling",
    "utilize",
]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def text_of(page: Path) -> str:
    return page.read_text()


@cache
def prose_of(page: Path) -> str:
    """A page without code blocks, code spans, link targets and comments."""
    text = re.sub(r"```.*?```|<!--.*?-->", "", text_of(page), flags=re.DOTALL)
    return re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE):
            yield relative(page), block


def anchors_of(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    made = set(re.findall(r'<a id="([^"]+)"', text))
    for heading in re.findall(r"^#{1,6} (.*)$", text, re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        made.add(re.sub(r"[^\w\- ]", "", shown.lower()).strip().replace(" ", "-"))
    return made


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        text = re.sub(r"```.*?```|`[^`]*`", "", text_of(page), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not re.match(r"[a-z]+:", target):
                yield page, target


@cache
def everything() -> str:
    return "\n".join(text_of(page) for page in PAGES)


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("path", "text"), generator().pages().items())
def test_a_generated_page_is_what_the_code_says(path: str, text: str) -> None:
    assert (DOCS / path).read_text() == text, "run `make docs` and commit what it writes"


@pytest.mark.parametrize("name", list(load({})[1]))
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{name}`" in (DOCS / "reference/configuration.md").read_text()


@pytest.mark.parametrize("code", list(ERROR_CODES))
def test_every_error_code_has_a_section_with_something_to_do(code: str) -> None:
    page = (DOCS / "reference/errors.md").read_text()
    assert f"(#{code})" in page
    section = page.partition(f"\n## {code}\n")[2].partition("\n## ")[0]
    assert "**What to do.**" in section


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_documented(name: str) -> None:
    assert f"`{name}`" in (DOCS / "reference/telemetry.md").read_text()


@pytest.mark.parametrize("field", sorted(names.LOG_FIELDS))
def test_every_log_field_is_documented(field: str) -> None:
    assert f"| `{field}` |" in (DOCS / "reference/telemetry.md").read_text()


@pytest.mark.parametrize("event", [one.value for one in EventType])
def test_every_ledger_event_is_documented(event: str) -> None:
    assert f"`{event}`" in (DOCS / "reference/ledger-events.md").read_text()


def verbs(group: Any = None, path: str = "fastness") -> Iterator[str]:
    group = group or typer.main.get_command(build_app(None))  # type: ignore[arg-type]  # no verb is run
    for name, verb in group.commands.items():
        if not verb.hidden:
            yield f"{path} {name}"
        if hasattr(verb, "commands"):
            yield from verbs(verb, f"{path} {name}")


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_verb_is_documented(verb: str) -> None:
    assert f"`{verb}" in (DOCS / "reference/cli.md").read_text()


@pytest.mark.parametrize("body", [ChatBody, CompletionBody, EmbeddingBody], ids=lambda body: body.__name__)
def test_every_field_of_a_body_is_in_the_table_of_its_route(body: type[msgspec.Struct]) -> None:
    anchor = {"ChatBody": "chat", "CompletionBody": "completions", "EmbeddingBody": "embeddings"}[body.__name__]
    section = text_of(ROOT / API).partition(f'<a id="{anchor}"></a>')[2].partition("<a id=")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    told = [field for row in rows for field in re.findall(r"`(\w+)`", row)]
    assert sorted(told) == sorted(body.__struct_fields__), "each field once, and no field that is not there"


def test_the_limits_on_the_api_page_are_those_of_the_code() -> None:
    told = dict(re.findall(r"^\| `limits\.(\w+)` \| ([\d,]+) \|", text_of(ROOT / API), re.MULTILINE))
    assert {name: int(value.replace(",", "")) for name, value in told.items()} == {
        one.name: one.default for one in fields(LimitSettings)
    }


def test_every_relative_link_leads_to_a_file_and_a_place_in_it() -> None:
    broken = []
    for page, target in links():
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors_of(there)):
            broken.append(f"{relative(page)}: {target}")
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        todo += [(page.parent / target.partition("#")[0]).resolve() for source, target in links() if source == page]
    assert [relative(page) for page in PAGES if page not in reached] == []


def test_every_python_example_compiles() -> None:
    examples = list(blocks("python"))
    assert examples
    for page, block in examples:
        try:
            ast.parse(block)
        except SyntaxError as error:
            pytest.fail(f"{page}: {error}\n{block}")


def test_every_settings_example_is_made_of_settings_that_exist(tmp_path: Path) -> None:
    for page, block in blocks("toml"):
        tomllib.loads(block)
        if "[[deployment]]" in block:
            msgspec.convert(tomllib.loads(block), GivenFile)
            continue
        if "[[issuer]]" in block or "[[service]]" in block:
            read_identities(block.encode(), page)
            continue
        (tmp_path / "config.toml").write_text(block)
        if "read_tokens_per_s" in block:
            assert read_paces(tmp_path / "config.toml")
            continue
        load({"FASTNESS_HOME": str(tmp_path)})
        assert page


def test_no_page_names_a_path_of_somebodys_machine() -> None:
    found = [
        f"{relative(page)}: {path}"
        for page in PAGES
        for path in re.findall(r"(?:/work|/root|/Users|/home|C:\\Users)[/\\][\w./-]*", text_of(page))
    ]
    assert found == []


def test_no_page_is_unfinished() -> None:
    found = [f"{relative(page)}: {mark}" for page in PAGES for mark in re.findall(r"TODO|FIXME|TBD|XXX", text_of(page))]
    assert found == []


def test_pages_are_written_in_british_english() -> None:
    american = re.compile(rf"\b({'|'.join(AMERICAN)})\b", re.IGNORECASE)
    found = [f"{relative(page)}: {word}" for page in PAGES for word in american.findall(prose_of(page))]
    assert found == []


def test_every_test_that_the_threat_model_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", text_of(ROOT / "SECURITY.md")))
    assert named
    there = set()
    for path in (ROOT / "tests").rglob("*.py"):
        there |= set(re.findall(r"^ *(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE))
        there.add(path.stem)
    assert sorted(named - there) == []


def test_every_threat_names_a_test_or_says_that_nothing_defends_against_it() -> None:
    table = text_of(ROOT / "SECURITY.md").partition("## Threats")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    assert len(rows) >= 15
    assert [row for row in rows if "`test_" not in row and "**open**" not in row] == []


def test_decisions_are_numbered_without_gaps_and_say_what_we_dislike() -> None:
    decisions = sorted((DOCS / "decisions").glob("0*.md"))
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        for heading in ("## Context", "## Decision", "## Consequences we like", "## Consequences we dislike"):
            assert heading in text_of(path), f"{relative(path)} has no `{heading}`"
        assert f"(decisions/{path.name})" in text_of(DOCS / "README.md"), f"{relative(path)} is not in the index"
