"""What an engine loads is what was hashed, whatever happens to the file."""

import hashlib
import os
import threading
from pathlib import Path

import pytest

from fastness.core.model import ModelCard, ModelKind
from fastness.registry import sealed_copy as module
from fastness.registry.library import ModelRefused, ModelUnavailable
from fastness.registry.sealed_copy import path_of, sealed_copy

WEIGHTS = os.urandom(3_000_000)


def card(content: bytes = WEIGHTS) -> ModelCard:
    digest = hashlib.sha256(content).hexdigest()
    return ModelCard("small", ModelKind.CHAT, digest, len(content), "Apache-2.0", 128, 0)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "weights.gguf"
    file.write_bytes(WEIGHTS)
    return file


@pytest.fixture
def copy(weights):
    descriptor = sealed_copy(card(), weights)
    yield descriptor
    os.close(descriptor)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_copy_holds_the_bytes_that_were_admitted(copy):
    assert path_of(copy).read_bytes() == WEIGHTS


@pytest.mark.parametrize("mode", ["r+b", "ab", "wb"])
def test_nobody_can_change_the_copy_by_its_path(copy, mode):
    with pytest.raises(PermissionError), open(path_of(copy), mode) as opened:
        opened.write(b"other")
    assert path_of(copy).read_bytes() == WEIGHTS


def test_nobody_can_change_the_copy_by_its_descriptor(copy):
    for change in (lambda: os.pwrite(copy, b"x", 0), lambda: os.ftruncate(copy, 1), lambda: os.ftruncate(copy, 10**7)):
        with pytest.raises(PermissionError):
            change()
    assert path_of(copy).read_bytes() == WEIGHTS


def test_what_happens_to_the_file_afterwards_changes_nothing(copy, weights):
    with weights.open("r+b") as opened:
        opened.write(b"poison")
    os.replace(weights, weights.with_suffix(".old"))
    assert path_of(copy).read_bytes() == WEIGHTS


def test_one_changed_bit_is_refused(weights):
    changed = bytearray(WEIGHTS)
    changed[1_234_567] ^= 1
    weights.write_bytes(changed)
    before = open_descriptors()
    with pytest.raises(ModelRefused, match="was admitted"):
        sealed_copy(card(), weights)
    assert open_descriptors() == before


@pytest.mark.parametrize("content", [b"", WEIGHTS[:-1], WEIGHTS + b"x"])
def test_another_size_is_refused_unread(weights, content):
    weights.write_bytes(content)
    with pytest.raises(ModelRefused, match="bytes"):
        sealed_copy(card(), weights)


def test_a_link_in_the_place_of_the_weights_is_not_followed(weights, tmp_path):
    other = weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(other)
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        sealed_copy(card(), weights)


def test_a_pipe_in_the_place_of_the_weights_is_refused_at_once(weights):
    weights.unlink()
    os.mkfifo(weights)
    with pytest.raises(ModelRefused, match="not a plain file"):
        sealed_copy(card(), weights)


def test_a_file_that_is_swapped_while_it_is_read_is_loaded_as_admitted_or_not_at_all(weights, monkeypatch):
    """A thief writes into the file at every moment: the copy is what was admitted, or there is none."""
    monkeypatch.setattr(module, "CHUNK_BYTES", 4_096)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for content in (b"\0" * 4_096, WEIGHTS[:4_096]):
                with weights.open("r+b") as opened:
                    opened.write(content)

    thief = threading.Thread(target=swap)
    thief.start()
    outcomes = {"loaded": 0, "refused": 0}
    try:
        for _ in range(20):
            try:
                descriptor = sealed_copy(card(), weights)
            except ModelRefused:
                outcomes["refused"] += 1
                continue
            outcomes["loaded"] += 1
            assert path_of(descriptor).read_bytes() == WEIGHTS
            os.close(descriptor)
    finally:
        stop.set()
        thief.join()
    assert sum(outcomes.values()) == 20


def test_progress_is_told_until_the_end(weights):
    told: list[int] = []
    os.close(sealed_copy(card(), weights, told.append))
    assert told == sorted(told)
    assert told[-1] == len(WEIGHTS)
