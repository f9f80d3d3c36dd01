"""Facts as text."""

import pytest
from rich.cells import cell_len

from fastness.cli import render
from fastness.cli.render import Column


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(None, "-"), (0, "0 B"), (999, "999 B"), (98_362_432, "98 MB"), (1_234_567_890, "1.2 GB"), (999_600, "1.0 MB"),
     (12_300_000_000, "12 GB"), (3_000_000_000_000, "3.0 TB")],
)  # fmt: skip
def test_sizes_are_short_and_decimal(size_bytes, text):
    assert render.size(size_bytes) == text


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(0.0, "0.00 s"), (0.409, "0.41 s"), (0.996, "1.0 s"), (2.44, "2.4 s"), (38.2, "38 s"), (59.7, "1 min"),
     (200, "3 min 20 s"), (7_500, "2 h 5 min"), (90_000, "1 d 1 h")],
)  # fmt: skip
def test_durations_have_the_digits_that_matter(duration_s, text):
    assert render.duration(duration_s) == text


@pytest.mark.parametrize(
    ("age_s", "text"), [(-3, "0 s"), (41.9, "41 s"), (200, "3 min"), (7_300, "2 h"), (432_000, "5 d")]
)
def test_ages_are_in_their_largest_unit(age_s, text):
    assert render.age(age_s) == text


def test_moments_are_in_utc_and_never_is_never():
    assert render.moment(1_800_000_000) == "2027-01-15 08:00Z"
    assert render.moment(None) == "never"


COLUMNS = (Column("NAME"), Column("SIZE", right=True, spare=1), Column("WHY", spare=2))
ROWS = [("alpha", "12 MB", "first"), ("be", "3 kB", "second")]


def test_a_table_lines_up_without_frames_or_trailing_spaces():
    assert render.table(COLUMNS, ROWS, 80) == (
        "NAME    SIZE  WHY\n"
        "alpha  12 MB  first\n"
        "be      3 kB  second"
    )  # fmt: skip


def test_columns_that_can_be_spared_go_first_when_space_is_short():
    assert render.table(COLUMNS, ROWS, 14) == "NAME    SIZE\nalpha  12 MB\nbe      3 kB"
    assert render.table(COLUMNS, ROWS, 8) == "NAME\nalpha\nbe"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_of_a_table_is_longer_than_the_terminal(width):
    columns = (Column("A"), Column("B"), Column("C", spare=1))
    drawn = render.table(columns, [("x" * 50, "y" * 30, "z" * 90), ("漢字" * 12, "b", "c")], width)
    assert max(cell_len(line) for line in drawn.splitlines()) <= width
    assert drawn.count("x") == 50, "folded, not cut"


def test_without_a_terminal_a_record_stays_one_line():
    assert render.table(COLUMNS, [("x" * 500, "1", "y" * 500)], render.UNBOUNDED).count("\n") == 1


def test_states_are_words_and_coloured_only_when_asked():
    assert render.table((Column("STATE"),), [("ready",)], 80) == "STATE\nready"
    assert "\x1b[32mready" in render.table((Column("STATE"),), [("ready",)], 80, colour=True)


def test_stored_text_cannot_drive_the_terminal():
    assert render.printable("a\x1b[31mb\x07\r\x9b\u202ec\nd\te") == "a[31mbc\nd\te"
    assert "\x1b" not in render.table((Column("NAME"),), [("\x1b]0;owned\x07",)], 80)


def test_named_facts_wrap_under_themselves():
    assert render.pairs([("name", "alpha"), ("why", "one two three four five")], 26) == (
        "name  alpha\n"
        "why   one two three four\n"
        "      five"
    )  # fmt: skip


def test_a_stage_has_its_result_at_the_side_or_below():
    assert render.stage("gateway", "http://127.0.0.1:8080/v1", "ready", "0.20 s", 80) == (
        "gateway    http://127.0.0.1:8080/v1                           ready     0.20 s"
    )
    assert render.stage("seal", "d" * 60, "proved", "1.2 s", 80) == f"seal       {'d' * 60}\n           proved    1.2 s"
    assert render.stage("engine", "llama.cpp", "", "", 80) == "engine     llama.cpp"
