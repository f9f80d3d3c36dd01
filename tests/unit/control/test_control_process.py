"""The control process on its real socket: who may open it, how it ends, and how fast a revocation is known."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from importlib import resources
from pathlib import Path

import httpx
import pytest

from fastness.core.error import Refusal
from fastness.core.policy import PolicySnapshot
from fastness.core.tenant import AccessSnapshot
from fastness.identity.authenticator import Authenticator
from fastness.ledger.verify import find, tail
from fastness.store.snapshot_file import SnapshotReader

PROGRAM = """
import os, sys, time
from pathlib import Path
import uvloop
from fastness.config import LedgerSettings, load
from fastness.control.access import Access
from fastness.control.api import ControlDeps
from fastness.control.policies import Policies
from fastness.control.process import serve
from fastness.identity.authenticator import Authenticator
from fastness.identity.pepper import load_or_create
from fastness.ledger.file import FileLedger
from fastness.policy.bundle import shipped_bundle
from fastness.policy.profile import shipped_profile
from fastness.store.database import sqlite_url
from fastness.store.policies import SqlPolicyStore
from fastness.store.sql import SqlStore

home = Path(sys.argv[1])
run = home / "run"
ledger = FileLedger.open(home / "ledger" / "control", "control", LedgerSettings(), lambda: int(time.time() * 1000))
store = SqlStore.open(sqlite_url(home / "fastness.db"))
pepper = load_or_create(home / "secrets" / "pepper")
access = Access(store, ledger, run / "access.json", pepper, time.time, os.urandom)
settings = load({"FASTNESS_HOME": str(home)})[1]
policies = Policies(
    SqlPolicyStore(store.database),
    ledger,
    run / "policy.json",
    lambda: shipped_bundle(shipped_profile("uk")),
    time.time,
)
deps = ControlDeps(
    access, policies, Authenticator(pepper), run, home / "logs", home / "ledger", settings, "0", time.time, os.urandom
)
uvloop.run(serve(deps, run / "control.sock"))
print("ended in order", flush=True)
"""
START_TIMEOUT_S = 30.0
UK_TOML = (resources.files("fastness.policy") / "profiles/uk.toml").read_text()


class Control:
    """A control process, and a client on its socket."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = home / "run" / "control.sock"
        (home / "run").mkdir(mode=0o700, exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, str(home)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.socket)), base_url="http://control/api/v1"
        )

    def wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        said, complained = self.process.communicate(timeout=20)
        return self.process.returncode, said, complained

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def home(tmp_path):
    return tmp_path


@pytest.fixture
def start(home):
    started = []

    def begin() -> Control:
        started.append(Control(home))
        started[-1].wait()
        return started[-1]

    yield begin
    for control in started:
        control.close()


@pytest.mark.slow
def test_the_life_of_a_control_process(start, home):
    """One process for several facts, because starting it costs most of a second."""
    control = start()
    assert control.socket.stat().st_mode & 0o777 == 0o600, "the file's permission is the authentication"

    admin_key = control.client.post("/keys/first-admin").json()["key"]
    gateway = Authenticator((home / "secrets" / "pepper").read_bytes())
    reader = SnapshotReader(home / "run" / "access.json", AccessSnapshot)
    gateway.replace(reader.poll())
    principal = gateway.authenticate(f"Bearer {admin_key}", time.time())

    revoked = control.client.post(f"/keys/{principal.id}/revoke")
    assert revoked.json()["state"] == "revoked"
    gateway.replace(reader.poll())  # the very next poll after the answer knows
    with pytest.raises(Refusal, match="revoked"):
        gateway.authenticate(f"Bearer {admin_key}", time.time())

    second = Control(home)
    code, said, complained = second.process.wait(timeout=30), *second.process.communicate()
    second.close()
    assert code != 0
    assert "written by another process" in complained
    assert "ended in order" not in said

    snapshots = [home / "run" / name for name in ("policy.json", "access.json")]
    for path in snapshots:
        path.unlink()
    deadline = time.monotonic() + 60
    while not all(path.exists() for path in snapshots):
        assert time.monotonic() < deadline, "what is gone is published again"
        time.sleep(0.02)

    assert control.client.get("/nowhere").json()["code"] == "route_not_found"
    code, said, complained = control.end()
    assert (code, said, complained) == (0, "ended in order\n", "")
    assert not control.socket.exists()
    assert [entry.type for entry in tail(home / "ledger" / "control", 9)] == [
        "boot", "policy.applied", "tenant.created", "key.issued", "key.revoked", "stopped",
    ]  # fmt: skip
    database = (home / "fastness.db").read_bytes()
    assert admin_key.encode() not in database
    assert admin_key[16:40].encode() not in database


@pytest.mark.slow
def test_a_killed_control_process_leaves_a_socket_that_the_next_one_replaces(start, home):
    control = start()
    control.client.post("/tenants", json={"id": "health"})
    code, _, _ = control.end(signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert control.socket.exists()
    (home / "run" / "access.json").write_text("torn")
    again = start()
    published = SnapshotReader(home / "run" / "access.json", AccessSnapshot).poll()
    assert [tenant.id for tenant in published.tenants] == ["health"], "the new one publishes at start"
    assert again.end(signal.SIGINT)[0] == 0


@pytest.mark.slow
def test_a_socket_that_answers_is_left_to_its_owner(home):
    (home / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as owner:
        owner.bind(str(home / "run" / "control.sock"))
        owner.listen()
        control = Control(home)
        complained = control.process.communicate(timeout=30)[1]
        control.close()
    assert "Another control process answers" in complained
    assert os.path.exists(home / "run" / "control.sock")


# The client library leaves a socket to the collector when its peer is killed while it connects.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.slow
def test_no_key_works_without_its_entry_however_often_control_is_killed(start, home):
    """Killed at five moments while keys are issued: each answer is remembered, and each key remembered is recorded."""
    answered: set[str] = set()
    for kill_after_s in (0.0, 0.03, 0.07, 0.15, 0.3):
        control = start()
        control.client.post("/keys/first-admin")
        timer = threading.Timer(kill_after_s, control.process.kill)
        timer.start()
        with suppress(httpx.TransportError):
            while True:
                answered.add(control.client.post("/keys", json={"tenant": "default", "name": "ci"}).json()["id"])
        timer.join()
        control.process.wait(timeout=20)

    control = start()
    listed = {key["id"] for key in control.client.get("/keys").json()["keys"]}
    published = SnapshotReader(home / "run" / "access.json", AccessSnapshot).poll()
    assert control.client.get("/ledger/verify").json()["sound"]
    assert control.end()[0] == 0
    recorded = {entry.fields["key"] for entry in find(home / "ledger" / "control", type="key.issued")}
    assert answered
    assert answered <= listed <= recorded
    assert {key.id for key in published.keys} == listed


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.slow
def test_no_policy_is_in_force_without_its_entry_however_often_control_is_killed(start, home):
    """Killed at four moments while policies are changed: what gateways are told is recorded, and is what is stored."""
    rule = '@id("night/1") forbid (principal in Role::"auditor", action == Action::"read", resource);'
    reader = SnapshotReader(home / "run" / "policy.json", PolicySnapshot)
    answered, seen = 0, set()
    for kill_after_s in (0.02, 0.06, 0.13, 0.3):
        control = start()
        shown = control.client.get("/policy").json()
        if shown["version"] == 1:
            texts = {one["name"]: one["text"] for one in shown["policies"]} | {"night.cedar": rule}
            given = {"profile": UK_TOML, "policies": texts}
            assert control.client.post("/policy/apply", json=given).json()["version"] == 2
        timer = threading.Timer(kill_after_s, control.process.kill)
        timer.start()
        with suppress(httpx.TransportError):
            while True:
                for version in (1, 2):
                    answered = max(
                        answered, control.client.post("/policy/apply", json={"version": version}).json()["version"]
                    )
        timer.join()
        control.process.wait(timeout=20)
        published = reader.poll()
        if published is not None:
            seen.add((published.version, published.bundle.digest))

    control = start()
    stored = control.client.get("/policy").json()
    assert control.client.get("/ledger/verify").json()["sound"]
    assert control.end()[0] == 0
    entries = list(find(home / "ledger" / "control", type="policy.applied"))
    recorded = {(entry.fields["version"], entry.fields["policy"]) for entry in entries}
    assert answered > 2
    assert stored["version"] >= answered, "what was answered is remembered"
    assert seen | {(stored["version"], stored["digest"])} <= recorded
