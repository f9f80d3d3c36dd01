import asyncio
import errno
import os
import select

import pytest

from fastness.config import LedgerSettings
from fastness.core.event import Event, EventType
from fastness.ledger import kernel_sync, loop
from fastness.ledger.kernel_sync import open_kernel_sync
from fastness.ledger.loop import LoopLedger
from ledger_disk import Disk, opened


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
            import threading

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
