"""A sealed store in a directory, with a day that a test can turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fastness.core.retention import DAY_S, SealingSnapshot
from fastness.sealed.key_files import KeyFiles
from fastness.sealed.keyring import Keyring
from fastness.sealed.port import Kept
from fastness.sealed.safe import Safe
from fastness.sealed.writer import Sealer

TENANT = "health"
TODAY = 20_000
BODY = b'{"model":"m","user":"citizen-7","messages":[{"role":"user","content":"plainly-the-question"}]}'
ANSWER = b'{"choices":[{"message":{"content":"plainly-the-answer"}}]}'


@dataclass
class Store:
    home: Path
    today: int = TODAY
    keyring: Keyring = field(init=False)
    safe: Safe = field(init=False)
    segment_bytes_max: int = 1_000_000
    later_s: float = 0.0

    def __post_init__(self) -> None:
        self.keyring = Keyring(self.home / "sealed", KeyFiles(self.home / "secrets/tenants"))
        self.safe = Safe(self.keyring)

    def now_s(self) -> float:
        return self.today * DAY_S + 3_600.0 + self.later_s

    def sealer(self, *tenants: str, days: int = 30) -> Sealer:
        keys = [key for tenant in tenants or (TENANT,) for key in self.keyring.ensure(tenant, self.today, days)[0]]
        made = Sealer(self.home / "sealed", "gateway-0", 10_000_000, self.segment_bytes_max, self.now_s)
        made.replace(SealingSnapshot(tuple(keys)))
        return made

    def files(self) -> list[Path]:
        return [path for path in self.home.rglob("*") if path.is_file()]


def kept(
    number: int, *, tenant: str = TENANT, body: bytes = BODY, time_ms: int | None = None, key: str = "key_1"
) -> Kept:
    at_ms = TODAY * DAY_S * 1_000 + number if time_ms is None else time_ms
    salts = {"request": "aa" * 32}
    request_id = f"req_{number:04d}"
    said = b"[]", salts, number.to_bytes(32)
    return Kept(tenant, request_id, at_ms, key, "OFFICIAL", "p" * 64, "chat", "m", body, ANSWER, True, *said)
