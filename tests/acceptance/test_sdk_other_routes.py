"""The official SDK against the real engines: completions, embeddings, models, errors, keys."""

from __future__ import annotations

import base64
import json
import math
import struct

import httpx
import openai
import pytest
from openai import OpenAI

from installation import CHAT, EMBEDDING, eventually

pytestmark = pytest.mark.slow
UNENFORCEABLE = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}
ASK = [{"role": "user", "content": "Count from one to one hundred in words."}]


def complete(client: OpenAI, prompt="The capital of France is", **more):
    return client.completions.create(**({"model": CHAT, "prompt": prompt, "max_tokens": 8, "temperature": 0} | more))


def test_a_completion_continues_its_prompt(client):
    answer = complete(client)
    assert "Paris" in answer.choices[0].text
    assert answer.object == "text_completion"
    assert answer.usage.completion_tokens == 8
    assert "".join(c.choices[0].text for c in complete(client, stream=True) if c.choices) == answer.choices[0].text


def test_completions_of_several_prompts_and_choices_are_in_order(client):
    answer = complete(client, prompt=["The capital of France is", "The capital of Italy is"], n=2, temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert "Paris" in answer.choices[0].text
    assert "Rome" in answer.choices[2].text
    assert answer.usage.completion_tokens == 4 * 8


def test_completion_log_probabilities_have_the_older_shape(client):
    choice = complete(client, logprobs=2).choices[0]
    assert "".join(choice.logprobs.tokens) == choice.text
    assert len(choice.logprobs.token_logprobs) == len(choice.logprobs.tokens) == len(choice.logprobs.text_offset)
    assert all(len(top) >= 2 for top in choice.logprobs.top_logprobs)


def test_a_prompt_of_token_ids_means_the_same_text(client, installation):
    with installation.engine() as engine:
        ids = engine.post("/tokenize", json={"content": "The capital of France is", "add_special": True}).json()[
            "tokens"
        ]
    assert complete(client, prompt=ids).choices[0].text == complete(client).choices[0].text


def test_echo_gives_the_prompt_back(client):
    assert complete(client, echo=True).choices[0].text.startswith("The capital of France is")


def cosine(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))


def test_embeddings_put_like_meanings_together(client):
    texts = ["That is a happy person", "That is a very happy person", "Today is a sunny day"]
    answer = client.embeddings.create(model=EMBEDDING, input=texts)
    happy, very, sunny = (item.embedding for item in answer.data)
    assert len(happy) == 384
    assert math.isclose(math.hypot(*happy), 1, abs_tol=1e-3)
    assert cosine(happy, very) == pytest.approx(0.943, abs=0.01)
    assert cosine(happy, sunny) == pytest.approx(0.257, abs=0.02)
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens > 0


def test_embeddings_as_base64_are_the_same_numbers(installation):
    body = {"model": EMBEDDING, "input": "hello"}
    headers = {"authorization": f"Bearer {installation.admin_key}"}
    plain, packed = (
        httpx.post(f"{installation.base_url}/embeddings", json=body | {"encoding_format": form}, headers=headers).json()
        for form in ("float", "base64")
    )
    unpacked = struct.unpack("<384f", base64.b64decode(packed["data"][0]["embedding"]))
    assert unpacked == pytest.approx(plain["data"][0]["embedding"], abs=1e-6)


def test_a_text_too_long_to_embed_is_refused_with_needed_and_limit(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=EMBEDDING, input="word " * 2_000)
    assert refused.value.code == "context_length_exceeded"


def test_models_are_those_the_key_may_use(client, installation):
    assert {model.id for model in client.models.list()} == {CHAT, EMBEDDING}
    assert client.models.retrieve(CHAT).id == CHAT
    made = installation.run("keys", "create", "--tenant", "default", "--name", "narrow", "--models", CHAT, "--json")
    assert made.returncode == 0, made.stderr
    narrow = json.loads(made.stdout)
    with installation.client(narrow["key"]) as limited:
        eventually(lambda: works(limited), "the new key works")
        assert [model.id for model in limited.models.list()] == [CHAT]
        with pytest.raises(openai.NotFoundError) as refused:
            limited.embeddings.create(model=EMBEDDING, input="x")
    assert refused.value.code == "model_not_found"
    assert CHAT not in refused.value.message or EMBEDDING not in refused.value.message.split("available:")[1]


def works(client: OpenAI) -> bool:
    try:
        client.models.list()
    except openai.AuthenticationError:
        return False
    return True


def test_revoking_a_key_takes_effect_within_a_second(installation):
    made = json.loads(installation.run("keys", "create", "--tenant", "default", "--name", "short", "--json").stdout)
    with installation.client(made["key"]) as client:
        eventually(lambda: works(client), "the new key works")
        revoked = installation.run("keys", "revoke", made["id"], "--yes")
        assert revoked.returncode == 0, revoked.stderr
        eventually(lambda: not works(client), "the revoked key is refused")
        with pytest.raises(openai.AuthenticationError) as refused:
            client.models.list()
    assert refused.value.code == "revoked_api_key"


@pytest.mark.parametrize(
    ("key", "code"),
    [("fst_nonsense", "invalid_api_key"), ("sk-proj-123", "invalid_api_key"), (None, "missing_api_key")],
)
def test_a_bad_key_is_401_in_the_one_shape(installation, key, code):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    answer = httpx.post(f"{installation.base_url}/chat/completions", json={}, headers=headers)
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == code


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"model": "gpt-4o"}, "model_not_found", "model"),
        ({"frobnicate": 1}, "unknown_field", "frobnicate"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "unsupported_parameter", "audio"),
        ({"temperature": 9}, "invalid_value", "temperature"),
        ({"n": 1_000}, "limit_exceeded", "n"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": [{"role": "user", "content": "word " * 5_000}]}, "context_length_exceeded", "messages"),
        ({"max_tokens": 5_000}, "context_length_exceeded", "messages"),
        ({"response_format": UNENFORCEABLE}, "unsupported_schema", None),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_a_clear_400_or_404(installation, change, code, param):
    body = {"model": CHAT, "messages": ASK, "max_tokens": 8} | change
    answer = httpx.post(
        f"{installation.base_url}/chat/completions",
        json=body,
        headers={"authorization": f"Bearer {installation.admin_key}"},
        timeout=30,
    )
    error = answer.json()["error"]
    assert (error["code"], answer.status_code) == (code, 404 if code == "model_not_found" else 400)
    if param:
        assert error["param"] == param
    if code == "context_length_exceeded":
        assert "2,048" in error["message"]


LONG = {"model": CHAT, "messages": ASK, "max_tokens": 1_500, "temperature": 0, "logit_bias": {"0": -100, "2": -100}}
"""An answer that does not end by itself: the tokens that end one are banned."""
FREE_S = 5.0  # by itself it would go on for longer


def test_leaving_a_stream_frees_the_engines_slot(installation):
    assert installation.busy_slots() == 0
    with installation.client() as client:
        stream = client.chat.completions.create(**LONG, stream=True)
        next(iter(stream))
        eventually(lambda: installation.busy_slots() == 1, "the slot works")
        stream.close()
        eventually(lambda: installation.busy_slots() == 0, "the slot is free", FREE_S)


def test_leaving_a_whole_answer_frees_the_engines_slot(installation):
    with installation.client() as client, pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).chat.completions.create(**LONG)
    eventually(lambda: installation.busy_slots() == 0, "the slot is free", FREE_S)


def test_health_pages_and_metrics_speak_the_pinned_names(installation):
    assert httpx.get(f"{installation.root}/livez").text == "ok\n"
    assert httpx.get(f"{installation.root}/readyz").status_code == 200
    page = httpx.get(f"{installation.root}/metrics").text
    for name in ("gen_ai_server_request_duration_seconds", "gen_ai_client_token_usage", "fastness_requests_total"):
        assert name in page
    for process in ("control", "gateway-0"):
        assert f'fastness_processes{{process="{process}",state="ready"}} 1.0' in page
