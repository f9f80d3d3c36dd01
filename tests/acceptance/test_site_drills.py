"""The drills that operators run, run: an upgrade from release to release and back, a black start with no network."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastness.ledger.verify import verify
from killing import QUICK, forget, processes_of, recorded
from releases import installed, number, older, present

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
DRILLS = ROOT / "deploy/drills"


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release that is tested, installed as an operator installs it."""
    folder = tmp_path_factory.mktemp("new")
    source = present(folder / "source")
    number(source, "9.9.9")
    return installed(folder / "prefix", source)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    forget(tmp_path / "home")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def drilled(name: str, home: Path, *prefixes: Path) -> tuple[dict[str, tuple[float, str]], str]:
    """Run a drill; return its steps with seconds and what was seen, and what it printed."""
    work = home.parent / "work"
    done = subprocess.run(
        [str(DRILLS / name), *map(str, prefixes), str(home), str(work)],
        env=os.environ | QUICK | {"PORT": str(free_port())}, capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stderr + (work / "up.stderr").read_text()
    rows = [line.split("\t") for line in (work / "rows.tsv").read_text().splitlines()]
    assert not processes_of(home), "a drill leaves nothing running"
    return {step: (float(seconds), seen) for step, seconds, seen in rows}, done.stdout


def heard(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home.parent / "work/heard.jsonl").read_text().splitlines()]


@pytest.mark.soak  # two minutes
def test_a_release_takes_the_place_of_an_older_one_and_back_and_no_answer_is_lost(home: Path, new: Path) -> None:
    source, is_older = older(home.parent / "older")
    print("from an earlier commit" if is_older else "this clone has no earlier commit: from the same source, renamed")
    steps, printed = drilled("upgrade.sh", home, installed(home.parent / "old", source), new)
    assert [seen.partition(";")[0] for step, (_, seen) in steps.items() if step.endswith("under traffic")] == [
        "fastness 0.0.9", "fastness 9.9.9", "fastness 0.0.9", "fastness 9.9.9",
    ]  # fmt: skip
    assert "0 lost after they began, 0 never answered" in steps["clients, all along"][1]
    assert printed.count("|") > 4 * len(steps), "a table to keep"
    said = heard(home)
    assert all(one["whole"] for one in said)
    assert any(one["tries"] > 1 for one in said), "clients met a restart"
    kept = [one for one in (home, home.parent / "work/home.new") if one.exists()]
    entries = sum((recorded(one) for one in kept), start=recorded(home) - recorded(home))
    assert [one for one in said if entries[one["request_id"]] < 1] == [], "every answer is on record"
    assert verify(home / "ledger").sound


def test_a_site_that_lost_all_power_comes_back_from_its_disk_and_from_a_backup(home: Path, new: Path) -> None:
    steps, _ = drilled("black-start.sh", home, new)
    assert steps["before: start"][1].endswith("routes out: 0"), "with no network"
    assert {"from disk: first answer", "from the backup: first answer"} <= steps.keys()
    entries = recorded(home)
    assert [one for one in heard(home) if one["whole"] and entries[one["request_id"]] != 1] == []
    assert verify(home / "ledger").sound
    assert (home.parent / "work/home.before/ledger").exists()
