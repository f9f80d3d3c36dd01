"""`fastness stop`: ends what is fastness, nothing else, and returns when it is gone."""

import json
import subprocess
import sys

from fastness.cli.running import is_fastness


def test_stop_ends_the_supervisor_and_returns_when_it_is_gone(fastness):
    with fastness.supervisor() as process:
        result = fastness("stop")
        assert process.wait(10) == 0
    assert result.exit_code == 0
    assert result.stderr.startswith(f"Stopped (pid {process.pid}) after ")


def test_stop_as_json(fastness):
    with fastness.supervisor() as process:
        document = fastness.document("stop")
    assert (document["stopped"], document["pid"]) == (True, process.pid)
    assert document["elapsed_s"] >= 0


def test_stop_has_a_deadline_and_says_what_it_waits_for(fastness, monkeypatch):
    monkeypatch.setattr("fastness.cli.stop.TELL_EVERY_S", 0.1)
    with fastness.supervisor(ends=False) as process:
        result = fastness("stop", "--timeout", "0.3")
        assert process.poll() is None
    assert result.exit_code == 1
    assert "Waiting for running answers to finish (at most 30 s)" in result.stderr
    assert f"(pid {process.pid}) was told to end but still runs after 0.3 s" in result.stderr
    assert f"kill -9 {process.pid}" in result.stderr


def test_nothing_to_stop_is_told(fastness):
    result = fastness("stop")
    assert result.exit_code == 5
    assert "Nothing is running" in result.stderr


def test_a_pid_that_another_program_took_over_is_never_signalled(fastness):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        written = {"pid": stranger.pid, "base_url": "http://127.0.0.1:9/v1", "started_s": 0}
        (fastness.run_directory / "fastness.json").write_text(json.dumps(written))
        assert fastness("stop").exit_code == 5
        assert stranger.poll() is None
        stranger.communicate(b"\n")


def test_a_run_file_that_makes_no_sense_is_nothing_running(fastness):
    for text in ("", "{}", "[]", '{"pid": "x"}', '{"pid": -1, "base_url": ""}', "\xff"):
        (fastness.run_directory / "fastness.json").write_text(text)
        assert fastness("stop").exit_code == 5


def test_a_process_is_fastness_by_its_command_and_its_owner(fastness):
    with fastness.supervisor() as process:
        assert is_fastness(process.pid)
    assert not is_fastness(process.pid)
    assert not is_fastness(1)
