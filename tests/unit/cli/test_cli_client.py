"""The client of the management API: the socket when it answers, this process when nothing runs, clear words else."""

import os
import socket
import threading

import pytest

from fastness.cli import client
from fastness.cli.client import management
from fastness.cli.outcome import ExitCode, Failure


def test_without_a_supervisor_the_api_is_in_this_process(fastness):
    with management(fastness.composition, fastness.settings) as api:
        assert api.running is False
        assert api.get("/tenants") == {"tenants": []}
    with management(fastness.composition, fastness.settings) as api:
        assert api.get("/keys") == {"keys": []}


def test_with_control_the_api_is_on_its_socket(fastness):
    with fastness.control(), management(fastness.composition, fastness.settings, must_run=True) as api:
        assert api.running is True
        assert api.get("/status")["control_pid"] == os.getpid()


def test_a_verb_that_needs_a_running_installation_says_so(fastness):
    with pytest.raises(Failure) as raised, management(fastness.composition, fastness.settings, must_run=True):
        pass
    assert raised.value.exit_code is ExitCode.UNREACHABLE
    assert raised.value.hint == "fastness up"


def test_while_a_supervisor_lives_nothing_else_writes_its_store(fastness, monkeypatch):
    monkeypatch.setattr(client, "RESTART_WAIT_S", 0.2)
    with fastness.supervisor() as process:
        result = fastness("tenants", "create", "health")
    assert result.exit_code == 5
    assert f"fastness runs (pid {process.pid}), but control has not answered for 0.2 s." in result.stderr
    assert not (fastness.home / "fastness.db").exists()


def test_a_control_process_that_is_just_restarting_is_waited_for(fastness):
    with fastness.supervisor(), fastness.control(), management(fastness.composition, fastness.settings) as api:
        assert api.running is True


def test_a_socket_left_behind_by_a_killed_installation_is_not_waited_for(fastness):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(fastness.run_directory / "control.sock"))
    assert fastness.ok("tenants") == ""


def test_a_control_process_that_never_answers_is_given_up(fastness, monkeypatch):
    monkeypatch.setattr(client, "ANSWER_TIMEOUT_S", 0.2)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(fastness.run_directory / "control.sock"))
        silent.listen()
        result = fastness("models")
    assert result.exit_code == 5
    assert "did not answer within 0.2 s" in result.stderr


def test_a_control_process_that_breaks_off_is_told(fastness):
    with socket.socket(socket.AF_UNIX) as broken:
        broken.bind(str(fastness.run_directory / "control.sock"))
        broken.listen()

        def hang_up_twice():
            for _ in range(2):
                broken.accept()[0].close()

        thread = threading.Thread(target=hang_up_twice)
        thread.start()
        result = fastness("models")
        thread.join()
    assert result.exit_code == 5
    assert "The management API broke off" in result.stderr


def test_a_run_directory_of_somebody_else_is_not_trusted(fastness, monkeypatch):
    monkeypatch.setattr("fastness.cli.running.os.getuid", lambda: 4_242)
    monkeypatch.setattr("fastness.cli.running.run_directory", lambda home, uid: fastness.run_directory)
    result = fastness("tenants")
    assert result.exit_code == 3
    assert "belongs to user" in result.stderr


def test_a_proxy_in_the_environment_is_not_asked(fastness, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with fastness.control():
        assert fastness.ok("tenants") == ""
