"""A certified OpenID Connect server, its tokens, its keys, its absence: against our own control and gateway parts."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from fastness.config import IdentitySettings
from fastness.control.failures import Silence
from fastness.control.identities import Identities, IdentityFiles, keep_identities
from fastness.core.error import Refusal
from fastness.core.identity import IdentitySnapshot
from fastness.core.tenant import AccessSnapshot, Credential, Principal, Tenant
from fastness.identity.authenticator import Authenticator
from fastness.ledger.memory import MemoryLedger
from fastness.store.snapshot_file import SnapshotReader
from oidc_server import SECRET, audience, free_port, provider, require_server, signing_keys, token

ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    require_server()


async def fetch(url: str) -> bytes:
    """What the composition root gives: one GET, no redirect."""
    try:
        async with httpx.AsyncClient(follow_redirects=False, timeout=5) as client:
            answer = await client.get(url)
            answer.raise_for_status()
            return answer.content
    except httpx.HTTPError as error:
        raise OSError(str(error)) from error


@dataclass
class Site:
    """One home with its control part; `restarted` gives another control over the same home, and an empty run."""

    home: Path
    port: int
    runs: int = 0
    ledger: MemoryLedger = field(default_factory=lambda: MemoryLedger("control"))

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def configure(self, algorithm: str = "ES256", **more: object) -> None:
        lines = {
            "url": self.issuer,
            "audience": audience(algorithm),
            "algorithms": [algorithm],
            "tenant": "health",
        } | more
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
        (self.home / "identity.toml").write_text(f'[[issuer]]\n{text}[issuer.roles]\n"Inference.Use" = "developer"\n')

    def control(self, log: object = None) -> Identities:
        self.runs += 1
        self.run = self.home / f"run-{self.runs}"
        self.run.mkdir()
        files = IdentityFiles.below(self.home, self.run, "")
        address = frozenset({f"127.0.0.1:{self.port}"})
        return Identities(files, self.ledger, log or Silence(), time.time, fetch, address)

    def published(self) -> IdentitySnapshot:
        found = SnapshotReader(self.run / "identity.json", IdentitySnapshot).poll()
        assert found
        return found

    def gateway(self, now_s: float | None = None) -> Authenticator:
        made = Authenticator(b"p" * 32, IdentitySettings())
        made.replace(AccessSnapshot(1, (Tenant("health", "Health", 1),), ()))
        made.replace_identities(self.published(), now_s or time.time())
        return made

    def changes(self) -> list[str]:
        return [entry.type for entry in self.ledger.entries()]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path, free_port())
    made.configure()
    return made


def enter(gateway: Authenticator, text: str, now_s: float | None = None) -> Principal:
    return gateway.authenticate(f"Bearer {text}", now_s or time.time())


def code_of(gateway: Authenticator, text: str, now_s: float | None = None) -> str:
    with pytest.raises(Refusal) as caught:
        enter(gateway, text, now_s)
    assert text not in caught.value.message
    return caught.value.code


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_of_a_certified_server_stands_for_its_principal(site, algorithm):
    site.configure(algorithm)
    with provider(site.port, signing_keys("first")) as issuer:
        assert asyncio.run(site.control().refresh())
        gateway, mine = site.gateway(), token(issuer, algorithm)
        found = enter(gateway, mine)
        assert (found.tenant, found.roles, found.credential) == ("health", {"developer"}, Credential.TOKEN)
        assert enter(gateway, mine) is found
        assert enter(gateway, token(issuer, algorithm)) is found, "a fresh token of the same client is the same one"
        other = next(one for one in ALGORITHMS if one != algorithm)
        assert code_of(gateway, token(issuer, other)) == "invalid_token"


def test_keys_that_the_server_changed_are_taken_over_and_the_old_ones_dropped(site):
    control = site.control()
    with provider(site.port, signing_keys("first")) as issuer:
        assert asyncio.run(control.refresh())
        first = token(issuer)
        assert enter(site.gateway(), first)
    with provider(site.port, signing_keys("second")) as issuer:
        second, before = token(issuer), site.gateway()
        assert code_of(before, second) == "invalid_token", "the gateway cannot fetch, so it refuses"
        assert asyncio.run(control.refresh())
        after = site.gateway()
        assert enter(after, second)
        assert code_of(after, first) == "invalid_token"
        assert enter(before, first), "until it is told"
    assert site.changes() == ["identity.changed"] * 3, "the configuration, and each set of keys"


def test_a_server_that_is_down_stops_neither_service_nor_a_restart(site):
    with provider(site.port, signing_keys("first")) as issuer:
        assert asyncio.run(site.control().refresh())
        mine = token(issuer)
    entries = site.changes()
    restarted = site.control()
    assert asyncio.run(restarted.refresh()) is False, "it says that the issuer did not answer"
    gateway = site.gateway()
    assert enter(gateway, mine)
    assert site.changes() == entries, "nothing changed, so nothing is recorded"
    kept = site.home / "identity/kept.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert SECRET not in kept.read_text() and '"d"' not in kept.read_text()


def test_keys_that_nobody_could_confirm_for_too_long_are_not_believed(site):
    site.configure(keys_max_age_s=120)
    with provider(site.port, signing_keys("first")) as issuer:
        assert asyncio.run(site.control().refresh())
        mine = token(issuer)
    gateway, now_s = site.gateway(), time.time()
    assert enter(gateway, mine, now_s + 60)
    assert code_of(gateway, mine, now_s + 121) == "identity_unavailable"
    with provider(site.port, signing_keys("second")) as issuer:
        assert asyncio.run(site.control().refresh())
        assert enter(site.gateway(), token(issuer))


def test_a_server_that_comes_up_later_is_found_without_anybody_asking(site):
    async def later() -> None:
        control = site.control()
        async with keep_identities(control, refresh_s=0.05, watch_s=0.02):
            assert not site.published().issuers[0].keys
            with provider(site.port, signing_keys("first")) as issuer:
                await until(lambda: bool(site.published().issuers[0].keys))
                assert enter(site.gateway(), token(issuer))

    asyncio.run(later())


async def until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def test_an_opaque_token_is_no_token_here(site):
    with provider(site.port, signing_keys("first")) as issuer:
        assert asyncio.run(site.control().refresh())
        answer = httpx.post(
            f"{issuer}/token", auth=("letters-service", SECRET), data={"grant_type": "client_credentials"}
        )
        assert code_of(site.gateway(), answer.json()["access_token"]) == "invalid_api_key"


def test_the_server_is_not_believed_under_another_name(site):
    with provider(site.port, signing_keys("first")):
        site.configure(url=f"{site.issuer}/")
        control = site.control()
        assert asyncio.run(control.refresh()) is False
        assert not control.snapshot.issuers[0].keys
