"""An engine in virtual time does what its pace says, and never more at a time than it can."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastness.simulator.engine import Engine, EnginePace, Progress, Run

PACE = EnginePace(read_tokens_per_s=1_000.0, step_s=0.1, step_beside_s=0.05, slots=2)


def play(engine: Engine, until_s: float = 1e9) -> list[tuple[float, Progress, object]]:
    told = []
    while (due := engine.due_s()) is not None and due <= until_s:
        told += [(round(due, 6), what, run.ticket) for what, run in engine.advance(due)]
        assert engine.is_within_bounds
    return told


def test_a_run_alone_is_read_and_then_written_token_by_token() -> None:
    engine = Engine(PACE)
    engine.take(0.0, Run("a", 500, 11))
    assert play(engine) == [(0.5, Progress.FIRST, "a"), (1.5, Progress.LAST, "a")]
    assert engine.runs == engine.kv_tokens == 0


def test_answers_slow_each_other_down_and_prompts_are_read_one_after_the_other() -> None:
    engine = Engine(PACE)
    engine.take(0.0, Run("a", 500, 11))
    engine.take(0.0, Run("b", 500, 11))
    # a writes 5 tokens alone while b is read, and its other 5 beside b
    assert play(engine) == [
        (0.5, Progress.FIRST, "a"),
        (1.0, Progress.FIRST, "b"),
        (1.75, Progress.LAST, "a"),
        (2.25, Progress.LAST, "b"),
    ]


def test_what_has_no_slot_or_no_cache_waits_in_the_engine() -> None:
    engine = Engine(EnginePace(1_000.0, 0.1, 0.0, slots=1))
    for name in "ab":
        engine.take(0.0, Run(name, 100, 3))
    assert [told[0] for told in play(engine)] == [0.1, 0.3, 0.4, 0.6]
    tight = Engine(EnginePace(1_000.0, 0.1, 0.0, slots=9, kv_tokens=150))
    for name in "ab":
        tight.take(0.0, Run(name, 100, 3))
    assert [told[0] for told in play(tight)] == [0.1, 0.3, 0.4, 0.6]


def test_while_a_prompt_is_read_writing_is_slower() -> None:
    engine = Engine(EnginePace(1_000.0, 0.1, 0.0, reading_slows=5.0))
    engine.take(0.0, Run("a", 100, 11))
    play(engine, 0.1)
    engine.take(0.1, Run("b", 1_000, 2))
    assert play(engine)[:2] == [(1.1, Progress.FIRST, "b"), (1.2, Progress.LAST, "b")]
    # a wrote 2 tokens in the second in which b was read, and has 8 more to write
    assert engine.due_s() is None


def test_what_is_dropped_makes_room_and_tells_nothing() -> None:
    engine = Engine(PACE)
    runs = [Run(name, 100, 5) for name in "abcd"]
    for run in runs:
        engine.take(0.0, run)
    engine.advance(0.1)
    assert engine.written(0.15, runs[0]) == 1
    for run in runs[:3]:
        engine.drop(0.15, run)
    assert [ticket for _, _, ticket in play(engine)] == ["d", "d"]
    assert engine.runs == engine.writing == engine.kv_tokens == 0


@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 3_000), st.integers(1, 300)), min_size=1, max_size=30),
    st.integers(1, 4),
    st.sampled_from([0, 2_000, 6_000]),
    st.integers(0, 5),
)
def test_every_run_gets_its_first_token_and_then_its_last_and_nothing_is_left(asked, slots, kv_tokens, dropped) -> None:
    engine = Engine(EnginePace(2_000.0, 0.01, 0.002, 1e-7, 3.0, slots, kv_tokens))
    told: list[tuple[float, Progress, object]] = []
    runs = []
    for number, (at_s, tokens, output) in enumerate(sorted(asked)):
        told += play(engine, at_s)
        runs.append(Run(number, tokens, output))
        engine.take(at_s, runs[-1])
        if number < dropped:
            engine.drop(at_s, runs[-1])
    told += play(engine)
    assert [at for at, _, _ in told] == sorted(at for at, _, _ in told)
    for run in runs[dropped:]:
        assert [what for _, what, ticket in told if ticket == run.ticket] == [Progress.FIRST, Progress.LAST]
        assert engine.written(1e6, run) in (0, run.output_tokens)
    assert engine.runs == engine.writing == engine.kv_tokens == engine._answer_tokens == 0
