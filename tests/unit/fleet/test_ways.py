"""By which way letters go: Ray's for as long as it brings what is new."""

from __future__ import annotations

from fastness.fleet.ways import ANSWERS_MAX, FIRST_S, Ways

PATIENCE_S = 1.2


def test_ray_gets_time_to_begin() -> None:
    ways = Ways(100.0)
    assert not ways.by_door(100.0 + FIRST_S, PATIENCE_S)
    assert ways.by_door(100.1 + FIRST_S, PATIENCE_S)


def test_a_way_is_as_good_as_the_newest_of_our_reports_that_something_it_brought_answers() -> None:
    ways = Ways(0.0)
    ways.renewed(b"first", 5.0)
    ways.ray_brought(b"first")
    assert not ways.by_door(6.0, PATIENCE_S)
    assert ways.by_door(6.3, PATIENCE_S)
    ways.renewed(b"second", 7.0)
    assert ways.by_door(7.1, PATIENCE_S), "the doors brought that one"
    ways.ray_brought(b"second")
    assert not ways.by_door(7.2, PATIENCE_S), "and then Ray, too"


def test_the_same_letter_again_and_letters_that_renewed_nothing_count_for_nothing() -> None:
    ways = Ways(0.0)
    ways.renewed(b"first", 5.0)
    for _ in range(10):
        ways.ray_brought(b"first")
    ways.ray_brought(b"who knows")
    assert ways.by_door(6.3, PATIENCE_S)


def test_only_the_last_answers_are_known_again() -> None:
    ways = Ways(0.0)
    for number in range(ANSWERS_MAX + 1):
        ways.renewed(b"%d" % number, float(number))
    assert not ways.knows(b"0") and ways.knows(b"1") and ways.knows(b"%d" % ANSWERS_MAX)
