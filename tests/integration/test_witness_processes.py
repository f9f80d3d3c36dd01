"""Witnesses as processes: away and back, killed at any moment, and shown a fork."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fastness.config import LedgerSettings
from fastness.control.witnessing import Places, Witnessing
from fastness.core.event import Event, EventType
from fastness.core.witnessed import WitnessSnapshot
from fastness.ledger.checkpoint import parse_checkpoint
from fastness.ledger.file import FileLedger
from fastness.ledger.log_key import LogKey
from fastness.ledger.notary import Signing
from fastness.ledger.note import parse_note
from fastness.ledger.signing import verify_note
from fastness.ledger.witness.policy import WitnessPolicy, read_policy
from fastness.ledger.witness.state import WitnessState
from fastness.store.snapshot_file import SnapshotReader

pytestmark = pytest.mark.slow
FASTNESS = Path(sys.executable).with_name("fastness")
SIGNING = Signing(LogKey(bytes(32), bytes([1]) * 32), "town.example", interval_s=0.01)
KEY = SIGNING.key.signers("town.example/gateway-0")[0].verifier


@dataclass
class Recorded:
    events: list[tuple[str, str, str]] = field(default_factory=list)

    def record(self, level: str, event: str, **fields: Any) -> None:
        self.events.append((event, str(fields.get("where")), str(fields.get("reason"))))


@dataclass
class Process:
    directory: Path
    name: str
    port: int = 0
    process: subprocess.Popen[str] | None = None

    def init(self) -> str:
        (self.directory.parent / "logs.txt").write_text(f"log {KEY}\nquorum none\n")
        logs = self.directory.parent / "logs.txt"
        argv = [
            FASTNESS,
            "witness",
            "init",
            self.directory,
            "--name",
            f"{self.name}.example/w",
            "--logs",
            logs,
            "--json",
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        return str(json.loads(done.stdout)["key"])

    def start(self) -> None:
        argv = [FASTNESS, "witness", "serve", self.directory, "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        line = self.process.stdout.readline()
        self.port = int(line.split("127.0.0.1:")[1].split()[0])

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process and self.process.stdout
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self.process.stdout.close()
        self.process = None
        return code


async def post(url: str, body: bytes) -> tuple[int, bytes]:
    return await asyncio.to_thread(_post, url, body)


def _post(url: str, body: bytes) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@contextmanager
def witnesses(folder: Path, *names: str) -> Iterator[tuple[list[Process], list[str]]]:
    """Three processes and the lines of a policy that name them."""
    processes = [Process(folder / name, name) for name in names]
    try:
        keys = [one.init() for one in processes]
        for one in processes:
            one.start()
        lines = [
            f"witness {one.name} {key} http://127.0.0.1:{one.port}" for one, key in zip(processes, keys, strict=True)
        ]
        yield processes, lines
    finally:
        for one in processes:
            if one.process is not None:
                one.end()


def record(home: Path, count: int, salt: str = "") -> None:
    async def write() -> None:
        directory = home / "ledger/gateway-0"
        ledger = FileLedger.open(directory, "gateway-0", LedgerSettings(), lambda: 1, signing=SIGNING)
        for number in range(count):
            await ledger.commit(Event(EventType.INFERENCE_REFUSED, 1, {"request_id": f"req_{salt}{number}"}))
        await ledger.close()

    asyncio.run(write())


def rounds(home: Path, policy: WitnessPolicy, log: Recorded) -> Witnessing:
    places = Places(home / "ledger", home / "cosigned", home / "witnessed.json")
    return Witnessing(policy, places, post, (OSError,), 1.0, time.time, log)


def cosigned(home: Path, policy: WitnessPolicy, name: str = "gateway-0") -> tuple[int, int]:
    """The size that is cosigned, and by how many."""
    note = parse_note((home / "cosigned" / name).read_bytes())
    signed = verify_note(note, [one.key for one in policy.witnesses.values()])
    return parse_checkpoint(note.text).size, len(signed)


def test_two_of_three_go_on_while_one_is_away_and_with_one_alone_there_is_no_quorum(tmp_path: Path) -> None:
    with witnesses(tmp_path, "audit", "health", "archive") as (processes, lines):
        policy = read_policy("\n".join([*lines, "group g 2 audit health archive", "quorum g"]).encode())
        log, home = Recorded(), tmp_path / "home"
        going, seen = rounds(home, policy, log), SnapshotReader(home / "witnessed.json", WitnessSnapshot)
        record(home, 5)
        asyncio.run(going.round())
        assert cosigned(home, policy) == (5, 3)
        assert processes[0].end(signal.SIGKILL) == -signal.SIGKILL
        record(home, 5)
        asyncio.run(going.round())
        assert cosigned(home, policy) == (10, 2)
        processes[1].end()
        record(home, 5)
        asyncio.run(going.round())
        assert cosigned(home, policy) == (10, 2)
        assert cosigned(home, policy, "gateway-0.partial") == (15, 1)
        snapshot = seen.poll()
        assert snapshot and [(one.log, one.size) for one in snapshot.logs] == [("gateway-0", 10)]
        assert [one[0] for one in log.events] == ["witness.away"] * 2
        processes[0].start()
        asyncio.run(going.round())
        assert cosigned(home, policy) == (15, 2)
        assert log.events[-1][0] == "witness.cosigns"


def test_a_log_that_was_rewritten_gets_no_cosignature_and_the_evidence_is_kept(tmp_path: Path) -> None:
    with witnesses(tmp_path, "audit") as (processes, lines):
        policy = read_policy("\n".join([*lines, "quorum audit"]).encode())
        log, home, other = Recorded(), tmp_path / "home", tmp_path / "other"
        record(home, 9)
        asyncio.run(rounds(home, policy, log).round())
        for count, event in ((9, "a tree of the same size"), (12, "a longer one"), (4, "a shorter one")):
            record(other, count, salt="forged")
            asyncio.run(rounds(other, policy, log).round())
            assert log.events[-1][0] == "witness.disputes", event
            assert not (other / "cosigned").exists()
            subprocess.run(["rm", "-r", other / "ledger"], check=True)
        record(home, 3)
        asyncio.run(rounds(home, policy, log).round())
        assert cosigned(home, policy) == (12, 1)
        assert len(list((processes[0].directory / "forks").iterdir())) == 1


def test_whenever_it_is_killed_a_witness_never_signs_two_histories(tmp_path: Path) -> None:
    """What was answered was durable: after each kill it has seen at least what it last signed."""
    with witnesses(tmp_path, "audit") as (processes, lines):
        policy, home = read_policy("\n".join([*lines, "quorum audit"]).encode()), tmp_path / "home"
        going, signed = rounds(home, policy, Recorded()), 0
        for number in range(7):
            record(home, 3)

            async def submit_and_kill(delay_s: float = number * 0.002) -> None:
                task = asyncio.create_task(going.round())
                await asyncio.sleep(delay_s)
                process = processes[0].process
                assert process
                os.kill(process.pid, signal.SIGKILL)
                await task

            asyncio.run(submit_and_kill())
            processes[0].end(signal.SIGKILL)
            if (home / "cosigned/gateway-0").exists():
                signed, count = cosigned(home, policy)
                assert count == 1
            processes[0].start()
            state = WitnessState(processes[0].directory, exclusive=False)
            seen = state.seen("town.example/gateway-0")
            state.close()
            assert (seen[0].size if seen else 0) >= signed
        asyncio.run(going.round())
        assert cosigned(home, policy) == (21, 1)


def test_strangers_and_floods_are_bounded(tmp_path: Path) -> None:
    import socket

    with witnesses(tmp_path, "audit") as (processes, _):
        address = ("127.0.0.1", processes[0].port)
        base = f"http://127.0.0.1:{processes[0].port}"
        assert _post(f"{base}/add-checkpoint", b"nonsense")[0] == 400
        assert _post(f"{base}/elsewhere", b"")[0] == 404
        assert _post(f"{base}/add-checkpoint", b"x" * 200_000)[0] == 413
        idle = [socket.create_connection(address, timeout=5) for _ in range(60)]
        try:
            closed = 0
            for one in idle:
                one.settimeout(0.2)
                try:
                    closed += one.recv(1) == b""
                except TimeoutError:
                    pass
                except ConnectionError:
                    closed += 1
            assert closed >= 60 - 32
        finally:
            for one in idle:
                one.close()
