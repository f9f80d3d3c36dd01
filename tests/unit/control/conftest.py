"""A control plane of its own for each test: a store, a ledger, a run directory, a clock that only tests move."""

import asyncio
import functools
import itertools
import sys
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from fastness.config import load
from fastness.control.access import Access
from fastness.control.api import ControlDeps, build_app
from fastness.control.policies import Policies
from fastness.core.policy import PolicySnapshot
from fastness.core.tenant import AccessSnapshot
from fastness.identity.authenticator import Authenticator
from fastness.ledger.memory import MemoryLedger
from fastness.policy.bundle import shipped_bundle
from fastness.policy.cedar import CedarEngine
from fastness.policy.profile import shipped_profile
from fastness.store.memory import MemoryPolicyStore, MemoryStore
from fastness.store.snapshot_file import SnapshotReader

sys.path.append(str(Path(__file__).parents[1] / "identity"))  # clusters for tests are there

PEPPER = b"p" * 32
BEGIN_S = 1_800_000_000.0
engine_of = functools.lru_cache(maxsize=64)(CedarEngine)
"""Engines are immutable: one for each policy of the tests, not for each world."""


@functools.cache
def shipped():
    return shipped_bundle(shipped_profile("uk"))


@dataclass
class Clock:
    now_s: float = BEGIN_S

    def __call__(self) -> float:
        return self.now_s


@dataclass
class ListLog:
    records: list = field(default_factory=list)

    def record(self, level, event, **fields):
        self.records.append((level, event, fields))

    def flush(self):
        pass


class World:
    """One installation's control plane, with a loop to run it on and a client to ask it."""

    def __init__(self, root: Path, runner: asyncio.Runner) -> None:
        self.root = root
        self.run_directory = root / "run"
        self.run_directory.mkdir()
        self.clock, self.log = Clock(), ListLog()
        self.store, self.ledger = MemoryStore(), MemoryLedger("control")
        self.policy_store = MemoryPolicyStore()
        self._counter = itertools.count(1)
        self._runner = runner
        self.access = self.new_access()
        self.policies = self.new_policies()
        self.run(self.policies.publish())
        self.ledger_begins = len(self.ledger.entries())
        self.deps = ControlDeps(
            access=self.access,
            policies=self.policies,
            authenticator=Authenticator(PEPPER),
            run_directory=self.run_directory,
            logs_directory=root / "logs",
            ledger_directory=root / "ledger",
            settings=load({"FASTNESS_HOME": str(root)})[1],
            version="0.0.0",
            clock=self.clock,
            entropy=self.entropy,
            log=self.log,
        )
        self.app = build_app(self.deps)

    def new_access(self, store=None) -> Access:
        """Commands as another process on the same state would run them."""
        return Access(store or self.store, self.ledger, self.published_path, PEPPER, self.clock, self.entropy)

    def new_policies(self, store=None, first=shipped) -> Policies:
        """Policies as another process on the same state would hold them."""
        return Policies(store or self.policy_store, self.ledger, self.policy_path, first, self.clock, engine_of)

    @property
    def policy_path(self) -> Path:
        return self.run_directory / "policy.json"

    def published_policy(self) -> PolicySnapshot:
        return SnapshotReader(self.policy_path, PolicySnapshot).poll()

    @property
    def published_path(self) -> Path:
        return self.run_directory / "access.json"

    def published(self) -> AccessSnapshot:
        return SnapshotReader(self.published_path, AccessSnapshot).poll()

    def entropy(self, size: int) -> bytes:
        """Different at each call, and the same in each run."""
        return next(self._counter).to_bytes(size, "big")

    def run(self, work):
        return self._runner.run(work)

    def events(self) -> list[tuple[str, dict]]:
        """What was recorded since the first policy was applied."""
        return [(entry.type, entry.fields) for entry in self.ledger.entries()][self.ledger_begins :]

    def ask(self, method: str, path: str, **request) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
                return await client.request(method, f"/api/v1{path}", **request)

        return self.run(one())

    def get(self, path: str, **query):
        response = self.ask("GET", path, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, body=None, **request):
        response = self.ask("POST", path, json=body, **request)
        assert response.is_success, response.text
        return response.json()


@pytest.fixture
def world(tmp_path):
    with asyncio.Runner() as runner:
        yield World(tmp_path, runner)
