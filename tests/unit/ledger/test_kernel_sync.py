import asyncio
import ctypes
import errno
import os
import select
import threading

import pytest

from fastness.config import LedgerSettings
from fastness.core.event import Event, EventType
from fastness.ledger import kernel_sync, loop, segments
from fastness.ledger.kernel_sync import open_kernel_sync
from fastness.ledger.loop import LoopLedger
from fastness.ledger.verify import verify
from ledger_disk import Disk, opened, until


@pytest.fixture
def kernel(tmp_path):
    directory = os.open(tmp_path, os.O_RDONLY)
    found = open_kernel_sync(directory)
    os.close(directory)
    if found is None:
        pytest.skip("this kernel does not sync without a thread")
    yield found
    found.close()


def test_it_tells_on_its_descriptor_when_a_file_is_durable(kernel, tmp_path):
    with (tmp_path / "file").open("wb", buffering=0) as file:
        for _ in range(20):
            file.write(b"entry\n")
            kernel.begin(file.fileno())
            assert select.select([kernel.descriptor], [], [], 10)[0]
            assert kernel.outcome() == 0
            assert kernel.outcome() is None


def test_what_cannot_be_synced_is_an_error_at_once(kernel):
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="Invalid argument") as raised:
        kernel.begin(writing)
    assert raised.value.errno == errno.EINVAL
    os.close(reading)
    os.close(writing)


def test_a_signal_in_between_is_no_failure_of_the_disk(kernel, tmp_path, monkeypatch):
    real, interrupted = kernel._call, []

    def call(number, *arguments):
        if len(interrupted) < 2:
            interrupted.append(number)
            ctypes.set_errno(errno.EINTR)
            return -1
        return real(number, *arguments)

    with (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(b"entry\n")
        kernel.begin(file.fileno())
        monkeypatch.setattr(kernel, "_call", call)
        assert kernel.outcome(wait=True) == 0
        assert len(interrupted) == 2


@pytest.mark.parametrize("numbers", [{}, {os.uname().machine: (4_095,) * 4}], ids=["machine", "kernel"])
def test_where_it_is_not_known_or_refused_the_thread_writes(numbers, monkeypatch, tmp_path):
    monkeypatch.setattr(kernel_sync, "_CALLS", numbers)

    async def main() -> None:
        ledger = LoopLedger.open(tmp_path, "gateway-0", LedgerSettings(), lambda: 0)
        assert (await ledger.commit(Event(EventType.STOPPED, 0, {"pid": 1}))).index == 0
        await ledger.close()

    asyncio.run(main())


def test_a_disk_on_which_writing_takes_long_is_written_by_the_thread_for_a_while(monkeypatch, tmp_path):
    writers: set[str] = set()

    class Counting(Disk):
        def write(self, fd: int, content: bytes, offset: int) -> int:
            writers.add(threading.current_thread().name)
            return super().write(fd, content, offset)

    async def main() -> None:
        disk = Counting()
        ledger = opened(tmp_path, disk, of_loop=True)
        await ledger.commit(Event(EventType.STOPPED, 0, {"pid": 1}))
        monkeypatch.setattr(loop, "SLOW_WRITE_S", -1.0)
        await ledger.commit(Event(EventType.STOPPED, 0, {"pid": 2}))
        writers.clear()
        await ledger.commit(Event(EventType.STOPPED, 0, {"pid": 3}))
        assert writers == {"ledger-gateway-0"}
        await ledger.close()

    asyncio.run(main())


def test_the_loop_writes_nothing_while_the_thread_is_at_a_batch_or_has_one_before_it(monkeypatch, tmp_path):
    monkeypatch.setattr("fastness.ledger.file.RETRY_S", 0.01)
    sealing, go_on, seal = threading.Event(), threading.Event(), segments.seal

    def slowly(drafted, index, chain):
        if index == 1 and threading.current_thread().name == "ledger-gateway-0":
            sealing.set()
            assert go_on.wait(10)
        return seal(drafted, index, chain)

    monkeypatch.setattr(segments, "seal", slowly)

    def entry(pid: int) -> Event:
        return Event(EventType.STOPPED, 0, {"pid": pid})

    async def main() -> None:
        disk = Disk()
        ledger = opened(tmp_path, disk, of_loop=True)
        disk.full = True
        ledger.append(entry(1))  # refused and kept: the thread tries it again
        await until(lambda: ledger._retrying)
        disk.open_gate.clear()
        disk.full = False
        await until(lambda: ledger._segments.has_upkeep)  # it is at it
        second = asyncio.create_task(ledger.commit(entry(2)))
        await asyncio.sleep(0.01)
        third = asyncio.create_task(ledger.commit(entry(3)))
        await asyncio.sleep(0.01)
        disk.open_gate.set()
        await until(sealing.is_set)
        await asyncio.sleep(0.05)
        go_on.set()
        assert [(await one).index for one in (second, third)] == [1, 2]
        await ledger.close()

    asyncio.run(main())
    report = verify(tmp_path)
    assert (report.sound, report.logs[0].entries) == (True, 3)
