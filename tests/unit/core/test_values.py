"""Values of the core: what they add up to, and what they allow."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core import event, model, replica, request, tenant
from fastness.core.event import EventType
from fastness.core.request import Usage
from fastness.core.tenant import Principal, Role

COUNTS = st.integers(min_value=0, max_value=10**9)
USAGES = st.builds(Usage, COUNTS, COUNTS, COUNTS)


@given(st.lists(USAGES))
def test_usage_adds_up_field_by_field(usages: list[Usage]) -> None:
    total = sum(usages, Usage())
    assert total.input_tokens == sum(one.input_tokens for one in usages)
    assert total.output_tokens == sum(one.output_tokens for one in usages)
    assert total.cached_tokens == sum(one.cached_tokens for one in usages)


def test_a_principal_without_a_list_may_use_every_model() -> None:
    assert Principal("key-1", "health", Role.DEVELOPER).may_use("anything")


def test_a_principal_with_a_list_may_use_what_is_on_it_and_nothing_else() -> None:
    principal = Principal("key-1", "health", Role.DEVELOPER, frozenset({"small"}))
    assert principal.may_use("small")
    assert not principal.may_use("smal")
    assert not principal.may_use("")


def test_a_principal_with_an_empty_list_may_use_nothing() -> None:
    assert not Principal("key-1", "health", Role.DEVELOPER, frozenset()).may_use("small")


@pytest.mark.parametrize("module", [event, model, replica, request, tenant])
def test_every_value_of_the_core_is_frozen(module: object) -> None:
    values = [one for one in vars(module).values() if dataclasses.is_dataclass(one)]
    assert values
    for one in values:
        assert one.__dataclass_params__.frozen, one  # type: ignore[union-attr]


def test_ledger_event_types_are_nouns_with_a_past() -> None:
    assert all(re.fullmatch(r"[a-z]+(\.[a-z]+)?", one.value) for one in EventType)
