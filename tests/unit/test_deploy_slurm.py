"""The Slurm job, run with stand-ins for Slurm's commands and ours: what it calls, in which order, and how it ends."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from fastness.cli.app import build_app

ROOT = Path(__file__).parents[2]
JOB = ROOT / "deploy/slurm/fastness.sbatch"
PAGE = ROOT / "docs/how-to/run-on-slurm.md"
SECRET = "fst_admin_that_nobody_shall_read"
STANDINS = {
    "fastness": f"""
echo "fastness $*" >> "$CALLS"
case "$1 ${{2:-}}" in
  "up "*) echo '{SECRET}'; echo $$ > "$WORK/up.pid"; trap 'exit 0' TERM; [ -z "${{UP_ENDS:-}}" ] || exit "$UP_ENDS"
          while true; do sleep 0.05; done ;;
  "stop "*) read -r pid < "$WORK/up.pid"; kill -TERM "$pid"; while kill -0 "$pid" 2> /dev/null; do sleep 0.02; done ;;
  "init cluster") mkdir -p "$FASTNESS_HOME/cluster"; touch "$FASTNESS_HOME/cluster/ca.pem" ;;
  "node invite") while [ $# -gt 0 ]; do [ "$1" != --out ] || echo secret > "$2"; shift; done ;;
  "node join") if [ $# -gt 3 ]; then test -f "$3"; else exec sleep 600; fi ;;
esac
""",
    "scontrol": 'test "$1 $2" = "show hostnames"; printf "%s\\n" $HOSTS_OF_JOB',
    "sinfo": 'printf "%s\\n" one two three four',
    "getent": 'case $2 in one) echo "127.0.1.1 STREAM"; echo "10.0.0.1 STREAM one";; two) echo "10.0.0.2 STREAM";; '
    'three) echo "10.0.0.3 STREAM";; four) echo "10.0.0.4 STREAM";; esac',
    "srun": """
echo "srun $*" >> "$CALLS"
while [ "$1" != bash ]; do shift; done
export STATE=$FASTNESS_STATE
for host in $(printf '%s ' $HOSTS_OF_JOB | cut -d' ' -f2-); do
  SLURMD_NODENAME=$host FASTNESS_LOCAL="$WORK/local-$host" "$@" &
done
trap 'kill $(jobs -p); exit 0' TERM
wait
""",
}


@dataclass
class Slurm:
    """A job that is about to run."""

    work: Path
    hosts: str

    def start(self, **environ: str) -> subprocess.Popen[str]:
        tools, calls = self.work / "bin", self.work / "calls"
        tools.mkdir(exist_ok=True)
        calls.touch()
        for name, text in STANDINS.items():
            (tools / name).write_text(f"#!/usr/bin/env bash\nset -eu\n{text}\n")
            (tools / name).chmod(0o755)
        job = {
            "PATH": f"{tools}:{os.environ['PATH']}", "WORK": str(self.work), "CALLS": str(calls),
            "HOSTS_OF_JOB": self.hosts,
            "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "list", "SLURM_JOB_PARTITION": "all",
            "FASTNESS_PREFIX": str(self.work), "FASTNESS_STATE": str(self.work / "state"),
        }  # fmt: skip
        return subprocess.Popen(
            ["bash", JOB],
            env=job | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @property
    def calls(self) -> list[str]:
        return (self.work / "calls").read_text().splitlines()

    def called(self, text: str, times: int = 1) -> None:
        deadline_s = time.monotonic() + 60
        while sum(text in one for one in self.calls) < times:
            assert time.monotonic() < deadline_s, f"{text}: {self.calls}"
            time.sleep(0.02)


def ended(job: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str]:
    """Send the job's shell a signal as Slurm does, and return how it ended and what it printed."""
    job.send_signal(number)
    try:
        said, _ = job.communicate(timeout=30)
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
            job.communicate()
    return job.returncode, said


@pytest.fixture
def one_host(tmp_path: Path) -> Slurm:
    return Slurm(tmp_path, "one")


@pytest.fixture
def three_hosts(tmp_path: Path) -> Slurm:
    return Slurm(tmp_path, "one two three")


def can_be_given(text: str) -> None:
    command, words = typer.main.get_command(build_app(None)), shlex.split(text)[1:]  # type: ignore[arg-type]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("fastness", words).close()


def test_one_host_is_an_installation_by_itself_and_ends_in_order_when_its_time_is_over(one_host: Slurm) -> None:
    job = one_host.start()
    one_host.called("fastness up")
    code, said = ended(job)
    assert one_host.calls == ["fastness up --json --host 127.0.0.1", "fastness stop --quiet"]
    assert (code, SECRET in said) == (0, False)
    assert "ended with 0" in said


def test_of_three_hosts_the_first_orders_the_others(three_hosts: Slurm) -> None:
    job = three_hosts.start()
    three_hosts.called("fastness up")
    three_hosts.called("fastness node join --quiet", 2)
    code, said = ended(job)
    assert code == 0, said
    calls = three_hosts.calls
    addresses = "--address 10.0.0.1 --address 10.0.0.4 --address 10.0.0.3 --address 10.0.0.2"
    assert calls[0] == f"fastness init cluster {addresses} --name head", "every host of the partition may be the first"
    invitations = three_hosts.work / "state/invitations"
    assert calls[1:3] == [
        f"fastness node invite {host} --address {address} --out {invitations / host} --quiet"
        for host, address in (("two", "10.0.0.2"), ("three", "10.0.0.3"))
    ]
    assert any(re.match(r"srun --nodes=2 --ntasks=2 --relative=1 ", one) for one in calls), "on all but the first"
    assert "fastness up --json --host 127.0.0.1 --ray 10.0.0.1" in calls
    assert list(invitations.iterdir()) == [], "whoever has one can be that host"
    assert SECRET not in said
    for call in calls:
        if call.startswith("fastness"):
            can_be_given(call)


def test_a_later_job_keeps_the_cluster_and_invites_anew(three_hosts: Slurm) -> None:
    for _ in range(2):
        job = three_hosts.start()
        three_hosts.called("fastness up")
        assert ended(job)[0] == 0
        calls = three_hosts.calls
        (three_hosts.work / "calls").write_text("")
    assert not [one for one in calls if "init cluster" in one]
    assert [one.split()[3] for one in calls if "invite" in one] == ["two", "three"]


@pytest.mark.parametrize("slurm", ["one_host", "three_hosts"])
def test_when_the_head_ends_by_itself_so_does_the_job_with_its_code(slurm: str, request: pytest.FixtureRequest) -> None:
    job = request.getfixturevalue(slurm).start(UP_ENDS="3")
    said, _ = job.communicate(timeout=30)
    assert job.returncode == 3, said


def test_what_is_missing_is_said_before_anything_runs(one_host: Slurm) -> None:
    for name in ("FASTNESS_PREFIX", "FASTNESS_STATE", "SLURM_JOB_ID"):
        said, _ = (job := one_host.start(**{name: ""})).communicate(timeout=30)
        assert job.returncode != 0
        assert name in said
    assert one_host.calls == []


def test_state_and_invitations_are_nobody_elses(three_hosts: Slurm) -> None:
    job = three_hosts.start()
    three_hosts.called("fastness up")
    ended(job)
    for path in (three_hosts.work / "state", three_hosts.work / "state/head"):
        assert path.stat().st_mode & 0o077 == 0


def directives() -> dict[str, Any]:
    lines = re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?", JOB.read_text(), re.MULTILINE)
    return dict(lines)


def test_slurm_is_asked_for_whole_hosts_and_for_a_word_before_the_end() -> None:
    found = directives()
    assert "exclusive" in found
    assert found["signal"] == "B:TERM@120", "to the batch shell, which alone knows what to do"
    assert found["ntasks-per-node"] == "1"


def test_the_page_shows_the_job_as_it_is() -> None:
    text = PAGE.read_text()
    assert "deploy/slurm/fastness.sbatch" in text
    for name in set(re.findall(r"\bFASTNESS_[A-Z]+\b", text)) - {"FASTNESS_HOME"}:
        assert name in JOB.read_text(), name
