"""An installation of its own for each test: a home, the real store, ledger and management API, and a command line."""

import functools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
import typer
import uvicorn
from typer.testing import CliRunner

from fastness.cli.app import build_app
from fastness.cli.composition import Composition
from fastness.config import load, run_directory
from fastness.control.access import Access
from fastness.control.api import ControlDeps
from fastness.control.api import build_app as build_api
from fastness.control.declaration import chosen_profile, declare
from fastness.control.failures import Silence
from fastness.control.fleet_log import FleetLog
from fastness.control.policies import Policies
from fastness.core.joined_host import JoinedHost
from fastness.core.replica import RoutingSnapshot
from fastness.identity.authenticator import Authenticator
from fastness.ledger.file import FileLedger
from fastness.ledger.log_key import LogKey
from fastness.ledger.notary import Signing
from fastness.main.cluster import cluster_routes
from fastness.main.fleet import FleetControl
from fastness.main.limits import limits
from fastness.main.proofs import evidence_routes
from fastness.main.retention import retention
from fastness.policy.bundle import shipped_bundle
from fastness.policy.cedar import CedarEngine
from fastness.store.database import sqlite_url
from fastness.store.policies import SqlPolicyStore
from fastness.store.snapshot_file import write_snapshot
from fastness.store.sql import SqlStore

SUPERVISOR = """\
import signal, sys
{preparation}
print("ready", flush=True)
signal.sigwait({{signal.SIGTERM}} if {ends} else {{signal.SIGUSR1}})
"""


engine_of = functools.lru_cache(maxsize=64)(CedarEngine)


class Tried:
    """What verbs are given: the composition of the installation that is tried now.

    So one command line does for all tests; making it anew takes longer than most of them.
    """

    composition = None

    def __getattr__(self, name):
        return getattr(self.composition, name)


TRIED = Tried()
APP = build_app(TRIED)
COMMAND = typer.main.get_command(APP)


@pytest.fixture(autouse=True, scope="session")
def _one_command_line():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", lambda app: COMMAND)
        yield


class World:
    """One installation, and `fastness` run on it."""

    def __init__(self, root):
        self.root = root
        self.home = root / "home"
        for name in ("logs", "ledger"):
            (self.home / name).mkdir(parents=True)
        self.environ = {"FASTNESS_HOME": str(self.home)}
        self.settings = load(self.environ)[0]
        self.run_directory = run_directory(self.home, os.getuid())
        self.run_directory.mkdir(mode=0o700)
        self.facts = []
        self.started = []
        self.admitted = ()
        self.fleet = None
        self.run_up = lambda settings, progress, unsealed: 0
        self.composition = Composition(
            environ=self.environ,
            load_settings=self.load_settings,
            run_up=lambda *given: self.run_up(*given),
            run_node=lambda settings, progress, unsealed, joined: self.started.append("node") or 0,
            run_gateway=lambda settings: self.started.append("gateway") or 0,
            run_control=lambda settings: self.started.append("control") or 0,
            run_door=lambda settings: self.started.append("door") or 0,
            local_api=self.local_api,
            machine_facts=lambda settings: self.facts,
        )
        self.app = APP

    def load_settings(self, flags, config=None):
        named = {} if config is None else {"FASTNESS_CONFIG": str(config)}
        return load(self.environ | named, flags)

    def loadable(self):
        """What may be deployed, as ModelLibrary says it."""
        return self.admitted

    def local_api(self, settings):
        return build_api(self.deps())

    def deps(self):
        signing = Signing(LogKey(bytes(32), bytes(32)), "health.example")
        settings, directory = self.settings.ledger, self.home / "ledger/control"
        ledger = FileLedger.open(directory, "control", settings, lambda: time.time_ns() // 1_000_000, signing=signing)
        store = SqlStore.open(sqlite_url(self.home / "fastness.db"))
        policies = Policies(
            SqlPolicyStore(store.database),
            ledger,
            self.run_directory / "policy.json",
            lambda: shipped_bundle(chosen_profile(self.settings)),
            time.time,
            engine_of,
        )
        access = Access(store, ledger, self.run_directory / "access.json", b"p" * 32, time.time, os.urandom)
        decided = FleetLog.open(self.home / "ledger/control", ledger, lambda: time.time_ns() // 1_000_000)
        fleet = FleetControl(
            self.settings,
            self.run_directory,
            decided,
            store.database,
            access,
            policies,
            self,
            self.fleet,
            lambda card, parameters, devices: 1_700_000_000 // devices,
        )
        if self.fleet is not None:
            self.fleet.log = decided
        hosts = cluster_routes(self.settings, ledger, policies)
        limited = limits(self.home, store, access, ledger, Silence())[0]
        run, explained = self.run_directory, load(self.environ)[1]
        kept = retention(self.settings, run, store.database, ledger, access, policies, Silence())[0]
        evidence = evidence_routes(self.home, store.database, ledger, explained)
        return ControlDeps(
            extra_routes=(*limited, *fleet.routes, *hosts, *kept, *evidence),
            companions=() if self.fleet is None else (self.fleet.serve,),
            policies=policies,
            authenticator=Authenticator(b"p" * 32),
            declared=lambda lattice: declare(self.settings, lattice).served(self.admitted),
            admitted=lambda: self.admitted,
            access=access,
            run_directory=self.run_directory,
            logs_directory=self.home / "logs",
            ledger_directory=self.home / "ledger",
            settings=self.load_settings({})[1],
            version="0.0.0",
            clock=time.time,
            entropy=os.urandom,
        )

    def __call__(self, *words, stdin=None):
        """Run `fastness` with these words; returns the result with exit_code, stdout and stderr."""
        TRIED.composition = self.composition
        result = CliRunner().invoke(self.app, [str(word) for word in words], input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def ok(self, *words, stdin=None):
        """Run `fastness` where it must succeed; returns stdout."""
        result = self(*words, stdin=stdin)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    def document(self, *words):
        """Run `fastness … --json` where it must succeed; returns the one JSON document."""
        out = self.ok(*words, "--json")
        assert out.count("\n") == 1, "one document on one line"
        return json.loads(out)

    @contextmanager
    def control(self):
        """Answer the management API on the control socket while the block runs."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.run_directory / "control.sock"))
        config = uvicorn.Config(build_api(self.deps()), log_config=None, ws="none", lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started)
            yield
        finally:
            server.should_exit = True
            thread.join()
            listener.close()
            (self.run_directory / "control.sock").unlink(missing_ok=True)

    @contextmanager
    def supervisor(self, base_url="http://127.0.0.1:9/v1", ends=True):
        """Run a process that looks like `fastness up`, with its fastness.json; with `ends` False it ignores SIGTERM."""
        with self._process(["up"], "fastness.json", ends) as process:
            written = {"pid": process.pid, "base_url": base_url, "started_s": time.time()}
            (self.run_directory / "fastness.json").write_text(json.dumps(written))
            yield process

    @contextmanager
    def joined(self, ends=True, **said):
        """Run a process that looks like `fastness node join`, with what it says of its host."""
        said = {"node": "bristol-07", "head": "head-01", "leased": True, "way": "ray"} | said
        with self._process(["node", "join"], "host.json", ends) as process:
            write_snapshot(self.run_directory / "host.json", JoinedHost(process.pid, **said))
            yield process

    @contextmanager
    def _process(self, words, file, ends):
        script = self.root / "fastness"
        ignoring = "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})"
        script.write_text(SUPERVISOR.format(preparation=ignoring, ends=ends))
        with subprocess.Popen([sys.executable, str(script), *words], stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout.readline() == b"ready\n"
                yield process
            finally:
                process.kill()
                (self.run_directory / file).unlink(missing_ok=True)

    def route(self, models=(), replicas=()):
        """Write routing.json as the supervisor would."""
        write_snapshot(self.run_directory / "routing.json", RoutingSnapshot(1, tuple(models), tuple(replicas)))


def until(true, deadline_s=60.0):
    """Wait until `true()` is."""
    deadline = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.01)


@pytest.fixture
def fastness(tmp_path):
    return World(tmp_path)
