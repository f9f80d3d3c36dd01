"""A whole installation that trusts a certified OpenID Connect server, by way of its own broker: as the SDK sees it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from openai import APIError, OpenAI

from oidc_server import audience, free_port, provider, require_server, signing_keys, token

sys.path.append(str(Path(__file__).parents[1] / "acceptance"))

from installation import CHAT, Installation, eventually, start, stop
from killing import QUICK, child, forget, kill, kill_companion

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _installed() -> None:
    require_server()


def ask(site: Installation, credential: str) -> str:
    with OpenAI(base_url=site.base_url, api_key=credential, max_retries=0, timeout=60) as client:
        answer = client.chat.completions.create(
            model=CHAT, messages=[{"role": "user", "content": "Name a colour."}], max_tokens=3
        )
    return answer.choices[0].message.content or ""


def outcome(site: Installation, credential: str) -> str:
    """`ok`, the code of a refusal, or the name of what happened while there was no gateway."""
    with OpenAI(base_url=site.base_url, api_key=credential, max_retries=0, timeout=60) as client:
        try:
            client.models.list()
        except APIError as error:
            return error.code or type(error).__name__
    return "ok"


def test_tokens_open_an_installation_whose_issuer_comes_goes_and_changes_its_keys(tmp_path):
    port = free_port()
    issuer = {"url": f"http://127.0.0.1:{port}", "audience": audience("ES256"), "algorithms": ["ES256"]}
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in issuer.items())
    roles = '[issuer.roles]\n"Inference.Use" = "developer"\n'
    (tmp_path / "identity.toml").write_text(f'[[issuer]]\n{lines}tenant = "default"\n{roles}')
    (tmp_path / "config.toml").write_text(f'[perimeter]\naddresses = "127.0.0.1:{port}"\n[identity]\nrefresh_s = 1\n')
    with provider(port, signing_keys("first")) as url:
        site = start(tmp_path, environ=QUICK)
        try:
            mine = token(url)
            assert outcome(site, mine) in {"ok", "identity_unavailable"}
            eventually(lambda: outcome(site, mine) == "ok", "the keys of the issuer were fetched", 20)
            assert ask(site, mine)
            found = site.run("ledger", "find", "--type", "inference.completed", "--json").stdout
            assert "oidc:" in found
            assert "letters-service" not in found
        except BaseException:
            stop(site)
            raise
    try:
        assert ask(site, mine), "the issuer is away"
        kill(child(site, "control"))
        kill(child(site, "gateway"))
        eventually(lambda: outcome(site, mine) == "ok", "both are back, and the issuer is not", 30)
        kill_companion(site, "broker")  # by which alone the new keys come
        with provider(port, signing_keys("second")) as url:
            new = token(url)
            eventually(lambda: outcome(site, new) == "ok", "the new keys were fetched", 30)
            eventually(lambda: outcome(site, mine) == "invalid_token", "the old keys are gone", 5)
        assert stop(site) == 0
    finally:
        forget(tmp_path)
