"""What is written to vLLM, and what is read of it, byte for byte as its server has it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fastness.core.priority import Band
from fastness.core.request import (
    Delta,
    FinishReason,
    Generation,
    JsonConstraint,
    Message,
    Sampling,
    Usage,
)
from fastness.engines.port import EngineError
from fastness.engines.vllm.dialect import VllmDialect

DIALECT = VllmDialect()
HEAD = b'{"id":"chatcmpl-b6ffe210b78851a1","object":"chat.completion.chunk","created":1795725060,"model":"model",'
TEXT = HEAD + b'"choices":[{"index":0,"delta":{"content":"%s"},"logprobs":null,"finish_reason":null,"token_ids":null}]}'
LAST = (
    HEAD + b'"choices":[{"index":0,"delta":{"content":" you"},"logprobs":null,"finish_reason":"length",'
    b'"stop_reason":null,"token_ids":null}]}'
)
PROMPTED = (
    b'{"id":"cmpl-b30d16c1021ae691","object":"text_completion","created":1795725061,"model":"model","choices":'
    b'[{"index":0,"text":" Paris","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,'
    b'"token_ids":null}]}'
)
USAGE = (
    HEAD + b'"choices":[],"usage":{"prompt_tokens":32,"total_tokens":36,"completion_tokens":4,'
    b'"prompt_tokens_details":{"cached_tokens":16,"created_cache_tokens":0}},"system_fingerprint":"vllm-0.32.0-99863f4a"}'
)
FIRST = (
    HEAD + b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],'
    b'"prompt_token_ids":null,"prompt_text":null}'
)
TOO_LONG = (
    b'{"error":{"message":"This model\'s maximum context length is 1024 tokens. However, your prompt contains at least '
    b'1025 input tokens, which exceeds this limit","type":"BadRequestError","param":"input_tokens","code":400}}'
)


def written(work: Generation) -> dict[str, object]:
    return json.loads(DIALECT.generation(work).body)


def test_everything_that_bears_on_an_answer_is_said() -> None:
    sampling = Sampling(seed=2**40, stop=("a",), logit_bias=((7, -1.5),), max_output_tokens=9, presence_penalty=0.5)
    work = Generation(sampling, (Message("user", "hi"),), stream=True, cache_salt="s", band=Band.BATCH)
    assert written(work) == {
        "temperature": 1.0,
        "top_p": 1.0,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.0,
        "seed": 2**40 % (2**32 - 1),
        "stop": ["a"],
        "logit_bias": {"7": -1.5},
        "max_tokens": 9,
        "stream": True,
        "cache_salt": "s",
        "stream_options": {"include_usage": True},
        "priority": 2,
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_a_prompt_without_a_limit_is_not_cut_at_vllms_own() -> None:
    assert written(Generation(Sampling(), prompt=(1, 2)))["max_tokens"] is None


def test_a_constraint_is_a_grammar_of_ours() -> None:
    body = written(constrained())
    assert str(body["structured_outputs"]["grammar"]).startswith('%llguidance {"no_forcing": true}')  # type: ignore[index]


def constrained() -> Generation:
    return Generation(Sampling(), (Message("user", "hi"),), constraint=JsonConstraint(None))


@pytest.mark.parametrize("text", ["a", " \\u00e9\\n", '\\"}]', "}],"])
def test_an_event_of_text_alone_is_read_at_a_glance(text: str) -> None:
    event = TEXT.replace(b"%s", text.encode())
    assert DIALECT.text(event) == json.loads(f'"{text}"') == DIALECT.delta(event).text  # type: ignore[union-attr]


def test_the_text_of_a_prompt_goes_on_is_read_so_too() -> None:
    assert DIALECT.text(PROMPTED) == " Paris"


@pytest.mark.parametrize("event", [LAST, USAGE, FIRST, TOO_LONG, TEXT.replace(b"%s", b""), TEXT[:-1], b"{}"])
def test_whatever_says_more_is_read_whole(event: bytes) -> None:
    assert DIALECT.text(event) is None


def test_ends_usage_and_beginnings_are_what_they_are() -> None:
    assert DIALECT.delta(LAST) == Delta(" you", finish=FinishReason.LENGTH)
    assert DIALECT.delta(USAGE) == Delta(usage=Usage(32, 4, 16))
    assert DIALECT.delta(FIRST) is None


def test_a_refusal_says_what_is_needed_at_least() -> None:
    told = DIALECT.error(400, TOO_LONG)
    assert (told.status, told.context_needed, told.context_least) == (400, 1025, True)
    with pytest.raises(EngineError):
        DIALECT.delta(TOO_LONG)
    assert DIALECT.error(500, b"<html>").context_needed is None


def test_a_text_that_was_not_even_read_needs_more_than_there_is() -> None:
    said = (
        "This model's maximum context length is 512 tokens. However, your prompt contains 30000 characters (more than "
        "4096 characters, which is the upper bound for 512 input tokens)."
    )
    told = DIALECT.error(400, json.dumps({"error": {"message": said, "code": 400}}).encode())
    assert (told.context_needed, told.context_least) == (513, True)


def test_log_probabilities_of_a_prompt_have_another_shape_and_mean_the_same() -> None:
    body = {
        "choices": [
            {
                "index": 0,
                "text": " Paris.",
                "finish_reason": "length",
                "logprobs": {
                    "text_offset": [0, 6],
                    "tokens": [" Paris", "."],
                    "token_logprobs": [-0.25, None],
                    "top_logprobs": [{" Paris": -0.25, " the": -2.5}, None],
                },
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    }
    first, second = DIALECT.answer(json.dumps(body).encode()).logprobs
    assert (first.token, first.logprob, [one.token for one in first.top]) == (" Paris", -0.25, [" Paris", " the"])
    assert second.logprob == -9_999.0


def test_an_adapter_is_named_by_its_digest_and_none_is_the_model_alone() -> None:
    work = Generation(Sampling(), (Message("user", "hi"),), adapters=("01" * 32, "02" * 32))
    assert "model" not in written(work)
    assert written(replace(work, adapter="02" * 32))["model"] == "02" * 32
    with pytest.raises(ValueError, match="no adapter 030303"):
        written(replace(work, adapter="03" * 32))
    assert DIALECT.text((TEXT % b" hi").replace(b'"model":"model"', b'"model":"%b"' % (b"02" * 32))) == " hi"
