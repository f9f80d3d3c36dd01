"""Batches worked off: against a gateway that refuses, fails and vanishes, through kills at any line, to their end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_room import ANN, CHAT, OK, SECRET, Room, form, run
from fastness.batches.asking import Reply
from fastness.batches.line_work import ATTEMPTS_MAX
from fastness.batches.progress import State
from fastness.batches.records import WINDOW_S, Asker
from fastness.core.batch import NewBatch
from fastness.core.error import Refusal


def test_each_line_gets_its_result_and_content_is_nowhere_in_clear(tmp_path):
    async def work() -> None:
        room = Room(tmp_path, lambda name: Reply(400, b'{"error":{}}') if name == "n3" else OK)
        done = await room.end(await room.make(5))
        assert done.out().status == "completed"
        assert (done.progress.completed, done.progress.failed) == (4, 1)
        assert room.lines(done.output.file).keys() == {"n0", "n1", "n2", "n4"}
        assert room.lines(done.errors.file)["n3"]["response"]["status_code"] == 400
        for path in (tmp_path / "batches").rglob("*.*"):
            assert SECRET not in path.read_bytes()
            assert b"what-it-is-called" not in path.read_bytes()
        kinds = [one.type for one in room.ledger.entries()]
        assert kinds == ["file.created", "batch.created", "batch.ended"]

    run(work)


@pytest.mark.parametrize("refusal", [Reply(429, retry_after_s=0), Reply(503), Reply(0, reached=False)])
def test_a_line_that_finds_no_room_waits(tmp_path, refusal):
    async def work() -> None:
        refused = iter([refusal] * 3)
        room = Room(tmp_path, lambda _name: next(refused, OK))
        done = await room.end(await room.make(3))
        assert (done.out().status, done.progress.completed, done.errors.filed) == ("completed", 3, False)

    run(work)


def test_a_line_that_no_limit_will_ever_let_through_does_not_wait_for_it(tmp_path):
    async def work() -> None:
        room = Room(tmp_path, lambda name: Reply(429, b'{"error":{}}') if name == "n0" else OK)
        done = await room.end(await room.make(3))
        assert (done.progress.completed, done.progress.failed) == (2, 1)
        assert room.asked["n0"] == 1
        assert room.lines(done.errors.file)["n0"]["response"]["status_code"] == 429

    run(work)


def test_a_batch_that_cannot_be_destroyed_holds_nobody_else_back(tmp_path, monkeypatch):
    def refuse(_record: object) -> None:
        raise OSError(errno.EIO, "the disk refuses")

    async def work() -> None:
        room = Room(tmp_path, lambda _name: OK)
        await room.end(await room.make(1))
        room.now += 40 * 86_400
        monkeypatch.setattr(room.shelf, "destroy", refuse)
        assert (await room.end(await room.make(1))).out().status == "completed"
        assert room.log.records.count(("batch.disk", {"reason": "OSError"})) > 2, "the batch, its input, its output"

    run(work)


def test_a_tenant_over_its_limit_holds_nobody_else_back(tmp_path):
    async def work() -> None:
        room = Room(tmp_path, lambda _name: OK)
        over, other = await room.make(20), await room.make(20, replace(ANN, tenant="justice"))
        room.over = over
        await room.end(other, 2)
        assert room.shelf.batches[over].progress.completed == 0
        assert room.shelf.batches[over].out().status == "in_progress"
        room.over = ""
        assert (await room.end(over)).progress.completed == 20

    run(work)


def test_a_line_that_engines_die_of_is_given_up_after_a_few_attempts(tmp_path, monkeypatch):
    monkeypatch.setattr("fastness.batches.line_work.RETRY_S", 0.001)

    async def work() -> None:
        room = Room(tmp_path, lambda name: Reply(502, b'{"error":{}}') if name == "n0" else Reply(0))
        done = await room.end(await room.make(2))
        assert room.asked == {"n0": ATTEMPTS_MAX, "n1": ATTEMPTS_MAX}
        failed = room.lines(done.errors.file)
        assert failed["n0"]["response"]["status_code"] == 502
        assert (failed["n1"]["response"], failed["n1"]["error"]["code"]) == (None, "engine_failed")

    run(work)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(kills=st.lists(st.integers(0, 14), max_size=3), torn=st.integers(0, 40))
def test_wherever_it_is_killed_each_line_is_in_the_output_once(tmp_path_factory, kills, torn):
    """A kill is a write that does not come to its end; what was written before is all that the next start has."""
    home = tmp_path_factory.mktemp("home")

    async def work() -> None:
        room = Room(home, lambda _name: OK)
        batch = await room.make(6)
        for number in kills:
            room = Room(home, answer_until(number))
            with contextlib.suppress(TimeoutError):
                await room.end(batch, 0.05)
            if room.shelf.batches[batch].progress.status is not State.IN_PROGRESS:
                break  # the results of the line that is torn below were durable before that was so
            tear(home, batch, room, torn)
        last = Room(home, lambda _name: OK)
        assert last.unreadable == []
        done = await last.end(batch)
        assert last.lines(done.output.file).keys() == {f"n{number}" for number in range(6)}
        assert (done.progress.completed, done.progress.failed, done.errors.filed) == (6, 0, False)

    run(work)


def answer_until(number: int) -> Callable[[str], Reply]:
    left = [number % 6]  # fewer than there are lines: the batch does not end before it is killed

    def answer(_name: str) -> Reply:
        left[0] -= 1
        return OK if left[0] >= 0 else Reply(0, reached=False)

    return answer


def tear(home: Path, batch: str, room: Room, torn: int) -> None:
    record = room.shelf.batches[batch]
    path = room.shelf.content_path(record.tenant, record.output.file)
    if path.exists():
        os.truncate(path, max(0, path.stat().st_size - torn))
    assert home in path.parents


def test_when_the_window_is_over_the_rest_is_in_the_error_file(tmp_path):
    async def work() -> None:
        room = Room(tmp_path, lambda name: OK if name == "n0" else Reply(503))
        batch = await room.make(4)

        async def over() -> None:
            while room.shelf.batches[batch].progress.completed < 1:
                await asyncio.sleep(0.002)
            room.now += WINDOW_S

        done, _ = await asyncio.gather(room.end(batch), over())
        assert done.out().status == "expired"
        assert room.lines(done.output.file).keys() == {"n0"}
        errors = room.lines(done.errors.file)
        assert {one["error"]["code"] for one in errors.values()} == {"batch_expired"}
        assert errors.keys() == {"n1", "n2", "n3"}
        assert (done.progress.total, done.progress.completed, done.progress.failed) == (4, 1, 3)

    run(work)


def test_a_full_disk_makes_a_batch_wait_and_not_fail(tmp_path, monkeypatch):
    monkeypatch.setattr("fastness.batches.runner.REST_S", 0.0)

    async def work() -> None:
        room = Room(tmp_path, lambda _name: OK)
        batch = await room.make(2)
        full = iter([True, True])
        keep = room.shelf.keep

        def keep_or_not(record: Any) -> None:
            if next(full, False):
                raise OSError(28, "No space left on device")
            keep(record)

        monkeypatch.setattr(room.shelf, "keep", keep_or_not)
        assert (await room.end(batch)).out().status == "completed"
        assert ("batch.disk", {"reason": "OSError"}) in room.log.records

    run(work)


def test_a_damaged_input_fails_its_batch_and_no_other(tmp_path):
    async def work() -> None:
        room = Room(tmp_path, lambda _name: OK)
        broken, sound = await room.make(2), await room.make(2)
        path = room.shelf.content_path("health", room.shelf.batches[broken].input_file)
        os.truncate(path, path.stat().st_size - 1)
        assert (await room.end(broken)).out().errors.data[0].code == "input_unreadable"
        assert (await room.end(sound)).out().status == "completed"

    run(work)


# ---- what a tenant keeps


def refused(work: Any) -> Refusal:
    with pytest.raises(Refusal) as raised:
        run(work)
    return raised.value


@pytest.mark.parametrize(
    "asker",
    [Asker("key_bob", "justice", "api_key", "OFFICIAL", "r"), Asker("key_ann", "health", "api_key", "SECRET", "r")],
)
def test_a_file_of_another_marking_is_not_there(tmp_path, asker):
    async def work() -> None:
        room = Room(tmp_path, lambda _name: OK)
        file = await room.keeping.upload(ANN, form(b"x"))
        assert room.keeping.files(asker) == []
        await room.keeping.create(asker, NewBatch(file.id, CHAT))

    assert refused(work).code == "not_found"


def test_a_tenant_keeps_only_so_much(tmp_path):
    async def work() -> None:
        room = Room(tmp_path, lambda _name: OK, files_max=2, tenant_bytes_max=1_024, batches_max=1)
        first = await room.keeping.upload(ANN, form(b"x" * 600))
        with pytest.raises(Refusal, match="1,200 bytes; the limit is 1,024"):
            await room.keeping.upload(ANN, form(b"x" * 600))
        await room.keeping.upload(ANN, form(b"x"))
        with pytest.raises(Refusal, match="2 files; the limit is 2"):
            await room.keeping.upload(ANN, form(b"x"))
        await room.keeping.create(ANN, NewBatch(first.id, CHAT))
        with pytest.raises(Refusal, match="1 batches that have not ended"):
            await room.keeping.create(ANN, NewBatch(first.id, CHAT))

    run(work)


def test_a_file_is_destroyed_when_its_time_is_over_unless_a_batch_reads_it(tmp_path):
    async def work() -> None:
        room = Room(tmp_path, lambda _name: OK)
        an_hour = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
        idle = await room.keeping.upload(ANN, form(b"x", **an_hour))
        batch = await room.make(1)
        room.now += 3_600
        await room.end(batch)
        assert idle.id not in room.shelf.files
        assert not list((tmp_path / "batches").rglob(f"{idle.id}*"))
        assert len(room.shelf.files) == 2

    run(work)


def test_who_cannot_be_spoken_for_later_makes_no_batch(tmp_path):
    async def work() -> None:
        room = Room(tmp_path, lambda _name: OK)
        asker = Asker("someone", "health", "oidc", "OFFICIAL", "req_1")
        file = await room.keeping.upload(asker, form(b"x"))
        await room.keeping.create(asker, NewBatch(file.id, CHAT))

    found = refused(work)
    assert (found.code, "API key" in found.message) == ("permission_denied", True)


def test_what_the_ledger_cannot_record_is_not_kept(tmp_path):
    async def work() -> None:
        room = Room(tmp_path, lambda _name: OK)
        room.ledger.refusal = "disk full"
        with pytest.raises(Refusal, match="ledger"):
            await room.keeping.upload(ANN, form(b"x"))
        assert not list((tmp_path / "batches").rglob("*.*"))

    run(work)


@pytest.mark.parametrize(
    ("name", "fields", "code"),
    [
        ("a", {"purpose": "vision"}, "invalid_value"),
        ("a", {"user": "x"}, "unknown_field"),
        ("a\n", {}, "invalid_value"),
        ("a" * 256, {}, "invalid_value"),
        ("a", {"expires_after[seconds]": "3600"}, "invalid_value"),
        ("a", {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"}, "invalid_value"),
        ("a", {"expires_after[anchor]": "created_at", "expires_after[seconds]": "x"}, "invalid_type"),
    ],
)
def test_an_upload_that_cannot_be_honoured_is_refused(tmp_path, name, fields, code):
    async def work() -> None:
        await Room(tmp_path, lambda _name: OK).keeping.upload(ANN, form(b"x", name, **fields))

    assert refused(work).code == code


def test_with_another_secret_nothing_opens_and_nothing_is_lost(tmp_path):
    async def work() -> None:
        room = Room(tmp_path, lambda name: OK if name == "n0" else Reply(503))
        batch = await room.make(2)
        with contextlib.suppress(TimeoutError):
            await room.end(batch, 0.1)
        before = sorted(path.name for path in (tmp_path / "batches").rglob("*.*"))
        stranger = Room(tmp_path, lambda _name: OK, secret=b"t" * 32)
        assert (len(stranger.unreadable), stranger.shelf.files, stranger.shelf.batches) == (2, {}, {})
        assert sorted(path.name for path in (tmp_path / "batches").rglob("*.*")) == before
        assert (await Room(tmp_path, lambda _name: OK).end(batch)).progress.completed == 2

    run(work)


def test_a_file_of_another_installation_is_told_and_left_alone(tmp_path):
    async def work() -> None:
        room = Room(tmp_path, lambda _name: OK)
        file = await room.keeping.upload(ANN, form(b"x"))
        path = tmp_path / "batches" / "health" / f"{file.id}.record"
        path.write_bytes(path.read_bytes()[:-1])
        again = Room(tmp_path, lambda _name: OK)
        assert (again.unreadable, again.shelf.files) == ([file.id], {})
        assert path.with_suffix(".sealed").exists()

    run(work)
