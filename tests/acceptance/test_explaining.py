"""Whoever runs Fastness can ask why a request went where it went; nobody else can."""

from __future__ import annotations

import json

import httpx
import pytest

from installation import CHAT

pytestmark = pytest.mark.slow


def test_the_choice_of_an_answers_replica_is_explained_on_the_command_line_and_nowhere_else(installation):
    with installation.client() as client:
        messages = [{"role": "user", "content": "Say hello to somebody confidential."}]
        answered = client.chat.completions.with_raw_response.create(model=CHAT, messages=messages, max_tokens=2)
        request_id = answered.headers["x-request-id"]
        outside = httpx.get(str(client.base_url).removesuffix("/v1/") + f"/choices/{request_id}", trust_env=False)
    told = installation.run("explain", request_id, "--json")
    assert told.returncode == 0, told.stderr
    (choice,) = json.loads(told.stdout)["choices"]
    assert choice["replica"] in {one["replica"] for one in choice["candidates"]}
    assert "confidential" not in told.stdout
    assert outside.status_code == 404
    assert outside.json()["error"]["code"] == "route_not_found"
    assert installation.run("explain", "req_of_nobody").returncode == 4
