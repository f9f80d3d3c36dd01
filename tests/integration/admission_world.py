"""Installations' admissions without their processes: the real store, policy and inspection, and a clock of our own."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit/registry/signing"))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit/registry/admission"))

from oms_authority import new_key, trust_key
from tiny_models import place, place_bert, tiny_gguf, wish

from fastness.config import RegistrySettings
from fastness.control.admission_words import ImportWish
from fastness.control.admissions import Admissions, Parts
from fastness.control.carriage import Carriage
from fastness.control.policies import Policies
from fastness.control.routes import LOCAL
from fastness.core.admission import ArtefactKind
from fastness.core.error import Refusal
from fastness.core.marking import Label
from fastness.core.tenant import Principal
from fastness.ledger.memory import MemoryLedger
from fastness.policy.bundle import shipped_bundle
from fastness.policy.cedar import CedarEngine
from fastness.policy.profile import shipped_profile
from fastness.registry.inspection.direct import DirectInspector
from fastness.registry.library import ModelLibrary
from fastness.store.admissions import SqlAdmissionStore
from fastness.store.database import Database, sqlite_url
from fastness.store.policies import SqlPolicyStore

__all__ = ["new_key", "place", "place_bert", "tiny_gguf", "trust_key", "wish"]
engine_of = functools.lru_cache(maxsize=4)(CedarEngine)
NOW_S = 1_795_348_800.0
SECRET = Label("SECRET")


def approver(name, clearance=SECRET):
    return Principal(name, "security", frozenset({"approver"}), clearance=clearance, tenant_clearance=clearance)


ANN, BEN = approver("key_ann"), approver("key_ben")


class World:
    """One installation's admissions, without its processes."""

    def __init__(self, home, runner):
        self.home, self._runner, self.now_s = home, runner, NOW_S
        (home / "secrets").mkdir(parents=True)
        self.database = Database.open(sqlite_url(home / "fastness.db"))
        self.ledger = MemoryLedger("control")
        self.library = ModelLibrary(home, {})
        self.policies = Policies(
            SqlPolicyStore(self.database),
            self.ledger,
            None,
            lambda: shipped_bundle(shipped_profile("uk")),
            self.clock,
            engine_of,
        )
        self.run(self.policies.publish())
        self.build()

    def build(self, **settings):
        """Commands as a newly started process would have them."""
        bounds = replace(RegistrySettings(), **settings)
        self.admissions = Admissions(
            Parts(
                self.home, bounds, SqlAdmissionStore(self.database), self.ledger, self.policies, self.library,
                DirectInspector(bounds), self.clock,
            )
        )  # fmt: skip
        self.carriage = Carriage(self.admissions)

    def clock(self):
        return self.now_s

    def run(self, work):
        return self._runner.run(work)

    def take_in(self, path, name="tiny", by=LOCAL, kind=ArtefactKind.MODEL, **changes):
        wish = ImportWish(path, name, kind, "MIT", "a test", **changes)
        return self.run(self.admissions.take_in(wish, by))[0]

    def admit(self, ceiling="OFFICIAL", by=LOCAL, name="tiny"):
        return self.run(self.admissions.approve(name, ceiling, by)).admission

    def send(self, output, *names, lifetime_s=86_400, as_file=True, policy=False):
        work = self.carriage.send(output, names, LOCAL, as_file=as_file, policy=policy, lifetime_s=lifetime_s)
        return self.run(work)

    def take(self, bundle):
        return self.run(self.carriage.take(bundle, LOCAL, None))

    def events(self):
        return [entry.type for entry in self.ledger.entries() if entry.type != "policy.applied"]

    def served(self, name="tiny"):
        return self.library.ensure(name, lambda *_: None)


@contextmanager
def worlds_in(root: Path) -> Iterator[object]:
    """A maker of installations below `root`, which all end with the block."""
    made = []
    with asyncio.Runner() as runner:

        def make(name):
            made.append(World(root / name, runner))
            return made[-1]

        yield make
        for one in made:
            one.database.close()


def problem(call, *given, **named):
    with pytest.raises(Refusal) as refused:
        call(*given, **named)
    return refused.value
