"""The keys of days: made ahead, published by halves, destroyed when their days are over.

    <directory>/<tenant>/<id>/day.key    `DayKey` as JSON: the private half sealed under the key of the tenant
    <directory>/<tenant>/<id>/*.seg      segments that gateways wrote with the public half
    <directory>/<tenant>/index.key       what pseudonyms of end users are made with, sealed likewise

An id is `<day>-<days>-<random>`. Destroying `day.key` destroys what was sealed under it, wherever copies of the
segments are. Of a tenant's own key nothing but `TenantKeys` knows.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fastness.core.ids import is_name
from fastness.core.retention import SealingKey
from fastness.sealed.box import KEY_BYTES
from fastness.sealed.key_files import destroy_file, write_secret
from fastness.sealed.port import TenantKeys

DAYS_AHEAD: Final = 3
"""For so many days after today gateways have keys: so long control may be away."""
_FILE: Final = "day.key"
_INDEX: Final = "index.key"


class DayKey(msgspec.Struct, frozen=True):
    """The key of one day. `sealed` is the private half under the tenant's key; both halves in hex."""

    id: str
    day: int
    days: int
    public: str
    sealed: str


_DAY: Final = msgspec.json.Decoder(DayKey)


@dataclass(frozen=True, slots=True)
class Day:
    """A day whose key is there, and where its segments are."""

    tenant: str
    key: DayKey
    folder: Path


class Keyring:
    """The keys of all tenants' days below `directory`. Every method blocks, and may raise OSError, Damaged."""

    def __init__(self, directory: Path, tenants: TenantKeys, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self.directory = directory
        self._tenants = tenants
        self._entropy = entropy

    def tenants(self) -> list[str]:
        """Name the tenants of whom there is, or was, something here."""
        with suppress(FileNotFoundError):
            return sorted(path.name for path in self.directory.iterdir() if path.is_dir() and is_name(path.name))
        return []

    def days(self, tenant: str, since: int = 0) -> Iterator[Day]:
        """Read the days of a tenant, oldest first; what is half made or half destroyed is left out."""
        folder = self.directory / tenant
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name < f"{since:05d}":
                continue
            with suppress(FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
                yield Day(tenant, _DAY.decode((path / _FILE).read_bytes()), path)

    def day(self, tenant: str, key_id: str) -> Day | None:
        """Read one day; None where its key was destroyed, or never was."""
        return next((day for day in self.days(tenant, int(key_id[:5])) if day.key.id == key_id), None)

    def ensure(self, tenant: str, today: int, days: int) -> tuple[list[SealingKey], list[DayKey]]:
        """Return the public halves from today on for content kept so many days, and those keys that were just made."""
        known = {day.key.day: day.key for day in self.days(tenant, today) if day.key.days == days}
        made = [self._make(tenant, day, days) for day in range(today, today + DAYS_AHEAD + 1) if day not in known]
        known |= {key.day: key for key in made}
        index = self.index(tenant)
        return [
            SealingKey(known[day].id, tenant, day, days, known[day].public, index)
            for day in range(today, today + DAYS_AHEAD + 1)
        ], made

    def index(self, tenant: str) -> str:
        """Return what a tenant's pseudonyms are made with, in hex; it is made if there is none."""
        path = self.directory / tenant / _INDEX
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with suppress(FileExistsError):
                write_secret(path, self._tenants.seal(tenant, f"{tenant}/index", self._entropy(KEY_BYTES)))
        return self._tenants.open(tenant, f"{tenant}/index", path.read_bytes()).hex()

    def private(self, day: Day) -> X25519PrivateKey:
        """Open the private half of a day's key."""
        plain = self._tenants.open(day.tenant, f"{day.tenant}/{day.key.id}", bytes.fromhex(day.key.sealed))
        return X25519PrivateKey.from_private_bytes(plain)

    def destroy_day(self, day: Day) -> None:
        """Destroy the key of a day, then remove what nobody can open any more."""
        destroy_file(day.folder / _FILE)
        shutil.rmtree(day.folder, ignore_errors=True)

    def destroy_tenant(self, tenant: str) -> None:
        """Destroy all keys of a tenant, its own first, then remove what nobody can open any more."""
        self._tenants.destroy(tenant)
        destroy_file(self.directory / tenant / _INDEX)
        for day in self.days(tenant):
            self.destroy_day(day)
        shutil.rmtree(self.directory / tenant, ignore_errors=True)

    def _make(self, tenant: str, day: int, days: int) -> DayKey:
        private = X25519PrivateKey.generate()
        name = f"{day:05d}-{days}-{self._entropy(4).hex()}"
        plain = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        sealed = self._tenants.seal(tenant, f"{tenant}/{name}", plain)
        key = DayKey(name, day, days, public.hex(), sealed.hex())
        folder = self.directory / tenant / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_secret(folder / _FILE, msgspec.json.encode(key))
        return key


def is_over(key: DayKey, days_now: int, today: int) -> bool:
    """Tell whether what was sealed under a key is to be destroyed: `days_now` are those of the policy now, 0 for none.

    The days that it was sealed for count: to destroy it sooner takes two people. What was sealed under a hold (0 days)
    has the days of the policy now, and without any stays until somebody shreds it.
    """
    days = key.days or days_now
    return bool(days) and today > key.day + days
