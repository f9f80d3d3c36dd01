import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ledger_disk
from fastness.core.event import Event
from fastness.ledger.file import FileLedger
from fastness.ledger.port import LedgerUnavailable, Position
from fastness.ledger.verify import read, tail, verify
from ledger_disk import Disk, until


@pytest.fixture(params=[False, True], ids=["thread", "loop"], autouse=True)
def of_loop(request, monkeypatch) -> bool:
    """Which of the two writes: both promise the same."""
    monkeypatch.setitem(globals(), "opened", partial(ledger_disk.opened, of_loop=request.param))
    return request.param


opened = ledger_disk.opened


@pytest.fixture
def disk() -> Disk:
    return Disk()


def test_a_thousand_commits_at_once_come_back_in_order_with_few_fsyncs(tmp_path, disk, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk)
        before = disk.syncs
        positions = await asyncio.gather(*(ledger.commit(event(number)) for number in range(1_000)))
        assert [position.index for position in positions] == list(range(1_000))
        assert disk.syncs - before <= 20
        await ledger.close()

    asyncio.run(main())
    assert [entry.fields["request_id"] for entry in read(tmp_path)] == [f"req_{number}" for number in range(1_000)]
    assert verify(tmp_path).logs[0].entries == 1_000


def test_what_arrives_during_an_fsync_is_the_next_batch(tmp_path, disk, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk)
        await ledger.commit(event(0))
        disk.open_gate.clear()
        before = disk.syncs
        waiting = [asyncio.ensure_future(ledger.commit(event(1)))]
        await until(lambda: len(list(read(tmp_path))) == 2)  # written, and held in the fsync
        waiting += [asyncio.ensure_future(ledger.commit(event(number))) for number in range(2, 500)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        disk.open_gate.set()
        await asyncio.gather(*waiting)
        assert disk.syncs - before == 2
        await ledger.close()

    asyncio.run(main())


def test_a_batch_has_at_most_batch_entries_max_entries(tmp_path, disk, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk, batch_entries_max=10)
        before = disk.syncs
        await asyncio.gather(*(ledger.commit(event(number)) for number in range(100)))
        assert disk.syncs - before >= 10
        await ledger.close()

    asyncio.run(main())


def test_nothing_is_acknowledged_before_its_fsync_returned(tmp_path, disk, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk)
        told: list[object] = []
        disk.open_gate.clear()
        ledger.commit_then(event(0), told.append)
        await until(lambda: len(list(read(tmp_path))) == 1)
        await asyncio.sleep(0.05)
        assert told == []
        disk.open_gate.set()
        await until(lambda: len(told) == 1)
        await ledger.close()

    asyncio.run(main())


def test_beyond_queue_entries_max_it_is_refused_at_once(tmp_path, disk, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk, queue_entries_max=5, batch_entries_max=1)
        disk.open_gate.clear()
        first = asyncio.ensure_future(ledger.commit(event(0)))
        await until(lambda: len(list(read(tmp_path))) == 1)  # taken from the queue, and held in the fsync
        waiting = [asyncio.ensure_future(ledger.commit(event(number))) for number in range(1, 6)]
        await asyncio.sleep(0)
        with pytest.raises(LedgerUnavailable, match=r"5 entries of the log gateway-0 wait .*ledger.queue_entries_max"):
            await ledger.commit(event(6))
        with pytest.raises(LedgerUnavailable, match="5 entries"):
            ledger.append(event(7))
        disk.open_gate.set()
        await asyncio.gather(first, *waiting)
        assert (await ledger.commit(event(8))).index == 6
        await ledger.close()

    asyncio.run(main())


def test_segments_are_rotated_and_the_chain_goes_on(tmp_path, disk, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk, batch_entries_max=50)
        for start in range(0, 2_000, 100):
            await asyncio.gather(*(ledger.commit(event(number)) for number in range(start, start + 100)))
        await ledger.close()

    asyncio.run(main())
    (report,) = verify(tmp_path).logs
    assert report.sound
    assert report.entries == 2_000
    sizes = [path.stat().st_size for path in sorted(tmp_path.glob("*.jsonl"))]
    assert len(sizes) > 3
    assert all(65_536 <= size <= 65_536 + 50 * 250 for size in sizes[:-1])


@pytest.mark.parametrize("taken", [0, 1, 100, 190])
def test_a_full_disk_refuses_and_recovers_when_there_is_space_again(tmp_path, disk, event, taken):
    async def main() -> None:
        ledger = opened(tmp_path, disk)
        kept = await ledger.commit(event(0))
        disk.write_faults.append(taken)
        with pytest.raises(LedgerUnavailable, match=r"cannot record: .*No space left.*Check the free space"):
            await ledger.commit(event(1))
        assert [entry.index for entry in read(tmp_path)] == [0]  # cut back at once
        disk.full = True
        with pytest.raises(LedgerUnavailable, match="No space left"):
            await ledger.commit(event(2))
        disk.full = False
        assert (await ledger.commit(event(3))).index == 1
        await ledger.close()
        assert next(read(tmp_path)).chain == kept.chain

    asyncio.run(main())
    assert [entry.fields["request_id"] for entry in read(tmp_path)] == ["req_0", "req_3"]
    assert verify(tmp_path).sound


def test_a_short_write_is_continued(tmp_path, disk, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk)
        disk.write_faults.extend([None, None, None])
        assert (await ledger.commit(event(0))).index == 0
        await ledger.close()

    asyncio.run(main())
    assert verify(tmp_path).logs[0].entries == 1


def test_a_failed_fsync_fails_the_whole_batch_and_none_of_it_counts(tmp_path, disk, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk)
        await ledger.commit(event(0))
        disk.sync_faults.append(True)
        failed = await asyncio.gather(*(ledger.commit(event(n)) for n in range(1, 50)), return_exceptions=True)
        assert all(isinstance(outcome, LedgerUnavailable) for outcome in failed)
        assert len({id(outcome) for outcome in failed}) == 49  # an exception of their own each
        assert [entry.index for entry in read(tmp_path)] == [0]
        assert (await ledger.commit(event(50))).index == 1
        await ledger.close()

    asyncio.run(main())
    assert [entry.fields["request_id"] for entry in read(tmp_path)] == ["req_0", "req_50"]


def test_a_disk_that_lost_what_was_durable_is_not_trusted_again(tmp_path, event):
    """A failed fsync may leave on the disk an older block than the one that was durable before."""

    class Liar(Disk):
        lose = False

        def sync(self, fd: int) -> None:
            if self.lose:
                self.lose = False
                os.pwrite(fd, b"\0" * 30, 20)
                raise OSError(errno.EIO, "Input/output error")
            super().sync(fd)

    async def main() -> None:
        disk = Liar()
        ledger = opened(tmp_path, disk)
        await ledger.commit(event(0))
        disk.lose = True
        with pytest.raises(LedgerUnavailable, match="Input/output error"):
            await ledger.commit(event(1))
        for number in (2, 3):
            with pytest.raises(LedgerUnavailable, match="no longer ends with entry 0, which was durable"):
                await ledger.commit(event(number))
        await ledger.close()

    asyncio.run(main())


def test_a_removed_segment_is_noticed_before_anything_is_acknowledged(tmp_path, disk, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk)
        await ledger.commit(event(0))
        (tmp_path / "00000000.jsonl").unlink()
        for number in (1, 2):
            with pytest.raises(
                LedgerUnavailable, match="removed while it was written" if number == 1 else "No such file"
            ):
                await ledger.commit(event(number))
        await ledger.close()

    asyncio.run(main())
    assert not (tmp_path / "00000000.jsonl").exists()


def test_appended_entries_that_the_disk_refused_are_recorded_when_it_recovers(tmp_path, disk, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk)
        disk.full = True
        for number in range(5):
            ledger.append(event(number))
        with pytest.raises(LedgerUnavailable):
            await ledger.commit(event(5))
        disk.full = False
        assert (await ledger.commit(event(6))).index == 5
        await ledger.close()

    asyncio.run(main())
    assert [entry.fields["request_id"] for entry in read(tmp_path)] == [
        f"req_{number}" for number in (0, 1, 2, 3, 4, 6)
    ]


def test_appended_entries_are_tried_again_without_waiting_for_another(tmp_path, disk, event, monkeypatch):
    monkeypatch.setattr("fastness.ledger.file.RETRY_S", 0.01)

    async def main() -> None:
        ledger = opened(tmp_path, disk)
        disk.write_faults.extend([0, 0, 0])
        ledger.append(event(0))
        await until(lambda: not disk.write_faults and len(list(read(tmp_path))) == 1)
        await ledger.close()

    asyncio.run(main())


def test_closing_says_when_appended_entries_are_lost(tmp_path, disk, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk)
        await ledger.commit(event(0))
        disk.full = True
        ledger.append(event(1))
        ledger.append(event(2))
        with pytest.raises(LedgerUnavailable, match="2 appended entries of the log gateway-0 could not be recorded"):
            await ledger.close()

    asyncio.run(main())
    assert verify(tmp_path).logs[0].entries == 1


def test_a_full_disk_at_start_is_told(tmp_path, disk, event, write_log):
    write_log(tmp_path, count=3)
    with (tmp_path / "00000000.jsonl").open("ab") as file:
        file.write(b"torn")
    disk.full = True
    with pytest.raises(LedgerUnavailable, match="No space left"):
        opened(tmp_path, disk)

    disk.full = False
    asyncio.run(opened(tmp_path, disk).close())
    assert tail(tmp_path, 1)[0].fields["cut_bytes"] == 4


def test_a_callback_that_raises_does_not_disturb_the_others(tmp_path, disk, event):
    async def main() -> None:
        complaints: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        ledger = opened(tmp_path, disk)
        told: list[Position | LedgerUnavailable] = []

        def wrong(outcome: Position | LedgerUnavailable) -> None:
            raise RuntimeError("a defect of the caller")

        for callback in (told.append, wrong, told.append):
            ledger.commit_then(event(0), callback)
        await until(lambda: len(told) == 2)
        assert [str(complaint["exception"]) for complaint in complaints] == ["a defect of the caller"]
        await ledger.close()

    asyncio.run(main())


def test_the_head_is_written_while_the_log_is_open(tmp_path, disk, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk)
        await asyncio.gather(*(ledger.commit(event(number)) for number in range(5_000)))
        await until(lambda: verify(tmp_path).logs[0].vouched_entries >= 4_096)
        await ledger.close()

    asyncio.run(main())
    assert verify(tmp_path).logs[0].vouched_entries == 5_000


def test_a_head_that_cannot_be_written_does_not_disturb_the_log(tmp_path, disk, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk)
        (tmp_path / "head.json.new").mkdir()
        assert (await ledger.commit(event(0))).index == 0
        await ledger.close()

    asyncio.run(main())
    assert verify(tmp_path).logs[0].entries == 1


def test_a_log_can_be_verified_while_it_is_written(tmp_path, disk, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk)
        done = asyncio.Event()

        async def write() -> None:
            for start in range(0, 6_000, 60):
                await asyncio.gather(*(ledger.commit(event(number)) for number in range(start, start + 60)))
            done.set()

        writing = asyncio.ensure_future(write())
        while not done.is_set():
            report = await asyncio.to_thread(verify, tmp_path)
            assert report.sound, report
        await writing
        await ledger.close()

    asyncio.run(main())


# What is put before the disk for the next commits: bytes taken before it is full, fsyncs and cuts that fail.
FAULTS = st.fixed_dictionaries(
    {
        "write": st.lists(st.none() | st.integers(0, 600), max_size=2),
        "sync": st.lists(st.booleans(), max_size=3),
        "truncate": st.lists(st.booleans(), max_size=2),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(FAULTS, st.integers(1, 5)), min_size=1, max_size=8))
def test_whatever_the_disk_does_no_acknowledged_entry_is_lost_and_no_refused_one_stays(
    tmp_path_factory, event: Callable[[int], Event], signing, steps
):
    """Signed meanwhile: the faults hit what the notary writes as well, whichever comes first."""
    directory = tmp_path_factory.mktemp("faulty") / "gateway-0"
    acknowledged: dict[int, tuple[str, object]] = {}

    async def commit(ledger: FileLedger, name: int) -> bool:
        try:
            position = await ledger.commit(event(name))
        except LedgerUnavailable:
            return False
        assert position.index not in acknowledged
        acknowledged[position.index] = (position.chain, f"req_{name}")
        return True

    async def main() -> None:
        disk = Disk()
        ledger = opened(directory, disk, signing=signing)
        for number, (faults, count) in enumerate(steps):
            disk.write_faults, disk.sync_faults = deque(faults["write"]), deque(faults["sync"])
            disk.truncate_faults = deque(faults["truncate"])
            await asyncio.gather(*(commit(ledger, 10 * number + place) for place in range(count)))
        disk.write_faults, disk.sync_faults, disk.truncate_faults = deque(), deque(), deque()
        assert await commit(ledger, 1_000)
        await ledger.close()

    with pytest.MonkeyPatch.context() as quickly:
        quickly.setattr("fastness.ledger.notary.RETRY_S", 0.001)
        asyncio.run(main())
    keys = [signer.verifier for signer in signing.key.signers("fastness.example/gateway-0")]
    (report,) = verify(directory, keys=keys).logs
    assert report.sound, report
    assert report.checkpoint_entries == report.entries
    assert {entry.index: (entry.chain, entry.fields["request_id"]) for entry in read(directory)} == acknowledged
