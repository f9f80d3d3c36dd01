"""From a request to what engines must do: one generation a choice, bounds that hold, refusals that say what to try."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.config import LimitSettings
from fastness.core.error import Refusal
from fastness.core.model import ModelCard, ModelKind, ToolFormat
from fastness.core.request import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Generation,
    JsonConstraint,
    Message,
    Sampling,
    Tool,
    ToolCall,
    ToolConstraint,
    ToolMode,
)
from fastness.engines.port import Dialect
from fastness.gateway.answer.port import Head
from fastness.gateway.prepare import (
    check_embedding,
    input_tokens_bound,
    input_tokens_least,
    overflow,
    prepare_chat,
    prepare_completion,
)

HEAD = Head("chatcmpl-1", 0, "small", "fp_1")
FORMAT = ToolFormat("Call:\n{tools}", "<tool_call>", "</tool_call>")
CARD = ModelCard("small", ModelKind.CHAT, "ab" * 32, 98_362_432, "Apache-2.0", 8_192, 0, FORMAT)
MINI = ModelCard("mini", ModelKind.EMBEDDING, "cd" * 32, 1, "Apache-2.0", 512, 0, embedding_dimensions=384)
TOOL = Tool("weather", "", b'{"type":"object"}')
CHAT = ChatRequest("small", (Message("user", "hi"),), Sampling())


class AbleTo:
    """The one method of a dialect that preparing needs."""

    def __init__(self, unsupported: str | None = None) -> None:
        self._unsupported = unsupported

    cancels_whole = True

    def unsupported(self, work: Generation) -> str | None:
        return self._unsupported


def dialect(unsupported: str | None = None) -> Dialect:
    return cast(Dialect, AbleTo(unsupported))


def works(card: ModelCard = CARD, **fields: Any) -> tuple[Generation, ...]:
    return prepare_chat(replace(CHAT, **fields), HEAD, card, dialect(), LimitSettings())[0]


def test_a_chat_is_one_generation_of_its_messages() -> None:
    assert works() == (Generation(Sampling(), CHAT.messages),)


def test_choices_are_generations_of_their_own() -> None:
    assert works(choices=3) == (Generation(Sampling(), CHAT.messages),) * 3


@given(st.integers(-(2**63), 2**63 - 1), st.integers(2, 16))
def test_choices_of_one_seed_are_reproducible_and_not_the_same(seed: int, choices: int) -> None:
    seeds = [one.sampling.seed for one in works(choices=choices, sampling=Sampling(seed=seed))]
    assert seeds[0] == seed
    assert len(set(seeds)) == choices


def test_one_choice_keeps_its_seed() -> None:
    assert works(sampling=Sampling(seed=7))[0].sampling.seed == 7


def test_a_stream_is_streamed_from_the_engine() -> None:
    assert all(one.stream for one in works(stream=True, choices=2))


def test_a_json_format_binds_the_generation() -> None:
    assert works(constraint=JsonConstraint(None))[0].constraint == JsonConstraint(None)


def test_tools_are_told_and_bind_the_generation() -> None:
    (one,) = works(tools=(TOOL,), tool_mode=ToolMode.AUTO)
    assert one.messages[0].role == "system"
    assert isinstance(one.constraint, ToolConstraint)
    assert one.constraint.tools == (TOOL,)


def test_tools_that_may_not_be_called_bind_nothing() -> None:
    (one,) = works(tools=(TOOL,), tool_mode=ToolMode.NONE)
    assert one.constraint is None
    assert one.messages == CHAT.messages


def test_earlier_calls_are_written_as_text_also_when_no_tools_are_sent() -> None:
    called = Message("assistant", "", tool_calls=(ToolCall("c1", "weather", "{}"),))
    (one,) = works(messages=(*CHAT.messages, called, Message("tool", "rain", tool_call_id="c1")))
    assert not any(message.tool_calls for message in one.messages)
    assert "<tool_call>" in one.messages[1].content


def test_a_model_whose_card_names_no_tool_format_refuses_tools_by_name() -> None:
    with pytest.raises(Refusal) as raised:
        works(replace(CARD, tool_format=None), tools=(TOOL,), tool_mode=ToolMode.AUTO)
    assert (raised.value.code, raised.value.param) == ("unsupported_parameter", "tools")


@pytest.mark.parametrize(
    ("fields", "code"),
    [({}, "unsupported_parameter"), ({"constraint": JsonConstraint(b"{}")}, "unsupported_schema")],
)
def test_what_the_engine_cannot_do_is_refused_in_its_words(fields: dict[str, Any], code: str) -> None:
    with pytest.raises(Refusal, match="no such thing") as raised:
        prepare_chat(replace(CHAT, **fields), HEAD, CARD, dialect("There is no such thing."), LimitSettings())
    assert raised.value.code == code


def test_a_completion_is_one_generation_a_choice_of_each_prompt_first_prompt_first() -> None:
    request = CompletionRequest("small", ("one", (5, 6)), Sampling(seed=7), choices=2)
    made = prepare_completion(request, HEAD, dialect())[0]
    assert [(one.prompt, one.sampling.seed) for one in made] == [("one", 7), ("one", 8), ((5, 6), 7), ((5, 6), 8)]


@pytest.mark.parametrize("dimensions", [None, 384])
def test_vectors_have_the_models_dimensions(dimensions: int | None) -> None:
    check_embedding(EmbeddingRequest("mini", ("a",), dimensions=dimensions), MINI, "mini")


def test_other_dimensions_are_refused_with_those_there_are() -> None:
    with pytest.raises(Refusal, match="makes vectors of 384") as raised:
        check_embedding(EmbeddingRequest("mini", ("a",), dimensions=256), MINI, "mini")
    assert (raised.value.code, raised.value.param) == ("unsupported_parameter", "dimensions")


@given(st.text(st.characters(codec="utf-8")))
def test_the_bound_on_tokens_is_at_least_one_a_byte(text: str) -> None:
    assert input_tokens_bound(Generation(Sampling(), prompt=text)) > len(text.encode())
    assert input_tokens_bound(Generation(Sampling(), (Message("user", text),))) > len(text.encode())


def test_the_bound_on_token_ids_is_their_number_and_one() -> None:
    assert input_tokens_bound(Generation(Sampling(), prompt=(5, 6, 7))) == 4


@given(st.text(st.characters(codec="utf-8")))
def test_no_text_is_said_to_have_more_tokens_at_least_than_at_most(text: str) -> None:
    for one in (Generation(Sampling(), prompt=text), Generation(Sampling(), (Message("user", text),))):
        assert 256 * input_tokens_least(one) <= len(text.encode())
    assert input_tokens_least(Generation(Sampling(), prompt=(5, 6, 7))) == 3


def test_an_overflow_that_was_not_counted_says_at_least() -> None:
    refusal = overflow(8_900, 0, 8_192, "small", "prompt", least=True)
    assert refusal.message.startswith("This request needs at least 8,900 tokens; small takes 8,192 here.")


def test_an_overflow_says_needed_limit_and_what_to_try() -> None:
    refusal = overflow(8_900, 512, 8_192, "small", "prompt")
    assert (refusal.code, refusal.param) == ("context_length_exceeded", "prompt")
    assert refusal.message == (
        "This request needs 9,412 tokens (8,900 input + 512 output); small takes 8,192 here. "
        "Shorten the input by 1,220 tokens, ask for fewer output tokens, or use a deployment with a longer context."
    )
