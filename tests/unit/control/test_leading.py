"""Of several control processes one leads; when it ends, however it ends, another one does, and never two."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastness.control.leading import lead, leader, patiently
from fastness.ledger.port import LedgerInUse

PROGRAM = """
import sys
from pathlib import Path
from fastness.control.leading import lead
kept = lead(Path(sys.argv[1]), lambda pid: print("waits for", pid, flush=True))
print("leads", flush=True)
sys.stdin.read()
"""


def begun(home: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", PROGRAM, str(home)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_another_one_leads_as_soon_as_the_first_is_gone(tmp_path, number):
    assert leader(tmp_path) is None
    with begun(tmp_path) as first:
        assert said(first) == "leads"
        assert leader(tmp_path) == first.pid
        with begun(tmp_path) as second:
            assert said(second) == f"waits for {first.pid}"
            first.send_signal(number)
            began_s = time.monotonic()
            assert said(second) == "leads"
            assert time.monotonic() - began_s < 5
            assert leader(tmp_path) == second.pid


def test_one_that_only_hangs_still_leads(tmp_path):
    with begun(tmp_path) as first, begun(tmp_path) as second:
        assert {said(first).split()[0], said(second).split()[0]} == {"leads", "waits"}
        leads = first if leader(tmp_path) == first.pid else second
        os.kill(leads.pid, signal.SIGSTOP)
        with begun(tmp_path) as third:
            assert said(third) == f"waits for {leads.pid}"
            third.terminate()
        os.kill(leads.pid, signal.SIGCONT)
        assert leader(tmp_path) == leads.pid
        for one in (first, second):
            one.kill()


def test_one_that_waits_ends_at_once_when_it_is_told_to(tmp_path):
    with begun(tmp_path) as first:
        assert said(first) == "leads"
        with begun(tmp_path) as second:
            said(second)
            second.terminate()
            assert second.wait(5) == -signal.SIGTERM
        first.terminate()


def test_its_children_do_not_keep_the_lock(tmp_path):
    descriptor = lead(tmp_path, lambda _: None)
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        os.close(descriptor)
        os.close(lead(tmp_path, pytest.fail))
        child.kill()


def test_what_the_one_before_has_open_is_waited_for_but_not_for_ever():
    tries = []

    def make() -> str:
        tries.append(time.monotonic())
        if len(tries) < 4:
            raise LedgerInUse("it is written by another process")
        return "made"

    assert patiently(make) == "made"

    def never() -> str:
        raise LedgerInUse("it is written by another process")

    with pytest.raises(LedgerInUse):
        patiently(never, patience_s=0.03)
