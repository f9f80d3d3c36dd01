"""However the inspecting process ends, the importer gets a finding, or a refusal that names a rule."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

sys.path.append(str(Path(__file__).parents[3] / "integration"))

from fastness.config import RegistrySettings
from fastness.core.admission import ArtefactKind
from fastness.registry.inspection.direct import DirectInspector
from fastness.registry.inspection.port import ArtefactRefused, InspectionUnavailable, Wish
from fastness.registry.inspection.running import Usage
from fastness.registry.inspection.sealed import SealedInspector
from fastness.registry.inspection.wire import Answer, Refused
from hostile_parts import gguf

SETTINGS = RegistrySettings(inspection_timeout_s=10.0)
WISH = Wish("small", ArtefactKind.MODEL, "Apache-2.0", "made by a test")


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    path = tmp_path / "small.gguf"
    path.write_bytes(gguf())
    return path


def instead(code: str) -> SealedInspector:
    """An inspector whose process runs `code` instead, without a seal."""
    return SealedInspector(lambda _argv, _readable, _memory: (sys.executable, "-I", "-S", "-c", code), SETTINGS)


def rule_of(inspector: SealedInspector, path: Path, wish: Wish = WISH) -> str:
    with pytest.raises(ArtefactRefused) as refused:
        inspector.inspect(path, wish)
    return refused.value.rule


def test_a_process_without_a_seal_finds_the_same_as_this_one(artefact: Path) -> None:
    used: list[Usage] = []
    asked: list[tuple[tuple[Path, ...], int]] = []

    def seal(argv: tuple[str, ...], readable: tuple[Path, ...], memory_bytes_max: int) -> tuple[str, ...]:
        asked.append((readable, memory_bytes_max))
        return argv

    found = SealedInspector(seal, SETTINGS, used.append).inspect(artefact, WISH)
    assert found == DirectInspector(SETTINGS).inspect(artefact, WISH)
    assert asked == [((artefact,), SETTINGS.inspection_memory_bytes_max)]
    assert used[0].exit_status == 0


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("import os; os.kill(os.getpid(), 7)", "file.changed"),
        ("import os; os.kill(os.getpid(), 9)", "limit.memory"),
        ("import os; os.kill(os.getpid(), 27)", "template.time"),
        ("import os; os.kill(os.getpid(), 11)", "limit.crash"),
        ("import os; os.abort()", "limit.crash"),
        ("import sys; sys.exit(70)", "limit.crash"),
        ("import sys; sys.exit(71)", "limit.memory"),
        ("raise MemoryError", "limit.crash"),
        ("pass", "limit.crash"),
        ("print('nonsense')", "limit.crash"),
        ("print('{}')", "limit.crash"),
        ("print('{\"more\": 1}')", "limit.crash"),
        ('print(\'{"refused": {"rule": "invented", "message": "x", "file": "y"}}\')', "limit.crash"),
        ("import os\nwhile True: os.write(1, bytes(1 << 20))", "limit.crash"),
        ("import os\nwhile True: os.write(2, bytes(1 << 20))", "limit.crash"),
        ("import os, time; os.close(1); os.close(2); os.kill(os.getpid(), 9)", "limit.memory"),
    ],
)
def test_however_the_process_ends_it_is_a_refusal(code: str, rule: str, artefact: Path) -> None:
    assert rule_of(instead(code), artefact) == rule


def test_a_process_that_does_not_end_is_ended(artefact: Path) -> None:
    began = time.monotonic()
    inspector = SealedInspector(
        lambda *_: (sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"),
        replace(SETTINGS, inspection_timeout_s=0.3),
    )
    assert rule_of(inspector, artefact) == "limit.time"
    assert time.monotonic() - began < 30


def test_an_answer_about_something_else_is_not_believed(artefact: Path, tmp_path: Path) -> None:
    found = DirectInspector(SETTINGS).inspect(artefact, WISH)
    answer = tmp_path / "answer.json"
    answer.write_bytes(msgspec.json.encode(Answer(inspected=found)))
    says_it = instead(f"print(open({str(answer)!r}).read())")
    assert says_it.inspect(artefact, WISH) == found
    assert rule_of(says_it, artefact, replace(WISH, name="another")) == "limit.crash"


def test_a_refusal_is_passed_on_as_it_is(artefact: Path, tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    answer.write_bytes(msgspec.json.encode(Answer(refused=Refused("gguf.tensor", "a reason", "small.gguf"))))
    with pytest.raises(ArtefactRefused, match=r"small.gguf: a reason \(rule gguf.tensor\)"):
        instead(f"print(open({str(answer)!r}).read())").inspect(artefact, WISH)


@pytest.mark.parametrize("status", [113, 127])
def test_a_machine_that_cannot_seal_refuses_no_artefact(status: int, artefact: Path) -> None:
    code = f"import sys; sys.stderr.write('fastness: not sealed\\n'); sys.exit({status})"
    with pytest.raises(InspectionUnavailable, match="not sealed"):
        instead(code).inspect(artefact, WISH)


def test_a_program_that_cannot_be_started_is_no_refusal(artefact: Path) -> None:
    with pytest.raises(InspectionUnavailable, match="cannot be started"):
        SealedInspector(lambda *_: ("/nowhere/python",), SETTINGS).inspect(artefact, WISH)


def test_a_path_that_leads_elsewhere_or_nowhere_starts_no_process(artefact: Path, tmp_path: Path) -> None:
    def never(*_: object) -> tuple[str, ...]:
        raise AssertionError

    inspector = SealedInspector(never, SETTINGS)
    link = tmp_path / "link"
    link.symlink_to(artefact)
    assert rule_of(inspector, link) == "file.symlink"
    assert rule_of(inspector, tmp_path / "nothing") == "file.unreadable"
    assert rule_of(inspector, tmp_path / os.fsdecode(b"\xff")) == "file.name"
