"""Answers of completions and embeddings, in the official SDK's own types."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Completion, CreateEmbeddingResponse

from fastness.core.request import (
    CompletionRequest,
    Delta,
    EmbeddingRequest,
    FinishReason,
    Sampling,
    TokenLogprob,
    Usage,
)
from fastness.gateway.answer.completion import CompletionAnswer
from fastness.gateway.answer.embedding import embedding_answer
from fastness.gateway.answer.port import Head
from openai_shapes import assert_shape, events

HEAD = Head("cmpl-1", 1_700_000_000, "small", "fp_b179c9523d0e")
USAGE = Usage(11, 7, 3)


def asked(**fields: Any) -> CompletionRequest:
    return replace(CompletionRequest("small", ("Once",), Sampling()), **fields)


def deltas_of(texts: list[str], finish: FinishReason = FinishReason.STOP, *, scored: bool = False) -> list[Delta]:
    scores = [(TokenLogprob(text, text.encode(), -0.5, (TokenLogprob("x", b"x", -2.0),)),) for text in texts]
    return [Delta(text, score if scored else ()) for text, score in zip(texts, scores, strict=True)] + [
        Delta("", (), finish)
    ]


def whole(request: CompletionRequest, choices: list[list[Delta]]) -> dict[str, Any]:
    answer = CompletionAnswer(request, HEAD)
    for index, deltas in enumerate(choices):
        assert all(answer.take(index, one) == b"" for one in deltas)
    body: dict[str, Any] = json.loads(answer.whole(USAGE))
    assert_shape(Completion, body)
    return body


def streamed(request: CompletionRequest, choices: list[list[Delta]]) -> list[dict[str, Any]]:
    answer = CompletionAnswer(replace(request, stream=True), HEAD)
    sent = b"".join(answer.take(index, one) for index, deltas in enumerate(choices) for one in deltas)
    chunks = events(sent + answer.last(USAGE))
    for chunk in chunks:
        for choice in chunk["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"  # the SDK's type has no null, its API has
        usage = chunk.pop("usage", None)
        assert_shape(Completion, chunk)
        chunk["usage"] = usage
    return chunks


@settings(deadline=None)
@given(st.lists(st.lists(st.text(max_size=5), max_size=5), min_size=2, max_size=2), st.booleans(), st.booleans())
def test_a_stream_put_together_is_the_whole_answer(texts: list[list[str]], echo: bool, scored: bool) -> None:
    request = asked(choices=2, echo=echo and not scored, sampling=Sampling(top_logprobs=1 if scored else None))
    choices = [deltas_of(one, scored=scored) for one in texts]
    made = [{"text": "", "tokens": [], "offsets": []} for _ in choices]
    for chunk in streamed(request, choices):
        for choice in chunk["choices"]:
            one: Any = made[choice["index"]]
            one["text"] += choice["text"]
            one["tokens"] += (choice["logprobs"] or {"tokens": []})["tokens"]
            one["offsets"] += (choice["logprobs"] or {"text_offset": []})["text_offset"]
    body = whole(request, choices)
    for one, choice in zip(made, body["choices"], strict=True):
        assert one["text"] == choice["text"]
        assert one["tokens"] == (choice["logprobs"] or {"tokens": []})["tokens"]
        assert one["offsets"] == (choice["logprobs"] or {"text_offset": []})["text_offset"]


def test_choices_stand_in_the_order_of_their_prompts() -> None:
    request = asked(prompts=("a", "b"), choices=2, echo=True)
    body = whole(request, [deltas_of([str(number)]) for number in range(4)])
    assert [choice["text"] for choice in body["choices"]] == ["a0", "a1", "b2", "b3"]
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]


def test_an_echo_comes_once_and_first_in_a_stream() -> None:
    chunks = streamed(asked(echo=True), [deltas_of(["upon", " a"])])
    assert [choice["text"] for chunk in chunks for choice in chunk["choices"]] == ["Onceupon", " a", ""]


def test_an_echo_comes_also_when_the_model_writes_nothing() -> None:
    assert whole(asked(echo=True), [deltas_of([])])["choices"][0]["text"] == "Once"
    chunks = streamed(asked(echo=True), [deltas_of([])])
    assert "".join(choice["text"] for chunk in chunks for choice in chunk["choices"]) == "Once"


def test_logprobs_are_parallel_lists_with_offsets_in_characters() -> None:
    body = whole(asked(sampling=Sampling(top_logprobs=1)), [deltas_of(["né", "e"], scored=True)])
    assert body["choices"][0]["logprobs"] == {
        "tokens": ["né", "e"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"x": -2.0}, {"x": -2.0}],
        "text_offset": [0, 2],
    }


def test_an_engine_that_gives_more_alternatives_than_asked_for_is_cut_to_what_was_asked() -> None:
    body = whole(asked(sampling=Sampling(top_logprobs=0)), [deltas_of(["a"], scored=True)])
    assert body["choices"][0]["logprobs"]["tokens"] == ["a"]
    assert body["choices"][0]["logprobs"]["top_logprobs"] is None


def test_log_probabilities_that_nobody_asked_for_are_not_given() -> None:
    assert whole(asked(), [deltas_of(["a"], scored=True)])["choices"][0]["logprobs"] is None
    assert all(
        choice["logprobs"] is None
        for chunk in streamed(asked(), [deltas_of(["a"], scored=True)])
        for choice in chunk["choices"]
    )


def test_the_last_chunk_of_a_choice_says_why_it_ends() -> None:
    answer = CompletionAnswer(asked(stream=True), HEAD)
    text, last = events(
        answer.take(0, Delta("a")) + answer.take(0, Delta("", (), FinishReason.LENGTH)) + answer.last(USAGE)
    )
    assert text["choices"][0]["finish_reason"] is None
    assert last["choices"][0]["finish_reason"] == "length"
    assert answer.finish_reasons() == ("length",)


def test_usage_of_a_stream_comes_when_asked_for_and_last() -> None:
    *chunks, last = streamed(asked(include_usage=True), [deltas_of(["a"])])
    assert all(chunk["usage"] is None for chunk in chunks)
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 18)
    assert all(chunk["usage"] is None for chunk in streamed(asked(), [deltas_of(["a"])]))


def test_a_whole_answer_always_has_its_usage() -> None:
    assert whole(asked(), [deltas_of(["a"])])["usage"]["total_tokens"] == 18


def test_vectors_come_in_the_order_of_the_inputs() -> None:
    request = EmbeddingRequest("mini", ("a", "b"))
    body = json.loads(embedding_answer(request, ((0.5, -1.0), (0.25, 2.0)), Usage(4)))
    assert_shape(CreateEmbeddingResponse, body)
    assert [one["embedding"] for one in body["data"]] == [[0.5, -1.0], [0.25, 2.0]]
    assert [one["index"] for one in body["data"]] == [0, 1]
    assert body["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_base64_vectors_are_little_endian_floats_as_the_sdk_decodes_them(row: list[float]) -> None:
    request = EmbeddingRequest("mini", ("a",), base64=True)
    body = json.loads(embedding_answer(request, (tuple(row),), Usage(1)))
    decoded = base64.b64decode(body["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(row)}f", decoded)) == row
