"""Who is trusted to say who somebody is: identity.toml and the keys of its issuers, kept fresh for the gateways.

The last good state is kept below FASTNESS_HOME, so that an issuer that is away, also while we start, stops nothing:
gateways believe its keys until they are too old. A change is in the ledger before it is published.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from fastness.config import ConfigError
from fastness.control.alongside import alongside
from fastness.control.failures import Log
from fastness.control.issuer_keys import Fetch, KeysUnavailable, fetch_keys
from fastness.core.error import Refusal
from fastness.core.event import Event, EventType
from fastness.core.identity import IdentitySnapshot, Issuer
from fastness.core.marking import Lattice
from fastness.identity.configuration import FILE_BYTES_MAX, read_identities
from fastness.identity.jwks import JwksProblem, read_jwks, write_jwks
from fastness.ledger.port import Ledger, LedgerUnavailable
from fastness.store.snapshot_file import SnapshotReader, write_snapshot

RETRY_S: Final = 10.0
"""How soon an issuer that did not answer is asked again, unless `identity.refresh_s` is sooner."""
WATCH_S: Final = 1.0
"""How soon a change of identity.toml is noticed."""


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """Where things are: `configured` by people (it may be absent unless `required`), `kept` by us, `published`."""

    configured: Path
    required: bool
    kept: Path
    published: Path

    @classmethod
    def below(cls, home: Path, run: Path, configured: str) -> IdentityFiles:
        """Return the usual places; `configured` is the setting identity.file."""
        return cls(
            Path(configured) if configured else home / "identity.toml",
            bool(configured),
            home / "identity/kept.json",
            run / "identity.json",
        )

    def read(self, lattice: Lattice | None = None) -> IdentitySnapshot:
        """Return what people configured, without keys; nothing for an absent file. Blocks; raises ConfigError."""
        try:
            with self.configured.open("rb") as file:
                content = file.read(FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            if self.required:
                raise ConfigError(f"identity.file is {self.configured}, and there is no such file") from None
            return IdentitySnapshot(0)
        except OSError as error:
            raise ConfigError(f"{self.configured} cannot be read: {error.strerror}") from error
        return read_identities(content, str(self.configured), lattice)


class Identities:
    """Keeps the snapshot fresh. `permitted` are the addresses (host:port) that `fetch` may be asked for.

    `on_change` is given each snapshot once it is published, for those in this process who need it.
    """

    def __init__(
        self,
        files: IdentityFiles,
        ledger: Ledger,
        log: Log,
        clock: Callable[[], float],
        fetch: Fetch | None = None,
        permitted: frozenset[str] = frozenset(),
        lattice: Callable[[], Lattice | None] = lambda: None,
        on_change: Callable[[IdentitySnapshot], None] = lambda _snapshot: None,
    ) -> None:
        self._files = files
        self._ledger = ledger
        self._log = log
        self._clock = clock
        self._fetch = fetch
        self._permitted = permitted
        self._lattice = lattice
        self._on_change = on_change
        self._order = asyncio.Lock()
        self._told: dict[str, str] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._published = False
        self.snapshot = _sound(SnapshotReader(files.kept, IdentitySnapshot).poll() or IdentitySnapshot(0))
        """What is in force; at first, what the last process kept."""

    async def refresh(self, *, fetch: bool = True) -> bool:
        """Read the file, fetch the keys of all issuers, record and publish. Return whether all of it could be done.

        What could not be read or fetched stays as it was, and is logged once.
        """
        async with self._order:
            wanted = await self._configured()
            now_s = int(self._clock())
            issuers = [_with_keys(issuer, self.snapshot) for issuer in (wanted or self.snapshot).issuers]
            fresh = list(await asyncio.gather(*map(self._fresh, issuers))) if fetch else issuers
            # A clock that was set back must not make keys last longer than they may.
            made = [replace(one, fetched_s=min(one.fetched_s, now_s)) if one.fetched_s else one for one in fresh]
            published = await self._publish(replace(wanted or self.snapshot, issuers=tuple(made)))
            return published and wanted is not None and not any(one.url in self._told for one in issuers)

    def changed(self) -> bool:
        """Tell whether identity.toml is another one than was read last. Costs one `stat`."""
        return _stamp(self._files.configured) != self._stamp

    async def _configured(self) -> IdentitySnapshot | None:
        self._stamp = _stamp(self._files.configured)
        try:
            wanted = await asyncio.to_thread(self._files.read, self._lattice())
        except (ConfigError, Refusal) as error:  # the lattice is refused while no policy is in force
            self._tell("file", "identity.not_read", str(error))
            return None
        self._told.pop("file", None)
        return wanted

    async def _fresh(self, issuer: Issuer) -> Issuer:
        """Return the issuer with the keys it publishes now, or as it is when it does not show any."""
        try:
            keys = await fetch_keys(issuer, self._fetch, self._permitted)
        except KeysUnavailable as problem:
            self._tell(issuer.url, "identity.keys_not_fetched", str(problem), issuer.url)
            return issuer
        if self._told.pop(issuer.url, None) is not None:
            self._log.record("info", "identity.keys_fetched", where=issuer.url)
        if issuer.keys and _kids(issuer.keys).isdisjoint(_kids(keys)):
            # It came over TLS from the pinned place, so it is believed; but people should know.
            self._log.record("warning", "identity.keys_replaced", where=issuer.url, reason="no key is as it was")
        return replace(issuer, keys=keys, fetched_s=int(self._clock()))

    async def _publish(self, found: IdentitySnapshot) -> bool:
        before = self.snapshot
        made = replace(found, version=before.version)
        if made == before and self._published:
            return True
        if made != before:
            made = replace(made, version=before.version + 1)
        try:
            await self._record(before, made)
            # From here on it is in force, and is not recorded again if a full disk delays the files.
            self.snapshot, self._published = made, False
            await asyncio.to_thread(self._write, made)
        except LedgerUnavailable as error:
            return self._tell("publish", "identity.not_published", str(error))
        except OSError as error:
            return self._tell("publish", "identity.not_published", f"{error.filename}: {error.strerror}")
        self._published = True
        self._on_change(made)
        self._told.pop("publish", None)
        return True

    def _write(self, snapshot: IdentitySnapshot) -> None:
        self._files.kept.parent.mkdir(mode=0o700, exist_ok=True)
        write_snapshot(self._files.kept, snapshot)
        write_snapshot(self._files.published, snapshot)

    async def _record(self, before: IdentitySnapshot, made: IdentitySnapshot) -> None:
        whole = _digest(made)
        if _digest(before) == whole:
            return
        if _digest(_keyless(before)) != _digest(_keyless(made)):
            await self._commit(None, None, whole)
        known = {issuer.url: issuer.keys for issuer in before.issuers}
        for issuer in made.issuers:
            if issuer.keys and issuer.keys != known.get(issuer.url):
                await self._commit(issuer.url, hashlib.sha256(issuer.keys.encode()).hexdigest(), whole)

    async def _commit(self, issuer: str | None, keys_sha256: str | None, whole: str) -> None:
        fields = {"issuer": issuer, "keys_sha256": keys_sha256, "identity_sha256": whole}
        await self._ledger.commit(Event(EventType.IDENTITY_CHANGED, int(self._clock() * 1000), {**fields}))

    def _tell(self, what: str, event: str, reason: str, where: str | None = None) -> bool:
        """Log a problem once, until it is another one; return False."""
        if self._told.get(what) != reason:
            self._told[what] = reason
            self._log.record("error", event, reason=reason, where=where)
        return False


@asynccontextmanager
async def keep_identities(identities: Identities, refresh_s: float, watch_s: float = WATCH_S) -> AsyncIterator[None]:
    """Publish what is known at once, without asking anybody; then keep it fresh until the block ends."""
    await identities.refresh(fetch=False)
    async with alongside(_watch(identities, refresh_s, watch_s)):
        yield


async def _watch(identities: Identities, refresh_s: float, watch_s: float) -> None:
    now, due = asyncio.get_running_loop().time, 0.0
    while True:
        if now() >= due or identities.changed():
            good = await identities.refresh()
            due = now() + (refresh_s if good else min(RETRY_S, refresh_s))
        await asyncio.sleep(watch_s)


def _with_keys(issuer: Issuer, known: IdentitySnapshot) -> Issuer:
    """Give a configured issuer the keys it had, if they are still to come from the same place."""
    for one in known.issuers:
        if (one.url, one.jwks_url) == (issuer.url, issuer.jwks_url):
            return replace(issuer, keys=one.keys, fetched_s=one.fetched_s)
    return issuer


def _sound(kept: IdentitySnapshot) -> IdentitySnapshot:
    """Drop keys that we did not write like this: a disk or a person may have changed them."""
    issuers = tuple(one if _is_canonical(one.keys) else replace(one, keys="", fetched_s=None) for one in kept.issuers)
    return replace(kept, issuers=issuers)


def _is_canonical(keys: str) -> bool:
    try:
        return keys == write_jwks(read_jwks(keys.encode()))
    except JwksProblem:
        return False


def _keyless(snapshot: IdentitySnapshot) -> IdentitySnapshot:
    return replace(snapshot, issuers=tuple(replace(one, keys="") for one in snapshot.issuers))


def _digest(snapshot: IdentitySnapshot) -> str:
    """Return SHA-256 of whom is trusted, whenever it was fetched and however often it changed."""
    timeless = tuple(replace(one, fetched_s=None) for one in snapshot.issuers)
    return hashlib.sha256(msgspec.json.encode(replace(snapshot, version=0, issuers=timeless))).hexdigest()


def _kids(keys: str) -> set[str]:
    return {key["kid"] for key in json.loads(keys)["keys"]}


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
