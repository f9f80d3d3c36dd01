"""A prompt's chain of hashes: equal as far as the text is, and never across owners."""

from hypothesis import given
from hypothesis import strategies as st

from fastness.traffic.prompt import HEAD, chat_prompt, plain_prompt

HEALTH, TAX = ("health", "OFFICIAL"), ("tax", "OFFICIAL")
TEXTS = st.text("ab", max_size=3).map(lambda text: text * 300)
MESSAGES = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXTS), max_size=5)


def test_a_conversation_is_known_up_to_the_end_of_what_was_asked_before():
    first = [("system", "You are brief."), ("user", "What is a fastness? " * 40)]
    one = chat_prompt(HEALTH, "m", first)
    more = chat_prompt(HEALTH, "m", [*first, ("assistant", "A stronghold."), ("user", "Thanks.")])
    assert one.shared(more) == more.shared(one) == one.size == HEAD + sum(len(text) for _, text in first)


def test_all_messages_are_hashed_not_the_first_only():  # sglang #26263
    system = ("system", "The same for everybody. " * 20)
    one = chat_prompt(HEALTH, "m", [system, ("user", "a" * 600)])
    other = chat_prompt(HEALTH, "m", [system, ("user", "b" * 600)])
    assert one.shared(other) == HEAD + len(system[1])
    assert one.blocks[-1] != other.blocks[-1]


def test_owners_models_and_adapters_share_nothing():
    messages = [("user", "the same words")]
    one = chat_prompt(HEALTH, "m", messages)
    for other in (
        chat_prompt(TAX, "m", messages),
        chat_prompt(("health", "OFFICIAL-SENSITIVE"), "m", messages),
        chat_prompt(HEALTH, "another model", messages),
        chat_prompt(HEALTH, "m", messages, adapter="tuned"),
    ):
        assert one.shared(other) == 0
        assert not set(one.blocks) & set(other.blocks)


def test_an_owner_is_compared_even_if_hashes_are_equal():
    one = chat_prompt(HEALTH, "m", [("user", "x")])
    assert one.shared(type(one)(TAX, one.blocks, one.ends)) == 0


def test_tokens_as_numbers_are_a_prompt_too():
    one, more = plain_prompt(HEALTH, "m", tuple(range(256))), plain_prompt(HEALTH, "m", tuple(range(300)))
    assert one.size == 1_024
    assert one.shared(more) == 1_024


def test_a_megabyte_has_few_blocks():
    assert len(plain_prompt(HEALTH, "m", "x" * 65_536).blocks) == 46
    assert len(plain_prompt(HEALTH, "m", "x" * 1_048_576).blocks) <= 200


@given(MESSAGES, MESSAGES)
def test_what_is_shared_is_a_common_beginning_and_both_ends_say_the_same(left, right):
    one, other = chat_prompt(HEALTH, "m", left), chat_prompt(HEALTH, "m", right)
    shared = one.shared(other)
    assert shared == other.shared(one) >= HEAD
    assert list(one.ends) == sorted(set(one.ends))
    texts = ["".join(f"{role}:{text}" for role, text in messages) for messages in (left, right)]
    whole = all(text for _, text in [*left, *right])
    if whole and left == right[: len(left)]:
        assert shared == one.size
    if shared == one.size == other.size and whole:
        assert texts[0] == texts[1]


@given(st.text("ab", max_size=9_000), st.text("ab", max_size=9_000))
def test_the_size_counts_every_character_once(left, right):
    assert chat_prompt(HEALTH, "m", [("user", left), ("user", right)]).size == HEAD + len(left) + len(right)
    assert plain_prompt(HEALTH, "m", left).size == len(left)
