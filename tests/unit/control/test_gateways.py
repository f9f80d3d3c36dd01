"""The gateways as the supervisor keeps them: nobody waits at a dead one's listener while another one serves."""

import asyncio
import socket
from types import SimpleNamespace

import pytest

from fastness.control.gateways import Front, Gateways
from fastness.control.site import StartRefused
from fastness.core.replica import ReplicaState


class Process:
    """A gateway's process; its state is set by the test."""

    def __init__(self, tell) -> None:
        self.tell, self.state, self.stopped = tell, ReplicaState.STARTING, False

    def begin(self):
        pass

    async def stop(self):
        self.stopped = True

    def becomes(self, state):
        self.state = state
        self.tell()


class Listener:
    def __init__(self) -> None:
        self.listens = self.closed = self.broken = False

    def listen(self, _backlog):
        self.listens = True

    def shutdown(self, _how):
        self.broken = self.broken or not self.listens  # what Linux does
        self.listens = False

    def getsockopt(self, _level, option):
        assert option == socket.SO_ACCEPTCONN
        return int(self.listens)

    def close(self):
        self.closed = True

    def getsockname(self):
        return ("0.0.0.0", 8080)


def made(count: int) -> SimpleNamespace:
    listeners = [Listener() for _ in range(count)]
    gateways = Gateways([Front(f"gateway-{at}", one, Process) for at, one in enumerate(listeners)])
    return SimpleNamespace(gateways=gateways, listeners=listeners, processes=gateways.begin())


def listening(site) -> list[bool]:
    return [one.listens for one in site.listeners]


def test_all_listen_from_the_start_so_that_early_clients_wait():
    site = made(2)
    assert listening(site) == [True, True]
    site.processes[0].becomes(ReplicaState.READY)
    assert listening(site) == [True, True], "the other one is still on its way"
    assert site.gateways.names == ("gateway-0", "gateway-1")
    assert site.gateways.address == "127.0.0.1:8080"


def test_a_gateway_that_ended_does_not_listen_while_another_serves():
    site = made(2)
    for one in site.processes:
        one.becomes(ReplicaState.READY)
    site.processes[1].becomes(ReplicaState.BACKING_OFF)
    assert listening(site) == [True, False]
    site.processes[0].becomes(ReplicaState.READY)  # whatever else changes
    site.processes[1].becomes(ReplicaState.STARTING)
    assert listening(site) == [True, False]
    site.listeners[1].listen(1)  # as the new process does
    site.processes[0].becomes(ReplicaState.READY)
    assert listening(site) == [True, True], "it listens a moment before it is seen to be ready"
    site.processes[1].becomes(ReplicaState.READY)
    assert listening(site) == [True, True]
    assert not site.listeners[1].broken


def test_when_none_serves_clients_wait_for_whichever_comes_back():
    site = made(2)
    for one in site.processes:
        one.becomes(ReplicaState.READY)
    for one in site.processes:
        one.becomes(ReplicaState.BACKING_OFF)
    assert listening(site) == [False, True], "that of the last one that served"
    site.listeners[0].listen(1)
    site.processes[0].becomes(ReplicaState.READY)
    assert listening(site) == [True, False]


def test_one_alone_listens_on_whatever_becomes_of_its_process():
    site = made(1)
    for state in (ReplicaState.READY, ReplicaState.BACKING_OFF, ReplicaState.STARTING):
        site.processes[0].becomes(state)
        assert listening(site) == [True]


def test_at_the_end_nobody_can_connect_any_more_and_all_end():
    site = made(2)
    asyncio.run(site.gateways.stop())
    assert all(one.closed for one in site.listeners)
    assert all(one.stopped for one in site.processes)


def test_a_port_that_cannot_be_listened_on_is_said():
    class Taken(Listener):
        def listen(self, _backlog):
            raise OSError(98, "Address already in use")

    with pytest.raises(StartRefused, match=r"Cannot listen on 127\.0\.0\.1:8080: Address already in use"):
        Gateways([Front("gateway-0", Taken(), Process)]).begin()
