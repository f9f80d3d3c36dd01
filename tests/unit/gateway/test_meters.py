"""What a page of metrics says that is not of requests: how the processes of the installation are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from fastness.core.own_process import OwnProcess, OwnProcesses
from fastness.core.replica import ReplicaState
from fastness.gateway.meters import Meters
from fastness.telemetry.metrics import GatewayMetrics

READY, STOPPED = ReplicaState.READY, ReplicaState.STOPPED


def process(name: str, state: ReplicaState) -> OwnProcess:
    return OwnProcess(name, 1, state, 0, 0.0)


def test_how_processes_are_is_told_until_something_else_is_known() -> None:
    controls = process("control", READY), process("control", READY)
    told = [OwnProcesses((*controls, process("broker", READY))), None, OwnProcesses((process("broker", STOPPED),))]
    meters = Meters(GatewayMetrics(), iter(told).__next__)
    routing: Any = SimpleNamespace(models=tuple)
    pages = [
        {line for line in meters.page(routing, 0, 0.0).decode().splitlines() if line.startswith("fastness_processes{")}
        for _ in told
    ]
    first = {
        'fastness_processes{process="control",state="ready"} 2.0',
        'fastness_processes{process="broker",state="ready"} 1.0',
    }
    assert pages == [first, first, {'fastness_processes{process="broker",state="stopped"} 1.0'}]
