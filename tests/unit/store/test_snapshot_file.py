"""Snapshots: the reader sees the old one or the new one, and a bad file changes nothing."""

import subprocess
import sys
import threading

import msgspec
import pytest

from fastness.core.model import ModelCard, ModelKind, ToolFormat
from fastness.core.replica import Diagnosis, Replica, ReplicaState, RoutingSnapshot
from fastness.core.tenant import AccessSnapshot, ApiKey, Role, Tenant
from fastness.store import snapshot_file
from fastness.store.snapshot_file import SnapshotFault, SnapshotReader, write_snapshot

ACCESS = AccessSnapshot(
    7,
    (Tenant("health", "Health", 1, ("a",)), Tenant("tax", "Tax", 1, None, 9)),
    (ApiKey("key_1", "health", "ci", Role.ADMIN, "fst_admin_abc", "0" * 64, 1, 2, 3, ("a",)),),
)
ROUTING = RoutingSnapshot(
    3,
    (ModelCard("small", ModelKind.CHAT, "0" * 64, 1, "MIT", 2048, 1, ToolFormat("use {tools}", "<t>", "</t>")),),
    (
        Replica("r1", "small", "llamacpp", ReplicaState.FAILED, "/run/x", 8, 2048, 1, True, 42,
                diagnosis=Diagnosis("oom", "no memory", "add some", ("line",))),
    ),
)  # fmt: skip


def reader(path, kind=AccessSnapshot):
    problems = []
    return SnapshotReader(path, kind, problems.append), problems


@pytest.mark.parametrize(("kind", "value"), [(AccessSnapshot, ACCESS), (RoutingSnapshot, ROUTING)])
def test_what_was_written_is_read_once_and_then_unchanged(tmp_path, kind, value):
    write_snapshot(tmp_path / "snapshot.json", value)
    reading, problems = reader(tmp_path / "snapshot.json", kind)
    assert reading.poll() == value
    assert reading.poll() is None
    assert problems == []


def test_a_snapshot_is_private_and_leaves_no_draft(tmp_path):
    write_snapshot(tmp_path / "access.json", ACCESS)
    write_snapshot(tmp_path / "access.json", ACCESS)
    assert [file.name for file in tmp_path.iterdir()] == ["access.json"]
    assert (tmp_path / "access.json").stat().st_mode & 0o777 == 0o600


def test_each_new_snapshot_is_noticed_also_when_written_in_a_burst(tmp_path):
    reading, _ = reader(tmp_path / "access.json")
    for version in range(100, 400):
        write_snapshot(tmp_path / "access.json", AccessSnapshot(version, (), ()))
        if version % 3 == 0:
            continue
        assert reading.poll() == AccessSnapshot(version, (), ())


def test_two_snapshots_within_one_tick_of_the_kernel_still_differ_in_time(tmp_path, monkeypatch):
    """An inode that was freed may be taken again at once: then only the time tells two files of one size apart."""
    monkeypatch.setattr(snapshot_file.os, "fsync", lambda _descriptor: None)
    times = set()
    for _ in range(100):
        write_snapshot(tmp_path / "access.json", ACCESS)
        times.add((tmp_path / "access.json").stat().st_mtime_ns)
    assert len(times) == 100


def test_a_missing_file_is_reported_once_and_read_when_it_comes(tmp_path):
    reading, problems = reader(tmp_path / "access.json")
    assert [reading.poll() for _ in range(3)] == [None, None, None]
    assert [problem.fault for problem in problems] == [SnapshotFault.MISSING]
    write_snapshot(tmp_path / "access.json", ACCESS)
    assert reading.poll() == ACCESS
    assert reading.problem is None


def test_a_file_that_goes_and_comes_back_is_read_again(tmp_path):
    path = tmp_path / "access.json"
    write_snapshot(path, ACCESS)
    reading, problems = reader(path)
    reading.poll()
    path.rename(tmp_path / "aside")
    assert reading.poll() is None
    (tmp_path / "aside").rename(path)
    assert reading.poll() == ACCESS
    assert len(problems) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"version": 1, "tenants": []', b'{"version": "one", "tenants": [], "keys": []}', b"\xff\xfe", b"[]"],
)
def test_a_torn_or_foreign_file_is_reported_once_and_not_taken(tmp_path, content):
    path = tmp_path / "access.json"
    write_snapshot(path, ACCESS)
    reading, problems = reader(path)
    assert reading.poll() == ACCESS
    path.write_bytes(content)
    assert [reading.poll() for _ in range(3)] == [None, None, None]
    assert [problem.fault for problem in problems] == [SnapshotFault.INVALID]
    assert "stays in force" in str(problems[0])
    write_snapshot(path, AccessSnapshot(8, (), ()))
    assert reading.poll() == AccessSnapshot(8, (), ())


def test_a_file_that_cannot_be_read_is_reported(tmp_path):
    (tmp_path / "access.json").mkdir()
    reading, problems = reader(tmp_path / "access.json")
    assert reading.poll() is None
    assert problems[0].fault is SnapshotFault.UNREADABLE


def test_a_file_beyond_the_limit_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot_file, "SNAPSHOT_BYTES_MAX", 64)
    write_snapshot(tmp_path / "access.json", ACCESS)
    reading, problems = reader(tmp_path / "access.json")
    assert reading.poll() is None
    assert problems[0].fault is SnapshotFault.TOO_LARGE


def test_a_field_of_a_newer_writer_is_passed_over(tmp_path):
    fields = msgspec.to_builtins(ACCESS) | {"new_field": 1}
    (tmp_path / "access.json").write_bytes(msgspec.json.encode(fields))
    assert reader(tmp_path / "access.json")[0].poll() == ACCESS


def test_a_failed_write_leaves_the_old_snapshot_and_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "access.json"
    write_snapshot(path, ACCESS)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot_file.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_snapshot(path, AccessSnapshot(8, (), ()))
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["access.json"]
    assert reader(path)[0].poll() == ACCESS


def test_a_reader_beside_a_busy_writer_never_sees_half_a_snapshot(tmp_path):
    path, done = tmp_path / "access.json", threading.Event()
    reading, problems = reader(path)

    def write():
        for version in range(1, 200):
            write_snapshot(path, AccessSnapshot(version, ACCESS.tenants * version, ()))
        done.set()

    write_snapshot(path, AccessSnapshot(0, (), ()))
    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while not done.is_set():
        if (value := reading.poll()) is not None:
            assert len(value.tenants) == 2 * value.version
            seen.append(value.version)
    writer.join()
    if (value := reading.poll()) is not None:
        seen.append(value.version)
    assert problems == []
    assert seen == sorted(seen)
    assert seen[-1] == 199


def test_reading_snapshots_loads_no_database_code():
    program = "import sys, fastness.store.snapshot_file, fastness.identity.authenticator; "
    program += "sys.exit(any(name.startswith(('sqlalchemy', 'alembic', 'starlette')) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
