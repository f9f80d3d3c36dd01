"""What is written piece by piece for the engine is the JSON that it should be, field by field and in order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.request import Generation, JsonConstraint, Message, Sampling
from fastness.engines.llamacpp.dialect import LlamaCppDialect, _sampled
from fastness.engines.llamacpp.grammar import grammar

NUMBERS = st.none() | st.floats(0, 1, allow_nan=False)
SAMPLINGS = st.builds(
    Sampling,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
    stop=st.lists(st.text(min_size=1, max_size=4), max_size=2).map(tuple),
    logit_bias=st.lists(st.tuples(st.integers(0, 9), st.floats(-100, 100)), max_size=2).map(tuple),
    max_output_tokens=st.none() | st.integers(1, 4_096),
    top_logprobs=st.none() | st.integers(0, 20),
)
MESSAGES = st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), st.text()), max_size=3)
PROMPTS = st.none() | st.text() | st.lists(st.integers(0, 9), max_size=3).map(tuple)
WORKS = st.builds(
    Generation,
    SAMPLINGS,
    MESSAGES.map(tuple),
    PROMPTS,
    constraint=st.none() | st.just(JsonConstraint(b'{"type":"object"}')),
    stream=st.booleans(),
    cache_prompt=st.booleans(),
    slot=st.none() | st.integers(0, 64),
)


def meant(work: Generation) -> dict[str, Any]:
    """The request as an object."""
    sampling, top = work.sampling, work.sampling.top_logprobs
    body = _sampled(sampling) | {"stream": work.stream, "cache_prompt": work.cache_prompt}
    if work.slot is not None:
        body["id_slot"] = work.slot
    if work.stream:
        body["stream_options"] = {"include_usage": True}
    if work.constraint is not None:
        body["grammar"] = grammar(work.constraint)
    if work.prompt is not None:
        return body | {"prompt": work.prompt} | ({} if top is None else {"logprobs": max(1, top)})
    body["messages"] = [{"role": one.role, "content": one.content} for one in work.messages]
    return body | ({} if top is None else {"logprobs": True, "top_logprobs": max(1, top)})


@given(WORKS)
def test_a_request_is_the_json_that_is_meant(work: Generation) -> None:
    assert LlamaCppDialect().generation(work).body == msgspec.json.encode(meant(work))


@given(WORKS, WORKS)
def test_what_is_remembered_of_one_request_is_not_said_of_another(one: Generation, other: Generation) -> None:
    for work in (one, replace(other, sampling=one.sampling), other, one):
        assert LlamaCppDialect().generation(work).body == msgspec.json.encode(meant(work))
