"""docs/reference/engines.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from fastness.engines.fake.engine import FakeEngine
from fastness.engines.llamacpp import automaton, engine, numeric, pattern, schema
from fastness.engines.llamacpp.child import EMBEDDING_BATCH_TOKENS
from fastness.engines.llamacpp.dialect import PENALTY_TOKENS, SEEDS
from fastness.engines.llamacpp.formats import FORMATS

PAGE = (Path(__file__).parents[3] / "docs/reference/engines.md").read_text()
SCHEMAS = PAGE.partition("## JSON schemas")[2].partition("**Patterns**")[0]


def test_every_keyword_that_is_supported_stands_in_the_table() -> None:
    rows = re.findall(r"^\| (`.*?) \|", SCHEMAS, re.MULTILINE)
    assert {keyword for row in rows for keyword in re.findall(r"`([^`]+)`", row)} == schema.KEYWORDS | {"$id"}


def test_every_format_stands_in_the_table() -> None:
    (row,) = re.findall(r"^\| `format` \| (.*) \|$", SCHEMAS, re.MULTILINE)
    assert re.findall(r"`([^`]+)`", row) == list(FORMATS)


def test_the_limits_are_those_of_the_code() -> None:
    for text in (
        f"up to {schema.ITEMS_MAX:,} items",
        f"up to {schema.LENGTH_MAX:,} characters",
        f"up to {schema.ENUM_MAX:,} values",
        f"up to {numeric.DECIMALS_MAX} decimal places",
        f"up to {numeric.MULTIPLES_MAX:,} multiples",
        f"steps up to {numeric.STEP_MAX:,} from",
        f"up to {pattern.PATTERN_CHARS_MAX} characters",
        f"up to {pattern.COPIES_MAX} with its repetitions",
        f"up to {automaton.WORK_MAX:,} steps",
        f"up to {schema.COST_MAX:,} at most",
        f"up to {schema.DEPTH_MAX} deep",
        f"last {PENALTY_TOKENS} tokens",
        f"modulo {SEEDS:,}",
        f"{EMBEDDING_BATCH_TOKENS} tokens a batch",
        f"{engine.BASE_BYTES >> 30} GiB, {engine.SLOT_BYTES >> 20} MiB a slot",
    ):
        assert text in " ".join(PAGE.split()), text
    assert (schema.ITEM_COST, schema.WORK_COST) == (4, 8), "written out in words"
    assert FakeEngine().name in PAGE
