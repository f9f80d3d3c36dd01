"""What one tenant asked is not in the time that another's question takes (law 12), on a real engine."""

from __future__ import annotations

import itertools
import json
import statistics
import time

import pytest
from openai import OpenAI

from installation import CHAT, Installation

pytestmark = pytest.mark.slow
ROUNDS = 16
_numbers = itertools.count()


def secret(words: int = 60) -> str:
    """A prompt that nobody has sent before."""
    number = next(_numbers)
    return " ".join(f"file {number}-{word}" for word in range(words // 5))


def key_of(installation: Installation, tenant: str) -> str:
    assert installation.run("tenants", "create", tenant).returncode == 0
    made = installation.run("keys", "create", "--tenant", tenant, "--name", "test", "--json")
    return str(json.loads(made.stdout)["key"])


@pytest.fixture(scope="module")
def tenants(installation):
    health, tax = (installation.client(key_of(installation, name)) for name in ("prefix-health", "prefix-tax"))
    with health, tax:
        yield health, tax


def ask(client: OpenAI, text: str) -> tuple[int, float]:
    """Return the cached tokens that the engine itself counted, and the time to the first token in seconds."""
    began, first, cached = time.perf_counter(), None, 0
    for chunk in client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": text}],
        max_tokens=1,
        stream=True,
        stream_options={"include_usage": True},
    ):
        first = first or time.perf_counter()
        if chunk.usage and chunk.usage.prompt_tokens_details:
            cached = chunk.usage.prompt_tokens_details.cached_tokens or 0
    assert first is not None
    return cached, first - began


def test_a_tenant_profits_from_its_own_prompts(tenants):
    health, _ = tenants
    prompt = secret()
    ask(health, prompt)
    assert ask(health, prompt)[0] > 20


def test_nobody_profits_from_the_prompts_of_another_tenant(tenants):
    health, tax = tenants
    for _ in range(12):  # more than there are slots, so that every slot has changed hands
        prompt = secret()
        ask(health, prompt)
        assert ask(tax, prompt)[0] == 0


def test_the_time_to_the_first_token_does_not_tell_what_another_tenant_asked(tenants):
    """A classifier that guesses by the time: it is near 1 for one's own prompts, and a coin's toss for another's."""
    health, tax = tenants
    own, foreign, fresh = [], [], []
    for _ in range(ROUNDS):
        asked, other = secret(), secret()
        ask(health, asked)
        foreign.append(ask(tax, asked)[1])
        fresh.append(ask(tax, other)[1])
        own.append(ask(tax, other)[1])
    assert statistics.median(own) < statistics.median(fresh), "the cache works, so there would be something to see"
    assert area(own, fresh) > 0.9
    assert 0.25 < area(foreign, fresh) < 0.75


def area(hits: list[float], misses: list[float]) -> float:
    """How often a hit is quicker than a miss, over all pairs: the area under the classifier's curve."""
    return sum(hit < miss for hit in hits for miss in misses) / (len(hits) * len(misses))
