"""The hostile corpus before the inspector that is used: sealed processes of this machine, bounded and watched."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fastness.config import RegistrySettings
from fastness.core.admission import ArtefactKind
from fastness.perimeter.local import LocalPerimeter
from fastness.perimeter.port import Confinement
from fastness.registry.inspection.port import ArtefactRefused, Wish
from fastness.registry.inspection.running import Usage
from fastness.registry.inspection.sealed import SealedInspector
from honest_corpus import honest, starter_folder, starter_weights
from hostile_corpus import corpus, fingerprint
from hostile_parts import Case, gguf, string

MIB = 1 << 20
MEMORY_BYTES_MAX = 1024 * MIB
SETTINGS = RegistrySettings(template_timeout_s=0.2, inspection_memory_bytes_max=MEMORY_BYTES_MAX)
WISH = Wish("small", ArtefactKind.MODEL, "Apache-2.0", "made by a test")
CASES = corpus()
LIMITS = {"limit.time", "limit.memory", "limit.crash"}


def seal(argv: tuple[str, ...], readable: tuple[Path, ...], memory_bytes_max: int) -> tuple[str, ...]:
    return LocalPerimeter().sealed_argv(argv, Confinement(readable, (), memory_bytes_max, open_files_max=64))


def held_by_this_process() -> int:
    """The kernel counts what the parent held at its peak as held by a child, until the child executes its program."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def refusals(cases: list[Case], where: Path) -> Iterator[tuple[Case, str, Usage | None]]:
    """Inspect each case in a sealed process of its own, two at a time; yield the rule, or `admitted`."""

    def attempt(numbered: tuple[int, Case]) -> tuple[Case, str, Usage | None]:
        number, case = numbered
        place = where / f"{case.id.partition('/')[0]}-{number}"
        place.mkdir()
        used: list[Usage] = []
        try:
            SealedInspector(seal, SETTINGS, used.append).inspect(case.make(place), case.wish())
            rule = "admitted"
        except ArtefactRefused as refused:
            rule = refused.rule
        shutil.rmtree(place)
        return case, rule, used[0] if used else None

    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(attempt, enumerate(cases))


@pytest.mark.slow
@pytest.mark.timeout(600)  # about 60 s on two idle cores
def test_hundreds_of_hostile_artefacts_are_refused_by_rule_in_bounded_memory_without_a_crash(tmp_path: Path) -> None:
    chosen = [case for number, case in enumerate(CASES) if number % 3 == 0 and not case.sealed_only]
    assert len(chosen) >= 300
    # A socket is bound in the working directory, which threads share.
    chosen = [case for case in chosen if case.id != "special/socket"]
    wrong, peaks = [], []
    for case, rule, used in refusals(chosen, tmp_path):
        if rule not in case.rules or rule in LIMITS:
            wrong.append(f"{case.id}: {rule}; expected {case.rules}")
        if used is not None:
            peaks.append(used.peak_bytes)
            if used.exit_status != 0:
                wrong.append(f"{case.id}: the process ended with {used.exit_status}")
    assert not wrong
    assert len(peaks) >= 300
    assert max(peaks) <= max(512 * MIB, held_by_this_process())


@pytest.mark.slow
def test_what_eats_memory_or_time_is_ended_and_refused(tmp_path: Path) -> None:
    # Whether it refuses by itself or the kernel's timer ends it depends on how fast the machine hands out memory.
    # The rule tells them from a crash, which would be `limit.crash`.
    for case, rule, used in refusals([case for case in CASES if case.sealed_only], tmp_path):
        assert rule in case.rules, f"{case.id}: {rule}, {used}"
        assert used is not None and used.peak_bytes < max(MEMORY_BYTES_MAX, held_by_this_process() + MIB)


@pytest.mark.slow
def test_every_honest_artefact_is_admitted_by_a_sealed_process(tmp_path: Path) -> None:
    inspector = SealedInspector(seal, RegistrySettings())
    for each in honest(tmp_path):
        assert inspector.inspect(each.path, each.wish).artefact.name == each.wish.name, each.id


@pytest.mark.slow
def test_the_corpus_has_many_hundred_distinct_artefacts(tmp_path: Path) -> None:
    assert len({case.id for case in CASES}) == len(CASES)
    seen = set()
    for number, case in enumerate(case for case in CASES if not case.sealed_only):
        where = tmp_path / str(number)
        where.mkdir()
        seen.add((case.kind, fingerprint(case.make(where))))
        shutil.rmtree(where)
    assert len(seen) >= 900


def refused_sealed(where: Path, *groups: str) -> bool:
    """Inspect some cases of each group sealed; say whether each was refused by its rule."""
    chosen = [case for group in groups for case in [case for case in CASES if case.id.startswith(group)][::6]]
    assert chosen
    return all(rule in case.rules for case, rule, _ in refusals(chosen, where))


@pytest.mark.slow
def test_a_configuration_that_names_code_is_refused_before_an_engine_sees_it(tmp_path: Path) -> None:
    assert refused_sealed(tmp_path, "json/auto-map", "json/trust", "json/target", "json/modules")


@pytest.mark.slow
def test_a_template_that_reaches_for_python_is_refused_before_an_engine_sees_it(tmp_path: Path) -> None:
    assert refused_sealed(tmp_path, "template/escape", "template/load")


@pytest.mark.slow
def test_a_template_that_lies_in_wait_for_a_word_is_refused_unless_somebody_has_read_it(tmp_path: Path) -> None:
    assert refused_sealed(tmp_path, "template/poisoned")


@pytest.mark.slow
def test_an_adapter_that_is_no_plain_lora_of_its_base_is_refused_before_an_engine_sees_it(tmp_path: Path) -> None:
    assert refused_sealed(tmp_path, "adapter/peft", "adapter/gguf")


@pytest.mark.slow
def test_a_gguf_header_with_wrapping_sizes_is_refused_before_an_engine_sees_it(tmp_path: Path) -> None:
    assert refused_sealed(tmp_path, "gguf/product", "gguf/offset", "gguf/dimensions")


@pytest.mark.slow
def test_a_pickle_under_any_name_is_refused_and_never_loaded(tmp_path: Path) -> None:
    assert refused_sealed(tmp_path, "disguise/pickle", "adapter/peft-pickle")


@pytest.mark.slow
def test_the_starter_models_are_admitted_sealed_and_their_bytes_are_what_was_read() -> None:
    used: list[Usage] = []
    inspector = SealedInspector(seal, RegistrySettings(), used.append)
    chat = inspector.inspect(starter_weights(), replace(WISH, name="smollm2-135m-instruct"))
    assert chat.artefact.files[0].digest == hashlib.sha256(starter_weights().read_bytes()).hexdigest()
    assert chat.template_review is not None and not chat.template_review.suspicious
    embedding = inspector.inspect(starter_folder(), replace(WISH, name="minilm-l6-v2"))
    assert (embedding.artefact.architecture, embedding.template) == ("bert", None)
    assert all(each.exit_status == 0 for each in used)


@pytest.mark.slow
def test_a_file_that_is_swapped_again_and_again_is_refused_or_is_one_of_the_two(tmp_path: Path) -> None:
    names = ("Small", "Smile")
    contents = [gguf({"general.name": string("general.name", name)}) for name in names]
    digests = {hashlib.sha256(content).hexdigest(): name for content, name in zip(contents, names, strict=True)}
    path, stop = tmp_path / "small.gguf", threading.Event()
    path.write_bytes(contents[0])

    def swap() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            other = tmp_path / "other"
            other.write_bytes(contents[turn % 2])
            other.replace(path)
            with path.open("r+b") as opened:
                opened.write(contents[(turn + 1) % 2])

    swapping = threading.Thread(target=swap)
    swapping.start()
    rules, mixed = [], []
    try:
        for _ in range(8):
            try:
                found = SealedInspector(seal, SETTINGS).inspect(path, WISH)
                mixed.append(found.names[1] != digests[found.artefact.files[0].digest])
            except ArtefactRefused as error:
                rules.append(error.rule)
    finally:
        stop.set()
        swapping.join()
    assert not any(mixed)
    assert set(rules) <= {"file.changed", "file.unreadable"}


@pytest.mark.slow
def test_the_inspecting_process_can_do_nothing_but_read_the_artefact(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("nobody's business")
    artefact = tmp_path / "small.gguf"
    artefact.write_bytes(gguf())
    attempts = {
        "reads the artefact": f"open({str(artefact)!r}, 'rb').read(1)",
        "reads another file": f"open({str(secret)!r}).read()",
        "lists a directory": f"import os; os.listdir({str(tmp_path)!r})",
        "writes the artefact": f"open({str(artefact)!r}, 'ab').write(b'x')",
        "writes elsewhere": f"open({str(tmp_path / 'new')!r}, 'w')",
        "speaks to the network": "import socket; socket.create_connection(('127.0.0.1', 9), 1)",
        "speaks to a socket": "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/x')",
        "starts a process": "import os; os.fork()",
        "executes a program": "import os; os.execv('/bin/true', ['true'])",
        "takes all memory": "x = bytearray(2 << 30)",
    }
    succeeded = []
    for name, code in attempts.items():
        argv = seal((sys.executable, "-I", "-S", "-B", "-c", code), (artefact,), MEMORY_BYTES_MAX)
        child = os.posix_spawn(argv[0], argv, {}, file_actions=[(os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0)])
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            succeeded.append(name)
    assert succeeded == ["reads the artefact"]


@pytest.mark.slow
def test_an_inspection_takes_well_below_a_second(tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    path.write_bytes(gguf())
    inspector, began = SealedInspector(seal, SETTINGS), time.monotonic()
    for _ in range(3):
        inspector.inspect(path, WISH)
    assert time.monotonic() - began < 15  # about 0.2 s each; this machine may be busy
