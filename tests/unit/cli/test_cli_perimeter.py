"""The verbs of the perimeter, where nothing can be shown or nothing holds."""

import pytest

from fastness.perimeter.port import SealUnavailable


@pytest.mark.parametrize("words", [("perimeter", "prove"), ("up", "--drill", "unplugged")])
def test_a_kernel_that_cannot_is_told_what_to_enable(fastness, monkeypatch, words):
    def unable(*_given, **_named):
        raise SealUnavailable("packets cannot be captured: EPERM; the kernel needs CONFIG_PACKET")
        yield

    monkeypatch.setattr("fastness.perimeter.trial.trial", unable)
    monkeypatch.setattr("fastness.perimeter.proving.trial", unable)
    result = fastness(*words)
    assert result.exit_code == 3
    assert "Nothing can be shown on this machine: packets cannot be captured" in result.stderr
    assert "CONFIG_PACKET" in result.stderr
    assert "fastness doctor" in result.stderr
    assert result.stdout == ""


def test_a_drill_with_a_step_that_failed_exits_with_1(fastness, monkeypatch):
    def trial(*_given, **_named):
        for name, held in (("up", True), ("chat", False), ("stop", True)):
            yield {"step": {"name": name, "held": held, "detail": "as it went", "elapsed_ms": 7}}

    monkeypatch.setattr("fastness.perimeter.trial.trial", trial)
    result = fastness("up", "--drill", "unplugged")
    assert result.exit_code == 1
    assert "2 of 3 steps held with no way out" in result.stdout
    assert "FAILED" in result.stderr


def test_a_drill_that_broke_off_did_not_hold(fastness, monkeypatch):
    def trial(*_given, **_named):
        yield {"step": {"name": "up", "held": True, "detail": "well", "elapsed_ms": 7}}

    monkeypatch.setattr("fastness.perimeter.trial.trial", trial)
    assert fastness("up", "--drill", "unplugged").exit_code == 1


def test_a_trial_that_broke_off_proves_nothing(fastness, monkeypatch):
    def trial(*_given, **_named):
        yield {"step": {"name": "up", "held": True, "detail": "well", "elapsed_ms": 7}}

    monkeypatch.setattr("fastness.perimeter.proving.trial", trial)
    result = fastness("perimeter", "prove")
    assert result.exit_code == 1
    assert "broke off after up; nothing is proved" in result.stderr
