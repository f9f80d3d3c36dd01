"""Whatever an engine says, and however it is cut, each call ends once."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine_harness import (
    BROKEN,
    STREAM,
    WHOLE,
    called,
    saying,
    streamed,
)

ANSWERS = st.sampled_from([*BROKEN.values(), WHOLE, STREAM]).map(lambda text: text[:2_000])


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    wire = bytearray(draw(ANSWERS))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(wire)))
        wire[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(wire)


@given(mutated() | st.binary(max_size=100), st.lists(st.integers(1, 400), max_size=5))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_an_engine_says_each_call_ends_once(tmp_path, wire, cuts):
    edges = sorted(cut for cut in cuts if cut < len(wire))
    parts = [wire[begin:end] for begin, end in zip([0, *edges], [*edges, len(wire)], strict=True)]
    taken = streamed(tmp_path, saying(*parts, kept=False))
    assert taken.ended is (taken.error is None)


@given(st.sampled_from([WHOLE, STREAM]), st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_answer_is_the_same_wherever_it_is_cut(tmp_path, wire, data):
    edges = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=20)))
    parts = [wire[begin:end] for begin, end in zip([0, *edges], [*edges, len(wire)], strict=True)]
    assert called(tmp_path, saying(*parts)).body in (b"whole", b"firstsecond")
