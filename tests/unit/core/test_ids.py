"""Identifiers have one shape each."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.ids import base62, is_name

DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase


@given(st.integers(min_value=0, max_value=62**43 - 1))
def test_base62_can_be_read_back(value: int) -> None:
    text = base62(value, 43)
    assert len(text) == 43
    read = 0
    for digit in text:
        read = read * 62 + DIGITS.index(digit)
    assert read == value


def test_thirty_two_random_bytes_fit_43_digits() -> None:
    assert len(base62(2**256 - 1, 43)) == 43


@given(st.integers(min_value=0, max_value=10**12), st.integers(min_value=0, max_value=10**12))
def test_base62_keeps_the_order_of_numbers(one: int, other: int) -> None:
    assert (one < other) == (base62(one, 8) < base62(other, 8))


def test_a_number_too_large_for_its_width_is_refused_and_not_cut() -> None:
    assert base62(61, 1) == "z"
    with pytest.raises(ValueError, match="more than 1 base-62"):
        base62(62, 1)


@pytest.mark.parametrize("name", ["a", "7", "health", "hm-treasury", "a" * 63, "x--y", "smollm2-135m-instruct"])
def test_a_dns_label_is_a_name(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "A", "a_b", "a.b", "a b", "a" * 64, "naïve", "a\n", "../etc", "a/b", "٣"]
)
def test_anything_else_is_no_name(name: str) -> None:
    assert not is_name(name)
