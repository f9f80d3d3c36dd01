"""One real process: its last words, its end, and the end of its group."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest
import uvloop

from fastness.fleet.process import LINE_BYTES_MAX, LINES_MAX, Process
from keeper_child import children, is_gone, soon

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def drive(request):
    """Run a coroutine function on either event loop; no process of ours may be left afterwards."""
    before = children()

    def run(journey):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(journey())

    yield run
    assert children() <= before


def python(text, **keywords):
    return Process.start([sys.executable, "-I", "-S", "-c", text], {}, **keywords)


async def finish(process):
    async with asyncio.timeout(60):
        await process.wait()
    return await process.end(1.0)


def test_the_exit_code_and_the_last_words_are_kept(drive):
    async def journey():
        process = await python("import sys; sys.stderr.write('one\\ntwo\\nhalf a line'); sys.exit(4)")
        assert await process.wait() == 4
        assert await process.end(1.0) == 4
        assert list(process.lines) == ["one", "two", "half a line"]

    drive(journey)


def test_a_signal_is_a_negative_exit_code(drive):
    async def journey():
        process = await python("import os; os.kill(os.getpid(), 11)")
        assert await process.wait() == -signal.SIGSEGV
        await process.end(1.0)

    drive(journey)


def test_a_flood_on_stderr_is_bounded_in_lines_and_bytes_and_ends_with_the_newest(drive):
    async def journey():
        told = []
        process = await python(
            "import sys\nfor n in range(20000): sys.stderr.write(f'line {n}\\n')\nsys.stderr.write('z' * 1_000_000)",
            on_line=told.append,
        )
        await process.wait()
        await process.end(1.0)
        assert len(process.lines) == LINES_MAX
        assert process.lines[-2] == "line 19999"
        assert process.lines[-1] == "z" * LINE_BYTES_MAX
        assert len(told) == 20_001

    drive(journey)


def test_bytes_that_are_no_text_are_kept_readable(drive):
    async def journey():
        process = await python("import os; os.write(2, b'\\xff\\xfe caf\\xc3\\xa9\\n')")
        await finish(process)
        assert list(process.lines) == ["\ufffd\ufffd caf\u00e9"]

    drive(journey)


def test_a_full_disk_where_lines_go_does_not_stop_the_reading(drive):
    async def journey():
        def refuse(_):
            raise OSError(28, "No space left on device")

        process = await python("import sys\nfor n in range(20000): sys.stderr.write(f'line {n}\\n')", on_line=refuse)
        async with asyncio.timeout(60):
            await process.wait()
        await process.end(1.0)
        assert process.lines[-1] == "line 19999"

    drive(journey)


def test_a_polite_signal_is_enough_for_a_polite_process(drive):
    async def journey():
        process = await python("import time; time.sleep(600)")
        began = time.perf_counter()
        assert await process.end(10.0) == -signal.SIGTERM
        assert time.perf_counter() - began < 5.0

    drive(journey)


def test_a_stubborn_process_is_killed_with_its_group(drive):
    async def journey():
        process = await python(
            "import os, signal, sys, time\nsignal.signal(15, signal.SIG_IGN)\npid = os.fork()\n"
            "if pid: sys.stderr.write(f'{pid}\\n'); sys.stderr.flush()\ntime.sleep(600)"
        )
        await soon(lambda: process.lines)
        assert await process.end(0.1) == -signal.SIGKILL
        await soon(lambda: is_gone(int(process.lines[0])))

    drive(journey)


def test_a_stop_that_is_cancelled_still_kills(drive):
    async def journey():
        process = await python(
            "import signal, sys, time\nsignal.signal(15, signal.SIG_IGN)\nsys.stderr.write('set\\n')\n"
            "sys.stderr.flush()\ntime.sleep(600)"
        )
        await soon(lambda: process.lines)
        ending = asyncio.create_task(process.end(600.0))
        await asyncio.sleep(0)
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        async with asyncio.timeout(60):
            assert await process.wait() == -signal.SIGKILL
        await process.end(1.0)

    drive(journey)


def test_the_environment_is_exactly_what_was_given(drive):
    async def journey():
        process = await Process.start(
            [sys.executable, "-I", "-S", "-c", "import os, sys; sys.stderr.write(str(sorted(os.environ)))"],
            {"ONLY": "this", "LC_ALL": "C.UTF-8"},
        )
        await finish(process)
        assert list(process.lines) == ["['LC_ALL', 'ONLY']"]

    drive(journey)


def test_a_descriptor_is_handed_down_and_no_other(drive):
    async def journey():
        reading, writing = os.pipe()
        other = os.dup(writing)
        os.set_inheritable(other, True)
        try:
            look = f"try: os.fstat({other})\nexcept OSError: os.write(2, b'shut')"
            process = await python(f"import os\nos.write({writing}, b'through')\n{look}", descriptors=[writing])
            await finish(process)
            assert os.read(reading, 100) == b"through"
            assert list(process.lines) == ["shut"]
        finally:
            for descriptor in (reading, writing, other):
                os.close(descriptor)

    drive(journey)


def test_it_runs_in_a_session_of_its_own(drive):
    async def journey():
        process = await python("import os, sys; sys.stderr.write(str(os.getsid(0)))")
        await finish(process)
        assert process.lines[0] == str(process.pid)

    drive(journey)


def test_a_program_that_cannot_be_executed_is_an_error(drive):
    async def journey():
        with pytest.raises(FileNotFoundError):
            await Process.start(["/no/such/program"], {})

    drive(journey)


def test_no_descriptor_is_left_open(drive):
    async def journey():
        await finish(await python("pass"))
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(3):
            await finish(await python("pass"))
        assert set(os.listdir("/proc/self/fd")) == before

    drive(journey)


def test_another_child_of_this_program_is_left_alone(drive):
    bystander = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])
    try:

        async def journey():
            process = await python("import time; time.sleep(600)")
            await process.end(5.0)

        drive(journey)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
