"""No tenant's question is answered sooner for what another tenant asked (law 12): a real engine says what it reused.

What a clock can tell is measured by `benchmarks/cache_timing.py`.
"""

from __future__ import annotations

import itertools
import json

import pytest
from openai import OpenAI

from installation import CHAT, Installation

pytestmark = pytest.mark.slow
TEMPLATE_TOKENS = 30
"""What the chat template puts before every conversation, and the beginning of our prompts."""
_numbers = itertools.count()


def secret(words: int = 80) -> str:
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


def cached(client: OpenAI, text: str) -> int:
    """Ask, and return the tokens that the engine did not have to read again."""
    messages = [{"role": "user", "content": text}]
    usage = client.chat.completions.create(model=CHAT, messages=messages, max_tokens=1).usage
    assert usage and usage.prompt_tokens_details
    return usage.prompt_tokens_details.cached_tokens or 0


def test_a_tenant_profits_from_its_own_prompts(tenants):
    health, _ = tenants
    prompt = secret()
    cached(health, prompt)
    assert cached(health, prompt) > 2 * TEMPLATE_TOKENS


def test_nobody_profits_from_the_prompts_of_another_tenant(tenants):
    health, tax = tenants
    for _ in range(9):  # more than there are slots, so that every slot has changed hands
        prompt = secret()
        cached(health, prompt)
        assert cached(tax, prompt) <= TEMPLATE_TOKENS, "only what its own earlier prompts began with"
