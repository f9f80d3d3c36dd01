"""What a replica is believed to remember: bounded, corrected by the engine, never of another owner."""

from hypothesis import given
from hypothesis import strategies as st

from fastness.traffic import prefix_index
from fastness.traffic.prefix_index import PrefixIndex
from prompts import prompt_of

HEALTH, TAX = ("health", "OFFICIAL"), ("tax", "OFFICIAL")


def send(index, prompt, cached=None):
    index.ended(index.send(prompt), cached)


def test_what_was_sent_is_believed_to_be_known():
    index = PrefixIndex(100)
    send(index, prompt_of(HEALTH, "abc"))
    assert index.known(prompt_of(HEALTH, "abcd")) == 3
    assert index.known(prompt_of(HEALTH, "abx")) == 2
    assert index.known(prompt_of(HEALTH, "b")) == 0


def test_one_owner_is_told_nothing_of_another():
    index = PrefixIndex(100)
    send(index, prompt_of(HEALTH, "abc"))
    assert index.known(prompt_of(TAX, "abc")) == 0


def test_what_was_used_longest_ago_is_forgotten_first_and_its_end_before_its_beginning():
    index = PrefixIndex(5)
    send(index, prompt_of(HEALTH, "abc"))
    send(index, prompt_of(HEALTH, "xyz"))
    assert index.known(prompt_of(HEALTH, "abc")) == 2
    assert index.known(prompt_of(HEALTH, "xyz")) == 3


def test_an_engine_that_has_less_has_nothing_older_either():
    index = PrefixIndex(100)
    send(index, prompt_of(HEALTH, "old "))
    send(index, prompt_of(HEALTH, "abcdef"))
    send(index, prompt_of(HEALTH, "new"))
    send(index, prompt_of(HEALTH, "abcdef"), cached=1)
    assert index.known(prompt_of(HEALTH, "old ")) == 0
    assert index.known(prompt_of(HEALTH, "new")) == 3
    assert index.known(prompt_of(HEALTH, "abcdef")) == 6, "it has read it all just now"
    assert index.size_max < 100, "and holds less than was thought"


def test_an_engine_that_has_more_holds_more():
    index = PrefixIndex(4)
    send(index, prompt_of(HEALTH, "abcd"))
    send(index, prompt_of(HEALTH, "wxyz"))
    assert index.known(prompt_of(HEALTH, "abcd")) == 0
    send(index, prompt_of(HEALTH, "abcd"), cached=4)
    assert index.size_max >= 8


def test_what_somebody_is_still_reading_is_not_taken_for_forgotten():
    index = PrefixIndex(100)
    send(index, prompt_of(HEALTH, "kept"))
    first = index.send(prompt_of(HEALTH, "abcdef"))
    second = index.send(prompt_of(HEALTH, "abcdef"))
    index.ended(second, 0)  # the first was not through, so the engine had nothing of it yet
    index.ended(first, 0)
    assert index.known(prompt_of(HEALTH, "kept")) == 4


def test_an_engine_that_says_nothing_corrects_nothing():
    index = PrefixIndex(100)
    send(index, prompt_of(HEALTH, "abc"))
    send(index, prompt_of(HEALTH, "abc"), cached=None)
    assert index.known(prompt_of(HEALTH, "abc")) == 3
    assert index.size_max == 100


def test_the_memory_of_an_index_is_bounded(monkeypatch):  # prod-stack: no eviction; smg: unbounded trees
    monkeypatch.setattr(prefix_index, "BLOCKS_MAX", 50)
    index = PrefixIndex(10**9)
    for number in range(100):
        send(index, prompt_of(HEALTH, (number, "b", "c")))
    assert len(index) == 50
    assert prefix_index.BLOCK_MEMORY_BYTES * 32_768 == 8 << 20


@given(
    st.integers(1, 12),
    st.lists(
        st.tuples(st.sampled_from([HEALTH, TAX]), st.text("ab", max_size=5), st.none() | st.integers(0, 6)),
        max_size=60,
    ),
)
def test_it_is_within_its_bound_and_knows_no_block_without_those_before_it(size_max, steps):
    index, said = PrefixIndex(size_max), {HEALTH: set(), TAX: set()}
    for owner, text, cached in steps:
        prompt = prompt_of(owner, text)
        said[owner].add(text)
        sent = index.send(prompt)
        index.ended(sent, None if cached is None else min(cached, prompt.size))
        assert index.size <= max(index.size_max, 0) or len(text) > index.size_max
        for who in (HEALTH, TAX):
            for other in said[HEALTH] | said[TAX]:
                known = index.known(prompt_of(who, other))
                assert known == next(
                    (n for n in range(len(other), 0, -1) if prompt_of(who, other).blocks[n - 1] in index._blocks), 0
                )
                if known:
                    assert any(mine.startswith(other[:known]) for mine in said[who])
