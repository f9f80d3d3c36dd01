"""Copies: through descriptors, never through a link, hashed as they are made."""

import hashlib
import os
import socket
import stat
import threading

import pytest

from fastness.core.admission import ArtefactFile
from fastness.registry.admission import copying
from fastness.registry.admission.copying import copy_tree, files_below, write_copy
from fastness.registry.admission.refusal import AdmissionRefused
from fastness.registry.inspection.port import ArtefactRefused


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.gguf").write_bytes(b"weights")
    (folder / "sub/a.json").write_bytes(b"{}")
    return folder


def copy(source, target, files_max=100, bytes_max=1 << 30):
    return copy_tree(source, target, files_max=files_max, bytes_max=bytes_max)


def refusal(source, target, **bounds):
    with pytest.raises((ArtefactRefused, AdmissionRefused)) as refused:
        copy(source, target, **bounds)
    return refused.value.rule


def test_a_directory_is_copied_with_its_digests_and_read_only(source, tmp_path):
    copied = copy(source, tmp_path / "target")
    assert copied == (
        ArtefactFile("model.gguf", 7, hashlib.sha256(b"weights").hexdigest()),
        ArtefactFile("sub/a.json", 2, hashlib.sha256(b"{}").hexdigest()),
    )
    assert files_below(tmp_path / "target") == copied
    for file in copied:
        found = (tmp_path / "target" / file.path).stat()
        assert stat.S_IMODE(found.st_mode) == 0o444
        assert found.st_nlink == 1


def test_a_single_file_is_copied_under_its_name(source, tmp_path):
    (copied,) = copy(source / "model.gguf", tmp_path / "target")
    assert copied.path == "model.gguf"
    assert (tmp_path / "target/model.gguf").read_bytes() == b"weights"


@pytest.mark.parametrize("where", ["link", "sub/link"])
@pytest.mark.parametrize("to", ["/etc/passwd", "model.gguf", "/nowhere"])
def test_a_symbolic_link_is_refused(source, tmp_path, where, to):
    (source / where).symlink_to(to)
    assert refusal(source, tmp_path / "target") == "file.symlink"


def test_a_link_to_the_artefact_or_to_a_directory_in_it_is_refused(source, tmp_path):
    (tmp_path / "link").symlink_to(source)
    assert refusal(tmp_path / "link", tmp_path / "target") == "file.symlink"
    (source / "dir").symlink_to(source / "sub")
    assert refusal(source, tmp_path / "other") == "file.symlink"


def test_a_pipe_or_a_socket_is_refused_and_waited_for_by_nobody(source, tmp_path):
    os.mkfifo(source / "pipe")
    assert refusal(source, tmp_path / "target") == "file.special"
    (source / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(source / "sock"))
        assert refusal(source, tmp_path / "other") in {"file.special", "file.unreadable"}


def test_what_is_not_there_is_refused_by_its_path(tmp_path):
    with pytest.raises(ArtefactRefused, match=r"nothing: cannot be read: No such file"):
        copy(tmp_path / "nothing", tmp_path / "target")


def test_too_many_too_deep_and_too_large_are_refused(source, tmp_path):
    assert refusal(source, tmp_path / "a", files_max=1) == "file.count"
    assert refusal(source, tmp_path / "b", bytes_max=8) == "file.size"
    (source / "a/b/c/d/e").mkdir(parents=True)
    assert refusal(source, tmp_path / "c") == "file.depth"


def test_empty_directories_count_too(source, tmp_path):
    for number in range(60):
        (source / f"sub/{number}").mkdir()
    assert refusal(source, tmp_path / "target", files_max=20) == "file.count"


def test_too_little_space_is_said_before_anything_is_copied(source, tmp_path):
    (source / "huge.gguf").touch()
    os.truncate(source / "huge.gguf", 1 << 43)
    assert refusal(source, tmp_path / "target", bytes_max=1 << 60) == "admission.space"
    assert not list((tmp_path / "target").iterdir())


def test_a_file_that_shrinks_or_grows_under_the_copy_is_refused(source, tmp_path, monkeypatch):
    real = copying.os.read
    for change in (
        lambda: os.truncate(source / "model.gguf", 1),
        lambda: (source / "model.gguf").write_bytes(b"x" * 99),
    ):

        def read(descriptor, most, change=change):
            change()
            return real(descriptor, min(most, 1))

        (source / "model.gguf").write_bytes(b"weights")
        monkeypatch.setattr(copying.os, "read", read)
        assert refusal(source, tmp_path / os.urandom(4).hex()) == "file.changed"
        monkeypatch.setattr(copying.os, "read", real)


def test_a_file_swapped_for_a_link_after_it_was_listed_is_refused(source, tmp_path, monkeypatch):
    real = copying.check_space

    def swap(*given):
        (source / "model.gguf").unlink()
        (source / "model.gguf").symlink_to("/etc/passwd")
        real(*given)

    monkeypatch.setattr(copying, "check_space", swap)
    assert refusal(source, tmp_path / "target") == "file.symlink"


def test_a_directory_swapped_for_a_link_after_it_was_listed_is_refused(source, tmp_path, monkeypatch):
    real = copying.check_space

    def swap(*given):
        (source / "sub").rename(tmp_path / "elsewhere")
        (source / "sub").symlink_to(tmp_path / "elsewhere")
        real(*given)

    monkeypatch.setattr(copying, "check_space", swap)
    assert refusal(source, tmp_path / "target") in {"file.symlink", "file.unreadable"}


def test_the_digest_is_that_of_the_copy_whatever_happens_to_the_source(source, tmp_path):
    """Somebody rewrites the source all the time: each copy is refused, or whole with its own digest."""
    stop = threading.Event()

    def rewrite():
        number = 0
        while not stop.is_set():
            number += 1
            (source / "model.gguf").write_bytes(bytes([number % 256]) * 7)

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        for number in range(50):
            target = tmp_path / f"copy{number}"
            try:
                copied = copy(source, target)
            except ArtefactRefused:
                continue
            assert files_below(target) == copied
    finally:
        stop.set()
        thread.join()


def test_a_copy_never_overwrites(tmp_path):
    (tmp_path / "there").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        write_copy(lambda most: b"new"[:most], tmp_path / "there", 3)
