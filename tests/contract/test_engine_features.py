"""The table of what engines do names tests that there are, and that run on every engine that it speaks of."""

from __future__ import annotations

import test_engine_contract as suite
from engine_features import ENGINES, FEATURES


def test_every_row_is_held_by_tests_that_run_on_every_engine() -> None:
    runs_on = {getattr(one, "values", (one,))[0] for one in suite.ENGINES}
    assert runs_on == set(ENGINES)
    for feature in FEATURES:
        for name in feature.tests:
            arguments = getattr(suite, name).__code__.co_varnames[: getattr(suite, name).__code__.co_argcount]
            assert {"chat", "embedder"} & set(arguments), f"{name} asks no engine"


def test_every_test_of_the_suite_is_in_the_table() -> None:
    named = {name for feature in FEATURES for name in feature.tests}
    asked = {
        name
        for name, one in vars(suite).items()
        if name.startswith("test_") and {"chat", "embedder"} & set(one.__code__.co_varnames[: one.__code__.co_argcount])
    }
    assert asked - named == {"test_closing_the_connection_frees_the_slot"}
