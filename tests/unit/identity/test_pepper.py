"""The pepper is made once, kept private, and trusted only when it is what it was."""

import os
import re
import threading

import pytest

from fastness.identity.pepper import PEPPER_BYTES, PepperError, load_or_create


def test_the_first_start_makes_a_private_pepper_and_the_second_reads_it(tmp_path):
    path = tmp_path / "home" / "secrets" / "pepper"
    pepper = load_or_create(path)
    assert len(pepper) == PEPPER_BYTES
    assert load_or_create(path) == pepper == path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path], "the draft is gone"


def test_the_pepper_is_the_randomness_that_was_given(tmp_path):
    assert load_or_create(tmp_path / "own" / "pepper", lambda size: b"x" * size) == b"x" * 32


def test_processes_that_start_together_agree_on_one_pepper(tmp_path):
    path = tmp_path / "secrets" / "pepper"
    start, found = threading.Barrier(8), []

    def begin():
        start.wait()
        found.append(load_or_create(path))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {path.read_bytes()}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_pepper_that_others_may_touch_is_refused(tmp_path, mode):
    path = tmp_path / "secrets" / "pepper"
    load_or_create(path)
    path.chmod(mode)
    with pytest.raises(PepperError, match=re.escape(f"chmod 600 {path}")):
        load_or_create(path)


def test_a_directory_that_others_may_enter_is_refused(tmp_path):
    path = tmp_path / "secrets" / "pepper"
    load_or_create(path)
    path.parent.chmod(0o755)
    with pytest.raises(PepperError, match="chmod 700"):
        load_or_create(path)


@pytest.mark.parametrize(("content", "held"), [(b"", "holds 0"), (b"x" * 31, "holds 31"), (b"x" * 33, "holds more")])
def test_a_pepper_of_a_wrong_length_is_refused_with_a_way_out(tmp_path, content, held):
    path = tmp_path / "secrets" / "pepper"
    load_or_create(path)
    path.write_bytes(content)
    with pytest.raises(PepperError, match=f"{held}.*Restore it from a backup"):
        load_or_create(path)


def test_a_link_or_a_directory_in_its_place_is_refused(tmp_path):
    real, path = tmp_path / "one" / "pepper", tmp_path / "two" / "pepper"
    load_or_create(real)
    load_or_create(path)
    path.unlink()
    path.symlink_to(real)
    with pytest.raises(PepperError, match="symbolic links"):
        load_or_create(path)
    path.unlink()
    path.mkdir(mode=0o700)
    with pytest.raises(PepperError, match="not a plain file"):
        load_or_create(path)


def test_a_named_pipe_in_its_place_is_refused_without_waiting_for_a_writer(tmp_path):
    path = tmp_path / "secrets" / "pepper"
    load_or_create(path)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(PepperError, match="not a plain file"):
        load_or_create(path)


def test_a_directory_that_cannot_be_made_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PepperError, match="cannot be made"):
        load_or_create(tmp_path / "file" / "pepper")
