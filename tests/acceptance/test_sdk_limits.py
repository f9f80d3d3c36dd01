"""Limits through the official SDK and the command line, on a whole installation."""

from __future__ import annotations

import json

import httpx
import openai
import pytest

from installation import CHAT, eventually

pytestmark = pytest.mark.slow
ASK = {"model": CHAT, "messages": [{"role": "user", "content": "Say one word."}], "max_completion_tokens": 4}


def verb(installation, *words):
    done = installation.run(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_limited_tenant_is_told_what_is_left_and_refused_beyond_it_and_can_read_its_usage(installation):
    verb(installation, "tenants", "create", "bounded")
    key = verb(installation, "keys", "create", "--tenant", "bounded", "--name", "ci")["key"]
    verb(installation, "limits", "set", "--tenant", "bounded", "--requests-per-day", "3", "--tokens-per-day", "100000")
    with installation.client(key) as client:

        def first():
            answer = client.chat.completions.with_raw_response.create(**ASK)
            return answer if "x-ratelimit-limit-requests" in answer.headers else None

        answer = eventually(first, "the gateway knows of the limit")
        assert answer.headers["x-ratelimit-limit-requests"] == "3"
        assert answer.headers["x-ratelimit-remaining-requests"] == "2"
        used = answer.parse().usage.total_tokens
        chunks = list(client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}))
        used += chunks[-1].usage.total_tokens
        used += client.completions.create(model=CHAT, prompt="a", max_tokens=2, n=2).usage.total_tokens
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(**ASK)
        assert refused.value.code == "insufficient_quota"
        assert "limit of tenant bounded is 3 requests a day" in str(refused.value)
        assert int(refused.value.response.headers["retry-after"]) <= 86_400
        assert any(one.id == CHAT for one in client.models.list())
        shown = client.get("/usage", cast_to=httpx.Response).json()
        left = {one["metric"]: one["remaining"] for one in shown["limits"]}
        assert left == {"requests_per_day": 0, "tokens_per_day": 100_000 - used}
    counted = {one["metric"]: one["used"] for one in verb(installation, "usage", "--tenant", "bounded")["usage"]}
    assert counted == {"requests_per_day": 3, "tokens_per_day": used}
