"""What each engine does of what is asked of engines: a row is true because the tests that it names pass on the engine.

`make docs` writes the table of docs/reference/engines.md from it; a test holds it to the contract suite.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ENGINES = ("llamacpp", "vllm", "fake")


@dataclass(frozen=True)
class Feature:
    """`words` are what an engine's cell says where that is not `yes`; `tests` are those of the contract suite."""

    name: str
    tests: tuple[str, ...]
    remarks: str
    words: dict[str, str] = field(default_factory=dict)

    def row(self) -> str:
        cells = (self.words.get(engine, "yes") for engine in ENGINES)
        return f"| {self.name} | {' | '.join(cells)} | {self.remarks} |"


FEATURES = (
    Feature(
        "chats, prompts as text or token ids",
        ("test_the_count_is_the_usage", "test_what_cannot_be_enforced_is_named"),
        "an empty prompt is refused",
    ),
    Feature("streams", ("test_a_stream_says_what_a_whole_answer_says",), "usage is always metered"),
    Feature(
        "going on behind any event of another engine's stream",
        ("test_an_answer_can_be_gone_on_with_behind_any_of_its_events",),
        "at temperature 0 the same tokens: with vLLM on the processor, where numbers have 32 bits; on graphics processors "
        "rounding may choose another of two near words",
    ),
    Feature(
        "`temperature`, `top_p`",
        ("test_a_seed_makes_an_answer_repeatable",),
        "1 and 1 when absent; temperature is applied before `top_p`; no other sampler",
        {"fake": "accepted"},
    ),
    Feature(
        "`seed`",
        ("test_a_seed_makes_an_answer_repeatable",),
        "taken modulo 4,294,967,295; repeatable on the same engine and load; other requests on the engine may change the "
        "last bits",
    ),
    Feature(
        "`stop`",
        ("test_the_output_ends_before_a_stop_sequence", "test_what_cannot_be_enforced_is_named"),
        "not together with log probabilities: of the tokens of a stop sequence these are lost (llama.cpp), or given "
        "although their text is not (vLLM)",
    ),
    Feature("`max_tokens`, `max_completion_tokens`", ("test_the_output_is_no_longer_than_asked_for",), "at least 1"),
    Feature(
        "`presence_penalty`, `frequency_penalty`",
        (),
        "llama.cpp looks at the last 64 tokens, the input's among them; vLLM, as OpenAI, at all of the output only",
        {"fake": "accepted"},
    ),
    Feature(
        "`logit_bias`",
        (),
        "by token id; log probabilities of llama.cpp are those before the bias",
        {"fake": "accepted"},
    ),
    Feature(
        "`logprobs`, `top_logprobs`",
        (
            "test_log_probabilities_are_those_of_the_tokens",
            "test_log_probabilities_without_alternatives_are_given_too",
        ),
        "of the unbound model: before temperature, bias and constraints. A character of several tokens (an emoji) is one "
        "entry with the last token's probability (llama.cpp), or entries whose text is `\N{REPLACEMENT CHARACTER}` (vLLM)",
    ),
    Feature(
        "`response_format`",
        ("test_an_answer_follows_its_schema", "test_any_json_object_can_be_asked_for"),
        "see below",
        {"fake": "simple schemas"},
    ),
    Feature(
        "tools",
        ("test_a_required_tool_is_called_by_its_schema", "test_a_tool_of_choice_leaves_plain_answers_free"),
        "required, named, or of the model's choice; names and arguments are enforced wherever in the answer a call stands",
        {"fake": "simple schemas"},
    ),
    Feature(
        "an input that does not fit",
        ("test_an_input_that_does_not_fit_is_refused_with_its_size",),
        "refused with its size; vLLM stops counting, and says the least",
        {"vllm": "refused, counted in part", "llamacpp": "refused, counted", "fake": "refused, counted"},
    ),
    Feature(
        "embeddings",
        (
            "test_vectors_are_of_unit_length_and_in_order",
            "test_vectors_are_metered_and_take_token_ids",
            "test_a_text_too_long_to_embed_is_refused_not_cut",
        ),
        "of unit length; a text longer than the context is refused, not cut",
    ),
    Feature(
        "adapters (LoRA)",
        ("test_each_adapter_answers_for_itself_and_the_model_alone_as_if_there_were_none",),
        "loaded at start, named by request; [how](../how-to/serve-adapters.md)",
    ),
    Feature(
        "prefixes of tenants and markings apart",
        (),
        "llama.cpp: one slot is one owner's; vLLM and fake: by `cache_salt`, shown by timing",
        {"llamacpp": "by slot", "vllm": "by salt", "fake": "by salt"},
    ),
    Feature(
        "a queue of its own by urgency",
        (),
        "the gateway sends no more than there are slots; vLLM's own order counts when its cache is full",
        {"llamacpp": "no", "fake": "no"},
    ),
    Feature(
        "`echo`, images, audio, `n` in one execution",
        (),
        "the gateway runs `n` choices as `n` generations",
        dict.fromkeys(ENGINES, "no"),
    ),
)


def table() -> str:
    """The table as the page has it."""
    head = f"| feature | {' | '.join(ENGINES)} | remarks |\n|---|{'---|' * len(ENGINES)}---|\n"
    return head + "".join(f"{one.row()}\n" for one in FEATURES)
