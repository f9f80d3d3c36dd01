"""The format of a sealed file: it opens whole, for its own key and name, or not at all; and it survives being cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastness.batches.sealed import FRAME_BYTES, SealedFile, read_sealed, write_sealed
from fastness.batches.vault import Vault
from fastness.sealed.box import Damaged

KEY, OTHER = b"k" * 32, b"o" * 32
QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def lines(path: Path, *content: bytes) -> bytes:
    """Write a file of results, one frame each, and return what is on disk."""
    path.unlink(missing_ok=True)
    sealed = SealedFile(path, KEY, "file-1")
    for number, one in enumerate(content, 1):
        sealed.append(one, number)
    sealed.finish()
    sealed.close()
    return path.read_bytes()


def opened(path: Path, key: bytes = KEY, name: str = "file-1") -> bytes:
    return b"".join(read_sealed(path, key, name))


@QUICK
@given(st.lists(st.binary(max_size=100), max_size=5))
def test_what_was_sealed_comes_back(tmp_path, content):
    write_sealed(tmp_path / "a", KEY, "file-1", content)
    assert opened(tmp_path / "a") == b"".join(content)


def test_a_large_file_is_cut_into_frames_and_nothing_of_it_is_in_clear(tmp_path):
    content = b"a secret " * FRAME_BYTES
    write_sealed(tmp_path / "a", KEY, "file-1", [content])
    pieces = list(read_sealed(tmp_path / "a", KEY, "file-1"))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) == FRAME_BYTES
    assert b"secret" not in (tmp_path / "a").read_bytes()
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


@QUICK
@given(st.data())
def test_no_change_of_a_sealed_file_goes_unseen(tmp_path, data):
    whole = lines(tmp_path / "a", b"one", b"two", b"three")
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytes([whole[at] ^ data.draw(st.integers(1, 255))])
    (tmp_path / "a").write_bytes(whole[:at] + changed + whole[at + 1 :])
    with pytest.raises(Damaged):
        opened(tmp_path / "a")


@QUICK
@given(st.data())
def test_no_cut_file_is_taken_for_a_whole_one(tmp_path, data):
    whole = lines(tmp_path / "a", b"one", b"two")
    (tmp_path / "a").write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(Damaged):
        opened(tmp_path / "a")


def test_another_key_another_name_frames_left_out_moved_or_added_do_not_open(tmp_path):
    path = tmp_path / "a"
    whole = lines(path, b"one", b"two")
    size = (len(whole) - (9 + 12 + 16)) // 2
    one, two, last = whole[:size], whole[size : 2 * size], whole[2 * size :]
    for key, name in ((OTHER, "file-1"), (KEY, "file-2")):
        with pytest.raises(Damaged):
            opened(path, key, name)
    for wrong in (two + last, two + one + last, one + one + last, one + two + last + last, one + last):
        path.write_bytes(wrong)
        with pytest.raises(Damaged):
            opened(path)


@QUICK
@given(st.data())
def test_a_file_of_results_that_was_torn_goes_on_after_its_last_whole_frame(tmp_path, data):
    path = tmp_path / "a"
    path.unlink(missing_ok=True)
    content = [b"one", b"two", b"three"]
    sealed = SealedFile(path, KEY, "file-1")
    ends = []
    for number, line in enumerate(content, 1):
        sealed.append(line, number)
        ends.append(path.stat().st_size)
    sealed.close()
    cut = data.draw(st.integers(0, ends[-1]))
    path.write_bytes(path.read_bytes()[:cut])

    again = SealedFile(path, KEY, "file-1")

    whole = sum(end <= cut for end in ends)
    assert again.tags == list(range(1, whole + 1))
    assert (again.cut_bytes == 0) == (cut == ([0, *ends])[whole])
    for number in range(whole + 1, 4):
        again.append(content[number - 1], number)
    again.finish()
    again.close()
    assert opened(path) == b"onetwothree"


def test_a_finished_file_is_found_finished(tmp_path):
    lines(tmp_path / "a", b"one")
    again = SealedFile(tmp_path / "a", KEY, "file-1")
    assert (again.finished, again.tags, again.size_bytes) == (True, [1], 3)
    again.finish()
    again.close()
    assert opened(tmp_path / "a") == b"one"


def test_a_record_opens_for_its_tenant_its_name_and_its_installation_only():
    vault = Vault(b"s" * 32, lambda size: b"n" * size)
    sealed = vault.seal("health", "file-1", b"a name")
    assert vault.open("health", "file-1", sealed) == b"a name"
    for tenant, name in (("justice", "file-1"), ("health", "file-2")):
        with pytest.raises(Damaged):
            vault.open(tenant, name, sealed)
    with pytest.raises(Damaged):
        Vault(b"t" * 32, lambda size: b"n" * size).open("health", "file-1", sealed)
    with pytest.raises(Damaged):
        vault.open("health", "file-1", sealed[:5])
