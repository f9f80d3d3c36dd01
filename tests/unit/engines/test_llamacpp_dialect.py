"""What is sent to llama.cpp, and how its answers are read."""

from __future__ import annotations

import json

import pytest

from fastness.core.request import (
    Delta,
    FinishReason,
    Generation,
    JsonConstraint,
    Message,
    Sampling,
    Tool,
    ToolConstraint,
    ToolMode,
    Usage,
)
from fastness.engines.catalogue import dialect, engine
from fastness.engines.llamacpp.grammar import grammar
from fastness.engines.port import EngineError

SPOKEN = dialect("llamacpp")
HELLO = (Message("user", "Hello"),)


def sent(work: Generation) -> dict[str, object]:
    call = SPOKEN.generation(work)
    assert call.path == ("/v1/completions" if work.prompt is not None else "/v1/chat/completions")
    body = json.loads(call.body)
    assert isinstance(body, dict)
    return body


def test_what_the_caller_leaves_open_is_openais_default_not_the_engines() -> None:
    assert sent(Generation(Sampling(), HELLO)) == {
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 1.0,
        "top_p": 1.0,
        "samplers": ["temperature"],
        "stream": False,
        "cache_prompt": False,
    }


def test_a_generation_runs_on_the_slot_that_it_was_given() -> None:
    body = sent(Generation(Sampling(), HELLO, slot=0, cache_prompt=True))
    assert (body["id_slot"], body["cache_prompt"]) == (0, True)


def test_everything_the_caller_says_is_sent() -> None:
    sampling = Sampling(0.5, 0.9, 0.1, 0.2, 42, ("a", "b"), ((5, -100.0),), 7, 3)
    body = sent(Generation(sampling, HELLO, stream=True))
    assert body["stream_options"] == {"include_usage": True}
    assert body["cache_prompt"] is False
    assert body["samplers"] == ["penalties", "temperature", "top_p"]
    assert (body["temperature"], body["top_p"]) == (0.5, 0.9)
    assert (body["presence_penalty"], body["frequency_penalty"], body["repeat_last_n"]) == (0.1, 0.2, 64)
    assert (body["seed"], body["stop"], body["logit_bias"], body["max_tokens"]) == (42, ["a", "b"], [[5, -100.0]], 7)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 3)


def test_log_probabilities_without_alternatives_still_ask_for_one() -> None:
    assert sent(Generation(Sampling(top_logprobs=0), HELLO))["top_logprobs"] == 1
    assert sent(Generation(Sampling(top_logprobs=0), prompt="a"))["logprobs"] == 1


def test_no_seed_is_read_as_random() -> None:
    for seed in (-1, 2**32 - 1, 2**63 - 1, -(2**63), 0):
        assert 0 <= int(str(sent(Generation(Sampling(seed=seed), HELLO))["seed"])) < 2**32 - 1


def test_token_ids_are_sent_as_they_are() -> None:
    assert sent(Generation(Sampling(), prompt=(1, 2, 3)))["prompt"] == [1, 2, 3]


def test_a_stream_is_read_event_by_event() -> None:
    first = b'{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}]}'
    assert SPOKEN.delta(first) is None
    assert SPOKEN.delta(b'{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Bon"}}]}') == Delta("Bon")
    assert SPOKEN.delta(b'{"choices":[{"text":" Paris","index":0,"logprobs":null,"finish_reason":null}]}') == Delta(
        " Paris"
    )
    end = b'{"choices":[{"finish_reason":"length","index":0,"delta":{}}]}'
    assert SPOKEN.delta(end) == Delta(finish=FinishReason.LENGTH)
    counts = b'{"completion_tokens":4,"prompt_tokens":35,"prompt_tokens_details":{"cached_tokens":34}}'
    assert SPOKEN.delta(b'{"choices":[],"usage":' + counts + b"}") == Delta(usage=Usage(35, 4, 34))


def test_an_error_within_a_stream_is_raised() -> None:
    with pytest.raises(EngineError) as caught:
        SPOKEN.delta(b'{"error":{"code":500,"message":"context is full","type":"server_error"}}')
    assert caught.value.status == 500


@pytest.mark.parametrize(
    "event", [b"", b"[]", b"{", b'{"choices":[{"finish_reason":"odd"}]}', b'{"choices":7}', b"\xff"]
)
def test_nonsense_is_a_value_error(event: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        SPOKEN.delta(event)
    for read in (SPOKEN.answer, SPOKEN.counted, SPOKEN.vectors):
        with pytest.raises(ValueError, match=r"."):
            read(event)
    assert SPOKEN.error(502, event).status == 502


def test_an_overflow_is_read_with_the_size_it_names() -> None:
    said = (
        b'{"error":{"code":400,"message":"m","type":"exceed_context_size_error","n_prompt_tokens":9025,"n_ctx":2048}}'
    )
    assert SPOKEN.error(400, said) == EngineError(400, "m", 9025)
    message = "input (3002 tokens) is too large to process. increase the physical batch size (current batch size: 512)"
    said = json.dumps({"error": {"code": 500, "message": message, "type": "server_error"}}).encode()
    assert SPOKEN.error(500, said) == EngineError(400, message, 3002)


def test_vectors_must_be_numbered() -> None:
    row = '{"embedding":[1.0],"index":%d}'
    ends = ',"usage":{"prompt_tokens":2}}'
    said = '{"data":[' + row % 1 + "," + row % 0 + "]" + ends
    assert SPOKEN.vectors(said.encode()).rows == ((1.0,), (1.0,))
    with pytest.raises(ValueError, match="numbered"):
        SPOKEN.vectors(('{"data":[' + row % 1 + "]" + ends).encode())


def test_a_schema_becomes_a_grammar_with_fixed_whitespace() -> None:
    body = sent(Generation(Sampling(), HELLO, constraint=JsonConstraint(b'{"type":"boolean","title":"x"}')))
    assert body["grammar"] == (
        '%llguidance {"no_forcing": true}\n'
        'start: %json {"x-guidance":{"whitespace_flexible":false,"item_separator":", ","key_separator":": "},'
        '"type":"boolean"}\n'
    )
    assert "response_format" not in body


def test_tools_become_a_grammar_of_calls_in_a_fixed_order() -> None:
    tools = (
        Tool("a", "", b'{"type":"object","properties":{"x":{"type":"null"}},"required":["x"]}'),
        Tool("b", "", b"{}"),
    )
    lines = grammar(ToolConstraint(tools, ToolMode.REQUIRED, "<call>", "</call>", 3)).splitlines()
    assert lines[1] == 'start: "<call>" call ("\\n<call>" call){0,2}'
    assert lines[2] == "call: call_0 | call_1"
    assert lines[3] == 'call_0: "{\\"name\\": \\"a\\", \\"arguments\\": " arguments_0 "}</call>"'
    assert '"properties":{}' in lines[6], "a tool without parameters takes none"
    auto = grammar(ToolConstraint(tools, ToolMode.AUTO, "<call>", "</call>", 1)).splitlines()
    assert auto[1:4] == ["start: TEXT | head call", 'head[lazy]: TEXT "<call>"', "TEXT: /(.|\\n)*/"]


def test_a_refusal_names_the_tool() -> None:
    tools = (
        Tool("a", "", b"{}"),
        Tool("find", "", b'{"type":"object","properties":{"q":{"type":"string","format":"uri"}}}'),
    )
    work = Generation(Sampling(), HELLO, constraint=ToolConstraint(tools, ToolMode.AUTO, "<", ">", 1))
    why = SPOKEN.unsupported(work) or ""
    assert why.startswith("Tool `find`: `format` at `#/properties/q`")
    with pytest.raises(ValueError, match="find"):
        SPOKEN.generation(work)


def test_unknown_engines_are_a_key_error() -> None:
    assert engine("llamacpp").name == dialect("llamacpp").name == "llamacpp"
    assert engine("fake").name == dialect("fake").name == "fake"
    with pytest.raises(KeyError):
        dialect("other")
    with pytest.raises(KeyError):
        engine("other")
