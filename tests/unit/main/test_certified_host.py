"""What `doctor` says of a host, and how a host judges a record of admission that came to it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from cluster_world import World
from fastness.cli.composition import Verdict
from fastness.config import load
from fastness.control.wanted_models import NobodyHasIt
from fastness.core.admission import Admission, AdmissionState, Artefact, ArtefactKind
from fastness.core.desired import DeploymentSpec, Needs
from fastness.core.marking import Label
from fastness.core.model import ModelCard, ModelKind
from fastness.main.engines import Engines
from fastness.main.machine import _certificate, _gangs
from fastness.perimeter import gang
from fastness.registry.admission.record import Record
from fastness.registry.library import ModelLibrary, ModelRefused, ModelUnavailable

DIGEST = "ab" * 32
OFFICIAL = Label("OFFICIAL")
ARTEFACT = Artefact("town-hall", ArtefactKind.MODEL, "gguf", "cd" * 32, (), 10, "llama", 512, "MIT", "disc")
CARD = ModelCard("town-hall", ModelKind.CHAT, DIGEST, 10, "MIT", 512, 0)
RECORD = Record(Admission(ARTEFACT, AdmissionState.ADMITTED, "local", 0, (), OFFICIAL), CARD)
SPEC = DeploymentSpec("chat", "health", "town-hall", DIGEST, "chat", OFFICIAL, Needs(OFFICIAL, 1))


def text_of(record: Record) -> str:
    return msgspec.json.encode(record).decode()


@pytest.mark.parametrize(
    ("days", "verdict", "word"),
    [(365, Verdict.OK, "another 364 days"), (20, Verdict.WARN, "another 19 days"), (-1, Verdict.FAIL, "ended")],
)
def test_doctor_says_when_a_certificate_ends(tmp_path: Path, days: int, verdict: Verdict, word: str) -> None:
    world = World(tmp_path, time.time() - (0 if days > 0 else 2 * 86_400))
    host = world.host(lifetime_s=days * 86_400 if days > 0 else 86_400)
    (found,) = _certificate(load({"FASTNESS_HOME": str(host.folder.parent)})[0])
    assert found.verdict is verdict and word in found.found
    assert _certificate(load({"FASTNESS_HOME": str(tmp_path / "alone")})[0]) == []


@pytest.mark.parametrize(
    ("device", "verdict", "word"),
    [
        ("/dev/null", Verdict.OK, "/dev/null can be opened"),
        ("/dev/net/nothing", Verdict.WARN, "models over several hosts cannot run here: /dev/net/nothing"),
        ("/dev", Verdict.WARN, "Is a directory"),
    ],
)
def test_doctor_notes_where_no_model_over_several_hosts_can_run(
    monkeypatch: pytest.MonkeyPatch, device: str, verdict: Verdict, word: str
) -> None:
    monkeypatch.setattr(gang, "TUN", device)
    (found,) = _gangs()
    assert found.verdict is verdict and word in found.found
    assert found.why.endswith(".") and bool(found.hint) is (verdict is not Verdict.OK)


def test_a_record_that_came_is_kept_as_it_is_and_only_when_it_is_new(tmp_path: Path) -> None:
    library = ModelLibrary(tmp_path, {})
    library.take_record(text_of(RECORD))
    file = tmp_path / "models/admitted/town-hall.json"
    before = file.stat().st_mtime_ns
    library.take_record(text_of(RECORD))
    assert file.stat().st_mtime_ns == before
    assert library.known("town-hall") == (CARD, "OFFICIAL") and not library.revoked()
    assert library.record_text("town-hall") == text_of(RECORD)
    revoked = replace(RECORD, admission=replace(RECORD.admission, state=AdmissionState.REVOKED, revoked_s=5))
    library.take_record(text_of(revoked))
    assert library.known("town-hall") is None and library.is_revoked("town-hall")
    assert library.revoked() == {"town-hall"}


@pytest.mark.parametrize("text", ["", "{}", "[]", text_of(RECORD).replace("town-hall", "../town-hall")])
def test_what_is_no_record_is_not_kept(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="record"):
        ModelLibrary(tmp_path, {}).take_record(text)
    assert not (tmp_path / "models").exists()


def engines(tmp_path: Path, obtain: object) -> Engines:
    settings = load({"FASTNESS_HOME": str(tmp_path)})[0]
    allowed = asyncio.Event()
    allowed.set()
    library = ModelLibrary(tmp_path, {})
    return Engines(settings, tmp_path, None, library, allowed, unsealed=True, obtain=obtain)  # type: ignore[arg-type]


def test_a_model_that_is_not_here_is_brought_and_one_that_is_here_is_not(tmp_path: Path) -> None:
    asked: list[str] = []

    async def obtain(digest: str, is_here: object, tell: object) -> None:
        asked.append(digest)
        (tmp_path / f"models/{DIGEST}.gguf").write_bytes(b"weights")

    async def main() -> None:
        ModelLibrary(tmp_path, {}).take_record(text_of(RECORD))
        for _ in range(2):
            card, path = await engines(tmp_path, obtain)._present(SPEC, lambda _: None)
            assert (card, path) == (CARD, tmp_path / f"models/{DIGEST}.gguf")
        assert asked == [DIGEST]

    asyncio.run(main())


def test_what_is_not_admitted_here_is_not_brought(tmp_path: Path) -> None:
    async def obtain(digest: str, is_here: object, tell: object) -> None:
        raise AssertionError("nobody may be asked for it")

    async def main() -> None:
        with pytest.raises(ModelUnavailable, match="must be admitted"):
            await engines(tmp_path, obtain)._present(SPEC, lambda _: None)
        ModelLibrary(tmp_path, {}).take_record(text_of(RECORD))
        with pytest.raises(ModelRefused, match="wants town-hall with SHA-256"):
            await engines(tmp_path, obtain)._present(replace(SPEC, model_digest="ef" * 32), lambda _: None)

    asyncio.run(main())


def test_a_model_that_nobody_has_is_said_to_be_unavailable(tmp_path: Path) -> None:
    async def obtain(digest: str, is_here: object, tell: object) -> None:
        raise NobodyHasIt("no host has it")

    async def main() -> None:
        ModelLibrary(tmp_path, {}).take_record(text_of(RECORD))
        with pytest.raises(ModelUnavailable, match="no host has it"):
            await engines(tmp_path, obtain)._present(SPEC, lambda _: None)

    asyncio.run(main())
