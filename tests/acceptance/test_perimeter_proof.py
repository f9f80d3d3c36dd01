"""The proof as an accreditor meets it: it holds, it catches a leak, nobody can change it, and it stands alone."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.perimeter.kinds import KINDS
from installation import FASTNESS, Installation, start, stop
from killing import child, forget

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
OUTCOME = {"probes_total", "probes_allowed", "packets_total", "packets_outside", "holds", "report", "report_sha256"}


def fastness(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FASTNESS")}
    return subprocess.run(
        [FASTNESS, *words],
        capture_output=True,
        text=True,
        env=environ | {"FASTNESS_HOME": str(home)},
        timeout=300,
        check=False,
    )


def prove(home: Path, report: Path, *words: str) -> tuple[int, dict[str, object]]:
    done = fastness(home, "perimeter", "prove", "--json", "--output", str(report), *words)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A home in which nothing runs, and its clean proof."""
    home = tmp_path_factory.mktemp("proved")
    code, said = prove(home, home / "report.json")
    assert code == 0, said
    return home, said


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    one = start(tmp_path_factory.mktemp("running"), environ={"FASTNESS__ENGINE__THREADS": "1"})
    try:
        yield one
        assert stop(one) == 0
    finally:
        forget(one.home)


def test_a_clean_installation_proves_that_nothing_leaves(proved: tuple[Path, dict[str, object]]) -> None:
    home, said = proved
    assert set(said) > OUTCOME
    assert said["holds"] is True
    assert (said["probes_allowed"], said["packets_outside"], said["steps_failed"]) == (0, 0, 0)
    assert int(str(said["probes_total"])) > 250
    assert int(str(said["packets_total"])) > 100
    content = (home / "report.json").read_bytes()
    assert said["report_sha256"] == hashlib.sha256(content).hexdigest()
    body = json.loads(content)["body"]
    assert [kind["kind"] for kind in body["kinds"]] == list(KINDS)
    assert {"chat", "stream", "tools", "cancel", "engine killed", "ledger"} <= {step["name"] for step in body["steps"]}
    found = fastness(home, "ledger", "find", "--type", "perimeter.proved", "--json")
    (entry,) = json.loads(found.stdout)["entries"]
    assert entry["fields"]["report_sha256"] == said["report_sha256"]
    assert entry["fields"]["holds"] is True


def test_a_planted_leak_is_caught_and_fails_the_proof(tmp_path: Path) -> None:
    code, said = prove(tmp_path, tmp_path / "report.json", "--plant-leak")
    assert code == 1
    assert (said["holds"], said["packets_outside"], said["probes_allowed"]) == (False, 2, 0)
    done = fastness(tmp_path, "perimeter", "verify", str(tmp_path / "report.json"))
    assert done.returncode == 1
    for line in (
        r"failed +2 of [\d,]+ captured packets left the perimeter",
        r"failed +a packet left: udp to 192\.0\.2\.1 port 53",
        r"failed +a packet left: tcp to 192\.0\.2\.1 port 443",
        r"THE PROOF DOES NOT HOLD",
    ):
        assert re.search(line, done.stdout), done.stdout


def test_a_report_is_verified_in_an_empty_directory_with_no_home(
    proved: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    for name in ("report.json", "signing.pub"):
        (tmp_path / name).write_bytes((proved[0] / name).read_bytes())
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    verify = [str(FASTNESS), "perimeter", "verify", "report.json"]
    before = sorted(path.name for path in tmp_path.iterdir())
    done = subprocess.run(
        [*verify, "--key", "signing.pub"], capture_output=True, text=True, cwd=tmp_path, env=environ, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"proved +0 of \d+ probes passed", done.stdout)
    assert re.search(r"proved +0 of \d+ captured packets left the perimeter", done.stdout)
    assert re.search(r"unknown +hardware attestation", done.stdout)
    assert "nothing left the perimeter" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == before, "nothing is made where it is verified"
    alone = subprocess.run([*verify, "--json"], capture_output=True, text=True, cwd=tmp_path, env=environ, check=False)
    said = json.loads(alone.stdout)
    assert said["holds"] is True
    assert said["signer"].startswith("sha256:")
    assert any(line["claim"] == "unknown" and "signing.pub" in line["text"] for line in said["lines"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"refused":true', b'"refused":false'),
        (b'"packets_outside":0', b'"packets_outside":1'),
        (b'"kernel":"', b'"kernel":"7'),
        (b'"held":true', b'"held":false'),
        (b'"made_ms":1', b'"made_ms":2'),
        (b'"value":"', b'"value":"A'),
    ],
)
def test_tampering_with_any_part_of_a_report_is_found(
    before: bytes, after: bytes, proved: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    content = (proved[0] / "report.json").read_bytes()
    assert before in content
    (tmp_path / "report.json").write_bytes(content.replace(before, after, 1))
    done = fastness(tmp_path, "perimeter", "verify", str(tmp_path / "report.json"))
    assert done.returncode == 3, done.stdout
    assert "proves nothing" in done.stderr


def test_another_installations_report_is_not_ours(proved: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    from fastness.perimeter.signing import signing_key

    signing_key(tmp_path)
    done = fastness(
        tmp_path, "perimeter", "verify", str(proved[0] / "report.json"), "--key", str(tmp_path / "signing.pub")
    )
    assert done.returncode == 3
    assert "not by the key given" in done.stderr


def test_what_is_not_there_or_no_report_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert fastness(tmp_path, "perimeter", "verify", str(tmp_path / "nothing")).returncode == 4
    done = fastness(tmp_path, "perimeter", "verify", str(tmp_path / "empty"))
    assert (done.returncode, "not a report" in done.stderr) == (3, True)


@pytest.mark.parametrize("name", ["supervisor", "gateway", "control"])
def test_a_process_of_a_running_installation_cannot_open_another_socket_than_a_unix_one(
    running: Installation, name: str
) -> None:
    pid = running.process.pid if name == "supervisor" else child(running, name)
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")


def test_the_running_installation_is_looked_at_too_and_its_ledger_holds_the_proof(running: Installation) -> None:
    code, said = prove(running.home, running.home / "report.json")
    assert code == 0, said
    assert said["live_failed"] == 0
    body = json.loads((running.home / "report.json").read_bytes())["body"]
    assert sorted(seen["kind"] for seen in body["live"]) == ["control", "engine", "engine", "gateway", "supervisor"]
    found = running.run("ledger", "find", "--type", "perimeter.proved", "--json")
    assert json.loads(found.stdout)["entries"][-1]["fields"]["report_sha256"] == said["report_sha256"]
    assert running.run("ledger", "verify").returncode == 0


def test_a_report_that_is_not_this_installations_does_not_get_into_its_ledger(
    running: Installation, proved: tuple[Path, dict[str, object]]
) -> None:
    import httpx

    from fastness.config import run_directory
    from fastness.perimeter.signing import signing_key

    signing_key(running.home)
    socket = run_directory(running.home, os.getuid()) / "control.sock"
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://control/api/v1") as client:
        said = client.post("/perimeter/proofs", json={"report": (proved[0] / "report.json").read_text()})
    assert said.status_code == 400
    assert "not by the key given" in said.json()["detail"]
