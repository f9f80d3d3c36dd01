"""Who is trusted, kept fresh: what is published, recorded, kept, refused and survived."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, OctKey

from fastness.config import ConfigError
from fastness.control.identities import Identities, IdentityFiles, keep_identities
from fastness.core.identity import IdentitySnapshot
from fastness.ledger.memory import MemoryLedger
from fastness.store.snapshot_file import SnapshotReader

URL = "https://login.state.example/realm"
DISCOVERY = f"{URL}/.well-known/openid-configuration"
KEYS = "https://keys.state.example/jwks"
PERMITTED = frozenset({"login.state.example:443", "keys.state.example:443"})
ISSUER = f'[[issuer]]\nurl = "{URL}"\naudience = "us"\nalgorithms = ["ES256"]\ntenant = "health"\n'
SERVICE = '[[service]]\nuri = "spiffe://state.example/letters"\ntenant = "health"\nroles = ["developer"]\n'


def jwks(*kids: str) -> bytes:
    keys = [{**ECKey.generate_key("P-256", private=False).as_dict(), "kid": kid} for kid in kids]
    return json.dumps({"keys": keys}).encode()


@dataclass
class Web:
    """The outside: what is at each URL. An error there is raised; what was asked for is noted."""

    pages: dict[str, bytes | Exception]
    asked: list[str] = field(default_factory=list)

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        found = self.pages.get(url, OSError("404"))
        if isinstance(found, Exception):
            raise found
        return found


@dataclass
class Notes:
    """A log that is looked at."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def record(self, level: str, event: str, **fields: str | float | None) -> None:
        self.lines.append((event, str(fields.get("reason"))))

    def flush(self) -> None:
        pass

    def events(self) -> list[str]:
        return [event for event, _ in self.lines]


class Site:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.run = home / "run"
        self.run.mkdir()
        self.now_s = 1_000.0
        self.ledger = MemoryLedger("control")
        self.log = Notes()
        self.web = Web({DISCOVERY: json.dumps({"issuer": URL, "jwks_uri": KEYS}).encode(), KEYS: jwks("one")})

    def configure(self, text: str) -> None:
        (self.home / "identity.toml").write_text(text)

    def identities(self, **changes: object) -> Identities:
        files = IdentityFiles.below(self.home, self.run, "")
        parts = {"fetch": self.web.fetch, "permitted": PERMITTED} | changes
        return Identities(files, self.ledger, self.log, lambda: self.now_s, **parts)

    def published(self) -> IdentitySnapshot:
        found = SnapshotReader(self.run / "identity.json", IdentitySnapshot).poll()
        assert found
        return found

    def recorded(self) -> list[dict[str, object]]:
        return [entry.fields for entry in self.ledger.entries()]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def refresh(identities: Identities, **how: bool) -> bool:
    return asyncio.run(identities.refresh(**how))


def test_without_a_file_nobody_is_trusted_and_that_is_no_event(site):
    assert refresh(site.identities())
    assert site.published() == IdentitySnapshot(0)
    assert site.recorded() == []
    assert site.web.asked == []


def test_keys_are_found_by_discovery_published_and_kept(site):
    site.configure(ISSUER + SERVICE)
    told: list[IdentitySnapshot] = []
    assert refresh(site.identities(on_change=told.append))
    assert told == [site.published()]
    issuer = site.published().issuers[0]
    assert json.loads(issuer.keys)["keys"][0]["kid"] == "one"
    assert issuer.fetched_s == 1_000
    assert site.published().services[0].uri == "spiffe://state.example/letters"
    assert site.web.asked == [DISCOVERY, KEYS]
    kept = site.home / "identity/kept.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def test_a_pinned_place_for_keys_is_the_only_one_asked(site):
    site.configure(ISSUER + f'jwks_url = "{KEYS}"\n')
    assert refresh(site.identities())
    assert site.web.asked == [KEYS]


def test_what_changes_is_recorded_once_before_it_is_published(site):
    site.configure(ISSUER)
    identities = site.identities()
    refresh(identities)
    configuration, keys = site.recorded()
    assert configuration["issuer"] is configuration["keys_sha256"] is None
    assert keys["issuer"] == URL
    assert configuration["identity_sha256"] == keys["identity_sha256"]
    site.now_s = 1_300.0
    refresh(identities)
    assert len(site.recorded()) == 2, "the same keys, fetched again, are no change"
    assert site.published().issuers[0].fetched_s == 1_300
    site.web.pages[KEYS] = jwks("one", "two")
    before = site.published()
    site.ledger.refusal = "the disk is full"
    assert not refresh(identities)
    assert site.published() == before, "what cannot be recorded is not published"
    assert "identity.not_published" in site.log.events()
    site.ledger.refusal = None
    assert refresh(identities)
    assert len(site.recorded()) == 3
    assert site.published().version > before.version


def test_a_disk_that_is_full_is_tried_again_and_recorded_once(site):
    site.configure(SERVICE)
    identities = site.identities()
    site.run.rmdir()
    assert not refresh(identities)
    site.run.mkdir()
    assert refresh(identities)
    assert len(site.published().services) == 1
    assert len(site.recorded()) == 1


def test_an_issuer_that_is_away_keeps_the_keys_it_had_also_over_a_restart(site):
    site.configure(ISSUER)
    refresh(site.identities())
    known = site.published().issuers
    site.web.pages = {}
    (site.run / "identity.json").unlink()
    restarted = site.identities()
    assert not refresh(restarted)
    assert not refresh(restarted)
    assert site.published().issuers == known
    assert site.log.events() == ["identity.keys_not_fetched"], "it is said once"
    assert len(site.recorded()) == 2
    site.web = Web({DISCOVERY: json.dumps({"issuer": URL, "jwks_uri": KEYS}).encode(), KEYS: jwks("two")})
    assert refresh(site.identities())


def test_an_issuer_that_answers_again_is_said_so(site):
    site.configure(ISSUER)
    identities, pages = site.identities(), site.web.pages
    site.web.pages = {}
    refresh(identities)
    site.web.pages = pages
    refresh(identities)
    assert site.log.events() == ["identity.keys_not_fetched", "identity.keys_fetched"]


def test_a_set_with_no_key_in_common_is_taken_and_said_aloud(site):
    site.configure(ISSUER)
    identities = site.identities()
    refresh(identities)
    site.web.pages[KEYS] = jwks("another")
    assert refresh(identities)
    assert "identity.keys_replaced" in site.log.events()
    assert "another" in site.published().issuers[0].keys


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ({DISCOVERY: OSError("no route")}, "did not answer: no route"),
        ({DISCOVERY: RuntimeError("")}, "did not answer: RuntimeError"),
        ({DISCOVERY: b"<html>"}, "discovery document is not believed"),
        ({DISCOVERY: b"x" * 262_145}, "more than 262144 bytes"),
        ({DISCOVERY: json.dumps({"issuer": URL + "/", "jwks_uri": KEYS}).encode()}, "another issuer"),
        ({DISCOVERY: json.dumps({"jwks_uri": KEYS}).encode()}, "another issuer"),
        ({DISCOVERY: json.dumps({"issuer": URL}).encode()}, "names no `jwks_uri`"),
        (
            {DISCOVERY: json.dumps({"issuer": URL, "jwks_uri": "https://evil.example/jwks"}).encode()},
            "evil.example:443 is not in perimeter.addresses",
        ),
        (
            {DISCOVERY: json.dumps({"issuer": URL, "jwks_uri": "http://keys.state.example/jwks"}).encode()},
            "no place to ask",
        ),
        ({DISCOVERY: json.dumps({"issuer": URL, "jwks_uri": "file:///etc/passwd"}).encode()}, "no place to ask"),
        ({KEYS: b'{"keys": []}'}, "JWK set is not believed"),
        ({KEYS: json.dumps({"keys": [OctKey.generate_key(256).as_dict()]}).encode()}, "stolen"),
    ],
)
def test_what_an_issuer_must_not_say_changes_nothing(site, pages, said):
    site.configure(ISSUER)
    identities = site.identities()
    refresh(identities)
    before, events = site.published(), len(site.recorded())
    site.web.pages |= pages
    assert not refresh(identities)
    assert said in site.log.lines[-1][1]
    assert site.published() == before
    assert len(site.recorded()) == events


def test_nothing_is_asked_outside_the_perimeter(site):
    site.configure(ISSUER)
    assert not refresh(site.identities(permitted=frozenset()))
    assert site.web.asked == []
    assert "login.state.example:443 is not in perimeter.addresses" in site.log.lines[-1][1]
    assert not refresh(site.identities(fetch=None))
    assert "perimeter.addresses is empty" in site.log.lines[-1][1]


def test_an_issuer_that_never_answers_is_given_up(site, monkeypatch):
    async def never(url: str) -> bytes:
        await asyncio.Event().wait()
        return b""

    monkeypatch.setattr("fastness.control.issuer_keys.FETCH_TIMEOUT_S", 0.01)
    site.configure(ISSUER + SERVICE)
    assert not refresh(site.identities(fetch=never))
    assert "within" in site.log.lines[-1][1]
    assert site.published().services


def test_a_file_that_is_not_understood_leaves_the_last_one_in_force(site):
    site.configure(SERVICE)
    identities = site.identities()
    refresh(identities)
    before = site.published()
    site.configure("[[service]]\nurl = 1\n")
    assert not refresh(identities)
    assert not refresh(identities)
    assert site.published() == before
    assert site.log.events() == ["identity.not_read"]
    assert "Did you mean `uri`" in site.log.lines[0][1]
    site.configure("")
    assert refresh(identities)
    assert site.published().services == ()
    assert len(site.recorded()) == 2


def test_keys_do_not_follow_to_another_place_or_another_issuer(site):
    site.configure(ISSUER)
    identities = site.identities()
    refresh(identities)
    site.web.pages = {}
    site.configure(ISSUER + f'jwks_url = "{KEYS}2"\n')
    refresh(identities)
    assert site.published().issuers[0].keys == ""


def test_kept_keys_that_somebody_touched_are_not_believed(site):
    site.configure(ISSUER)
    refresh(site.identities())
    kept = site.home / "identity/kept.json"
    kept.write_text(kept.read_text().replace('\\"use\\":\\"sig\\"', '\\"use\\":\\"SIG\\"'))
    site.web.pages = {}
    refresh(site.identities())
    assert site.published().issuers[0].keys == ""
    assert site.published().issuers[0].fetched_s is None
    kept.write_text("{")
    refresh(site.identities())
    assert site.published().issuers[0].url == URL


def test_a_clock_that_was_set_back_does_not_make_keys_younger(site):
    site.configure(ISSUER)
    refresh(site.identities())
    site.now_s = 500.0
    site.web.pages = {}
    refresh(site.identities())
    assert site.published().issuers[0].fetched_s == 500


def test_a_file_that_the_settings_name_has_to_be_there(tmp_path):
    files = IdentityFiles.below(tmp_path, tmp_path, str(tmp_path / "mine.toml"))
    with pytest.raises(ConfigError, match=r"identity\.file is .*mine.toml"):
        files.read()
    (tmp_path / "mine.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        files.read()
    assert IdentityFiles.below(tmp_path, tmp_path, "").read() == IdentitySnapshot(0)


def test_it_is_kept_fresh_while_the_block_lasts(site):
    async def watched() -> None:
        site.configure(ISSUER)
        identities = site.identities()
        async with keep_identities(identities, refresh_s=0.05, watch_s=0.01):
            assert site.published().issuers[0].keys == "", "published at once, before anybody was asked"
            await until(lambda: bool(site.published().issuers[0].keys))
            site.configure(ISSUER + SERVICE)
            await until(lambda: bool(site.published().services))
            site.web.pages[KEYS] = jwks("two")
            await until(lambda: "two" in site.published().issuers[0].keys)

    asyncio.run(watched())


def test_a_change_of_the_file_is_noticed_long_before_keys_are_due(site):
    async def watched() -> None:
        identities = site.identities()
        async with keep_identities(identities, refresh_s=3_600, watch_s=0.01):
            site.configure(SERVICE)
            await until(lambda: bool(site.published().services))
            (site.home / "identity.toml").unlink()
            await until(lambda: not site.published().services)

    asyncio.run(watched())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)
