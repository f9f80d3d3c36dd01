"""`fastness up --drill unplugged`: the whole journey where there is no way out."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from installation import FASTNESS


def up(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"FASTNESS_HOME": str(home)}
    return subprocess.run(
        [FASTNESS, "up", *words], capture_output=True, text=True, env=environ, timeout=300, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_whole_journey_holds_with_no_way_out_and_every_step_is_timed(tmp_path: Path) -> None:
    done = up(tmp_path, "--drill", "unplugged", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["held"] is True
    first, *steps = said["steps"]
    assert (first["name"], first["detail"]) == ("no way out", "ENETUNREACH, ENETUNREACH")
    assert [step["name"] for step in (steps[0], steps[-1])] == ["up", "stop"]
    assert all(step["held"] and step["elapsed_ms"] >= 0 for step in steps)
    assert done.stderr.count(" held ") == len(said["steps"])
    assert list(tmp_path.iterdir()) == [], "it is made elsewhere, and nothing of it stays"


def test_a_drill_that_there_is_not_is_told_which_there_are(tmp_path: Path) -> None:
    done = up(tmp_path, "--drill", "flood")
    assert done.returncode == 2
    assert "--drill unplugged" in done.stderr
