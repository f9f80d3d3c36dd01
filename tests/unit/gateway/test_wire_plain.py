"""POST /v1/completions and /v1/embeddings: what is sent becomes core values, or a refusal that names the field."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import pytest
from openai.types import completion_create_params, embedding_create_params

from fastness.config import LimitSettings
from fastness.core.error import Refusal
from fastness.core.request import CompletionRequest, EmbeddingRequest, Sampling
from fastness.gateway.wire.completion import OUTPUT_TOKENS_DEFAULT, CompletionBody, parse_completion
from fastness.gateway.wire.embedding import EmbeddingBody, parse_embedding

LIMITS = LimitSettings()
STREAM = {"stream": True}


def complete(limits: LimitSettings = LIMITS, **fields: Any) -> CompletionRequest:
    return parse_completion(json.dumps({"model": "small", "prompt": "Once"} | fields).encode(), limits)


def embed(limits: LimitSettings = LIMITS, **fields: Any) -> EmbeddingRequest:
    return parse_embedding(json.dumps({"model": "mini", "input": "text"} | fields).encode(), limits)


def refused(parse: Any, **fields: Any) -> tuple[str, str | None]:
    with pytest.raises(Refusal) as raised:
        parse(**fields)
    return raised.value.code, raised.value.param


def test_the_bodies_have_every_field_of_the_official_sdk_and_stream() -> None:
    official = get_type_hints(completion_create_params.CompletionCreateParamsBase)
    assert set(CompletionBody.__struct_fields__) == set(official) | {"stream"}
    assert set(EmbeddingBody.__struct_fields__) == set(get_type_hints(embedding_create_params.EmbeddingCreateParams))


def test_the_least_completion_is_a_model_and_a_prompt_and_writes_16_tokens_as_openais_does() -> None:
    assert complete() == CompletionRequest("small", ("Once",), Sampling(max_output_tokens=OUTPUT_TOKENS_DEFAULT))
    assert OUTPUT_TOKENS_DEFAULT == 16


def test_every_optional_field_may_be_null() -> None:
    assert complete(**dict.fromkeys(set(CompletionBody.__struct_fields__) - {"model", "prompt"})) == complete()
    assert embed(**dict.fromkeys(set(EmbeddingBody.__struct_fields__) - {"model", "input"})) == embed()


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Once", ("Once",)),
        (["Once"], ("Once",)),
        (["one", "two"], ("one", "two")),
        ([5, 6], ((5, 6),)),
        ([[5, 6], [7]], ((5, 6), (7,))),
    ],
)
def test_prompts_and_inputs_are_texts_or_token_ids_one_or_many(sent: Any, kept: Any) -> None:
    assert complete(prompt=sent).prompts == kept
    assert embed(input=sent).inputs == kept


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("", "invalid_value"),
        ([], "invalid_value"),
        ([""], "invalid_value"),
        ([[]], "invalid_value"),
        (["one", 5], "invalid_type"),
        (["one", [5]], "invalid_type"),
        ([5, [5]], "invalid_type"),
        ([-1], "invalid_value"),
        ([2**31], "invalid_value"),
        ([[5, -1]], "invalid_value"),
    ],
)
def test_no_text_mixed_kinds_or_impossible_tokens_are_refused(sent: Any, code: str) -> None:
    assert refused(complete, prompt=sent) == (code, "prompt")
    assert refused(embed, input=sent) == (code, "input")


@pytest.mark.parametrize("sent", [5, 1.5, True, {}, None, [None], [1.5], [True], [["a"]]])
def test_anything_else_is_refused_where_it_stands(sent: Any) -> None:
    for parse, field in ((complete, "prompt"), (embed, "input")):
        code, param = refused(parse, **{field: sent})
        assert code in ("invalid_type", "invalid_value")
        assert param is not None
        assert param.startswith(field)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"max_tokens": 5}, {"max_output_tokens": 5}),
        ({"logprobs": 0}, {"top_logprobs": 0}),
        ({"logprobs": 5}, {"top_logprobs": 5}),
        ({"stop": ["a"], "seed": 1, "temperature": 0.5}, {"stop": ("a",), "seed": 1, "temperature": 0.5}),
        ({"logit_bias": {"3": 1}, "top_p": 0.9}, {"logit_bias": ((3, 1),), "top_p": 0.9}),
        ({"user": "u"}, {}),
        ({"best_of": 1}, {}),
        ({"suffix": ""}, {}),
    ],
)
def test_sampling_of_a_completion_is_kept_as_sent(sent: dict[str, Any], kept: dict[str, Any]) -> None:
    assert complete(**sent).sampling == Sampling(**{"max_output_tokens": 16} | kept)


def test_n_echo_stream_and_usage_are_kept() -> None:
    asked = complete(n=2, best_of=2, echo=True, stream=True, stream_options={"include_usage": True})
    assert (asked.choices, asked.echo, asked.stream, asked.include_usage) == (2, True, True, True)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"best_of": 3}, "unsupported_parameter", "best_of"),
        ({"n": 2, "best_of": 1}, "unsupported_parameter", "best_of"),
        ({"suffix": " the end"}, "unsupported_parameter", "suffix"),
        ({"echo": True, "logprobs": 0}, "unsupported_parameter", "echo"),
        ({"echo": True, "prompt": [5]}, "unsupported_parameter", "echo"),
        (
            STREAM | {"stream_options": {"include_obfuscation": True}},
            "unsupported_parameter",
            "stream_options.include_obfuscation",
        ),
        ({"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
        ({"logprobs": 6}, "invalid_value", "logprobs"),
        ({"logprobs": -1}, "invalid_value", "logprobs"),
        ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"n": 0}, "invalid_value", "n"),
        ({"temperature": 3}, "invalid_value", "temperature"),
        ({"messages": []}, "unknown_field", "messages"),
    ],
)
def test_what_a_completion_cannot_honour_is_refused_by_name(fields: dict[str, Any], code: str, param: str) -> None:
    assert refused(complete, **fields) == (code, param)


def test_choices_over_all_prompts_are_bounded_together() -> None:
    bound = LimitSettings(choices_max=4)
    assert complete(bound, prompt=["a", "b"], n=2).choices == 2
    assert refused(complete, limits=bound, prompt=["a", "b"], n=3) == ("limit_exceeded", "n")
    assert refused(complete, limits=bound, prompt=["a"] * 5) == ("limit_exceeded", "prompt")


def test_texts_of_one_embeddings_request_are_bounded() -> None:
    bound = LimitSettings(inputs_max=2)
    assert len(embed(bound, input=["a", "b"]).inputs) == 2
    assert refused(embed, limits=bound, input=["a", "b", "c"]) == ("limit_exceeded", "input")
    assert refused(embed, limits=bound, input=[[1], [2], [3]]) == ("limit_exceeded", "input")


def test_vectors_come_as_floats_or_base64() -> None:
    assert not embed().base64
    assert not embed(encoding_format="float").base64
    assert embed(encoding_format="base64").base64
    assert refused(embed, encoding_format="hex") == ("invalid_value", "encoding_format")


def test_dimensions_are_at_least_one() -> None:
    assert embed(dimensions=384).dimensions == 384
    assert refused(embed, dimensions=0) == ("invalid_value", "dimensions")


def test_unknown_fields_of_embeddings_are_refused_by_name() -> None:
    assert refused(embed, truncate=True) == ("unknown_field", "truncate")
