"""Markings on a whole installation, as the official SDK sees them: another state's profile, a policy that changes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from fastness.config import run_directory
from installation import CHAT, EMBEDDING, Installation, eventually, start, stop
from killing import on_this_machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

HEADER = "Fastness-Marking"
IN_FORCE_S = 1.0
"""A changed policy is in force everywhere within this."""
PROFILE = """
name = "house"
title = "Another house"
default = "HOUSE"

[[marking]]
name = "OPEN"
meaning = "For anybody."

[[marking]]
name = "HOUSE"
meaning = "For the house."
above = ["OPEN"]

[[marking]]
name = "CELLAR"
meaning = "For few."
above = ["HOUSE"]

[[caveat]]
name = "STAFF ONLY"
meaning = "For nobody else."
lowest = "OPEN"

[jurisdictions]
GB = "Here"

[[operator]]
id = "us"
name = "We ourselves"
owner = "GB"
"""
NO_BIAS = """
@id("house/1")
@code("parameter_not_allowed")
@needed("a request without logit_bias")
@had("logit_bias was set")
forbid (principal, action == Action::"infer", resource)
when { context.parameters.uses.contains("logit_bias") };
"""
ASK: dict[str, Any] = {"model": CHAT, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}


@dataclass
class House:
    """An installation with a visitor, who is cleared for less than the house."""

    installation: Installation
    visitor_key: str
    clients: dict[str, OpenAI] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        return run_directory(self.installation.home, os.getuid())

    def client(self, marking: str | None = None, key: str | None = None) -> OpenAI:
        name = key or self.installation.admin_key
        if name not in self.clients:
            self.clients[name] = self.installation.client(key)
        one = self.clients[name]
        return one.with_options(default_headers={HEADER: marking}) if marking else one

    def visitor(self, marking: str | None = None) -> OpenAI:
        return self.client(marking, self.visitor_key)

    def command(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Ask the management API as the machine's operator."""
        transport = httpx.HTTPTransport(uds=str(self.run / "control.sock"))
        with httpx.Client(transport=transport, base_url="http://control", timeout=30) as control:
            answer = control.request(method, f"/api/v1{path}", json=body)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def worked(self) -> int:
        """How many generations the chat engine has been given."""
        with self.installation.engine() as engine:
            lines = engine.get("/metrics").text.splitlines()
        return sum(int(float(line.split()[1])) for line in lines if line.startswith("llamacpp:prompt_tokens_total"))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("house")
    (home / "profile.toml").write_text(PROFILE)
    environ = {
        "FASTNESS__POLICY__PROFILE": str(home / "profile.toml"),
        "FASTNESS__NODE__CEILING": "CELLAR; STAFF ONLY",
        "FASTNESS__NODE__OPERATOR": "us",
        "FASTNESS__ENGINE__CEILING": "CELLAR; STAFF ONLY",
    }
    running = start(home, environ=environ)
    try:
        one = House(running, "")
        one.command("POST", "/tenants", {"id": "visitors", "clearance": "OPEN", "marking": "OPEN"})
        one.visitor_key = one.command("POST", "/keys", {"tenant": "visitors", "name": "v"})["key"]
        eventually(lambda: one.visitor().models.list().data, "the visitor's key is known")
        yield one
        for client in one.clients.values():
            client.close()
    finally:
        assert stop(running) == 0


def refused(work: Callable[[], object], status: int, code: str) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as raised:
        work()
    assert (raised.value.status_code, raised.value.code) == (status, code)
    return raised.value


def test_every_answer_repeats_the_marking_that_it_was_handled_under(house: House) -> None:
    for client, marking in ((house.client(), "HOUSE"), (house.client("open"), "OPEN"), (house.visitor(), "OPEN")):
        whole = client.chat.completions.with_raw_response.create(**ASK)
        assert whole.headers[HEADER] == marking
        assert whole.parse().choices[0].message.content is not None
        stream = client.chat.completions.with_raw_response.create(**ASK, stream=True)
        assert stream.headers[HEADER] == marking
        assert list(stream.parse())
        vectors = client.embeddings.with_raw_response.create(model=EMBEDDING, input="hi")
        assert vectors.headers[HEADER] == marking
        text = client.completions.with_raw_response.create(model=CHAT, prompt="hi", max_tokens=2)
        assert text.headers[HEADER] == marking


def test_what_is_not_cleared_is_refused_with_the_reason_and_no_engine_hears_of_it(house: House) -> None:
    house.client().chat.completions.create(**ASK)
    before = house.worked()
    for client, asked, who in (
        (house.client("CELLAR"), "CELLAR", "tenant default is cleared to HOUSE"),
        (house.visitor("HOUSE"), "HOUSE", "tenant visitors is cleared to OPEN"),
        (house.visitor("OPEN; STAFF ONLY"), "OPEN; STAFF ONLY", "tenant visitors is cleared to OPEN"),
    ):
        for call in (
            lambda client=client: client.chat.completions.create(**ASK),
            lambda client=client: client.chat.completions.create(**ASK, stream=True),
            lambda client=client: client.chat.completions.create(**ASK | {"max_tokens": 2_040}),
            lambda client=client: client.completions.create(model=CHAT, prompt="hi"),
            lambda client=client: client.embeddings.create(model=EMBEDDING, input="hi"),
        ):
            error = refused(call, 403, "marking_not_cleared")
            assert isinstance(error, openai.PermissionDeniedError)
            assert f"{asked} asked" in error.message
            assert who in error.message
            assert "policy rule ceilings/" in error.message
            assert error.response.headers[HEADER] == asked
    assert house.worked() == before


def test_who_is_cleared_for_more_than_the_model_is_refused_by_the_model(house: House) -> None:
    house.command("POST", "/tenants", {"id": "cellarers", "clearance": "CELLAR; STAFF ONLY"})
    key = house.command("POST", "/keys", {"tenant": "cellarers", "name": "c"})["key"]
    eventually(lambda: house.client(key=key).models.list().data, "the key is known")
    error = refused(lambda: house.client("CELLAR", key).chat.completions.create(**ASK), 403, "marking_not_cleared")
    assert "admitted to HOUSE" in error.message, "what a model is admitted for binds, whatever the deployment's ceiling"


def test_a_marking_of_another_state_is_unknown_here(house: House) -> None:
    error = refused(lambda: house.client("OFFICIAL").chat.completions.create(**ASK), 400, "unknown_marking")
    assert "OPEN, HOUSE, CELLAR" in error.message
    assert HEADER not in error.response.headers
    assert error.param == HEADER


def test_models_are_listed_with_their_ceilings_for_whoever_is_cleared(house: House) -> None:
    for client in (house.client(), house.visitor(), house.client("OPEN")):
        found = {one.id: one.model_extra["ceiling"] for one in client.models.list().data if one.model_extra}
        assert found == {CHAT: "HOUSE", EMBEDDING: "HOUSE"}
    assert house.visitor("HOUSE").models.list().data == []
    refused(lambda: house.visitor("HOUSE").models.retrieve(CHAT), 404, "model_not_found")


def test_the_ledger_has_marking_policy_and_rule_of_answers_and_refusals(house: House) -> None:
    answer = house.client("open").chat.completions.with_raw_response.create(**ASK)
    error = refused(lambda: house.client("CELLAR").chat.completions.create(**ASK), 403, "marking_not_cleared")
    digest = house.command("GET", "/policy")["digest"]
    log = house.installation.home / "ledger/gateway-0"

    def entries() -> dict[str, dict[str, Any]]:
        lines = [json.loads(line) for file in sorted(log.glob("*.jsonl")) for line in file.read_bytes().splitlines()]
        fields = [one.get("fields", {}) for one in lines]
        return {one["request_id"]: one for one in fields if "request_id" in one}

    wanted = {answer.headers["x-request-id"]: "OPEN", error.response.headers["x-request-id"]: "CELLAR"}
    eventually(lambda: wanted.keys() <= entries().keys(), "both are on record")
    for request_id, marking in wanted.items():
        fields = entries()[request_id]
        assert (fields["marking"], fields["policy"]) == (marking, digest)
        assert fields["rule"]


def status_of(house: House, **fields: Any) -> int:
    answer = httpx.post(
        f"{house.installation.base_url}/chat/completions",
        headers={"authorization": f"Bearer {house.installation.admin_key}"},
        json=ASK | fields,
        timeout=60,
    )
    return answer.status_code


def within(house: House, status: int, **fields: Any) -> None:
    began, limit_s = time.monotonic(), on_this_machine(IN_FORCE_S)
    while status_of(house, **fields) != status:
        assert time.monotonic() - began < limit_s, f"not {status} within {IN_FORCE_S} s"
        time.sleep(0.02)


def test_a_changed_policy_is_in_force_within_a_second_and_so_is_its_return(house: House) -> None:
    biased = {"logit_bias": {"1": 1}}
    assert status_of(house, **biased) == 200
    shown = house.command("GET", "/policy")
    given = {"profile": PROFILE, "policies": {"house.cedar": NO_BIAS} | policies_of(shown)}
    house.command("POST", "/policy/apply", given)
    within(house, 403, **biased)
    assert status_of(house) == 200
    error = refused(lambda: house.client().chat.completions.create(**ASK, **biased), 403, "parameter_not_allowed")
    assert "house/1" in error.message
    house.command("POST", "/policy/apply", {"version": shown["version"]})
    within(house, 200, **biased)


def policies_of(shown: dict[str, Any]) -> dict[str, str]:
    found = shown["policies"]
    return found if isinstance(found, dict) else {one["name"]: one["text"] for one in found}


def test_a_policy_that_cannot_be_read_permits_nothing(house: House) -> None:
    """Last, because control may publish it anew at once: then there is only a moment without one, or none."""
    path = house.run / "policy.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    try:
        within(house, 503)
        root = house.installation.root
        assert httpx.get(f"{root}/livez").status_code == 200
        assert httpx.get(f"{root}/readyz").status_code == 503
        error = refused(lambda: house.client().chat.completions.create(**ASK), 503, "policy_unavailable")
        assert HEADER not in error.response.headers
    finally:
        draft = path.with_name(".policy.restored")
        draft.write_bytes(whole)
        draft.replace(path)
    within(house, 200)
