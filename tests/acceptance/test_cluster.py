"""A cluster of three hosts with real engines: nothing fails when one dies, is cut off, or comes back."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from cluster import (
    HEAD,
    OTHERS,
    OUTSIDE,
    Cluster,
    Load,
    cluster,
    deploy,
    failures,
    join_all,
    longest_pause_s,
    lost_at,
    placed_at,
    returned_at,
)
from fastness.config import run_directory
from fastness.fleet.ray.ports import RayPorts
from fastness.identity.cluster.folder import cluster_folder
from hosts_world import enter
from installation import eventually
from killing import keeper_of, on_this_machine
from wire_tap import WireTap

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
RAY, DOOR, LEASE_S = RayPorts(6379), 7443, 3.5
LOST_WITHIN_S, PLACED_WITHIN_S = 5.0, 10.0
CANARY = "quillwort"
STREAMS, TOKENS = 4, 24
BRISTOL, LEEDS = OTHERS
FORGER = "forger"
DOOR_PROCESS = b"fastness.main.door"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster, with its three replicas, each on a host of its own."""
    with cluster(tmp_path_factory.mktemp("cluster"), *OTHERS, FORGER) as one:
        # What a host says of itself in its settings is not what its certificate says.
        one.own[LEEDS] = {"FASTNESS__NODE__LABELS": "secret", "FASTNESS__NODE__JURISDICTION": "US"}
        join_all(one, *OTHERS)
        deploy(one)
        yield one


@pytest.fixture(scope="module")
def times() -> Iterator[dict[str, dict[str, float]]]:
    """What was measured, told at the end."""
    table: dict[str, dict[str, float]] = {}
    yield table
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    print("\n" + " | ".join(["what happens, seconds", *columns]))
    for what, row in table.items():
        print(" | ".join([what, *(f"{row[one]:.2f}" if one in row else "-" for one in columns)]))


def test_a_replica_runs_on_each_host_and_a_host_is_what_its_certificate_says(made: Cluster) -> None:
    assert sorted(made.ready().values()) == sorted(["local", *OTHERS])
    leeds = made.seen()[LEEDS]
    assert (leeds["labels"], leeds["jurisdiction"]) == ({}, "GB")
    assert [len(made.engines(name)) for name in (HEAD, *OTHERS)] == [1, 1, 1]


def test_between_hosts_there_is_mutual_tls_on_the_declared_ports_and_nothing_else(made: Cluster) -> None:
    assert made.head
    token = (cluster_folder(made.home(HEAD)) / "token").read_bytes().strip()
    secrets = (CANARY.encode(), token, made.head.admin_key.encode(), b"assignments", b"text_completion")
    with WireTap(made.net, secrets) as tap:
        load = Load(made, STREAMS, TOKENS, about=CANARY)
        time.sleep(6)
        streams = load.close()
    seen, addresses = tap.seen, {made.net[name].address for name in (HEAD, *OTHERS)}
    assert failures(streams) == [] and {made.ready()[one] for one in made.answered_by(streams)} >= set(OTHERS)
    assert seen.packets > 500 and seen.missed == 0
    assert seen.addresses <= addresses and not seen.other, (seen.addresses, seen.other)
    assert {port for _, port in seen.servers} <= {*RAY.all(), DOOR}
    assert RAY.agent not in {port for _, port in seen.servers}
    assert not seen.legible
    assert seen.begun and {first[:2] for first in seen.begun.values() if first} <= {b"\x16\x03", b"\x17\x03"}


def test_whoever_has_no_certificate_is_let_in_by_no_port(made: Cluster) -> None:
    strange = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    strange.check_hostname, strange.verify_mode = False, ssl.CERT_NONE

    def heard(address: str, port: int) -> bytes:
        with socket.create_connection((address, port), 2) as plain:
            try:
                with strange.wrap_socket(plain) as tls:
                    tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                    return tls.recv(100)
            except (ssl.SSLError, ConnectionError, TimeoutError):
                return b""

    def knock() -> None:
        for name in (HEAD, *OTHERS):
            address = made.net[name].address
            for port in (*RAY.all(), DOOR):
                with suppress(ConnectionRefusedError):
                    if heard(address, port):
                        let_in.append((name, port))
                    tried.append((name, port))

    let_in: list[tuple[str, int]] = []
    tried: list[tuple[str, int]] = []
    within(made.net[FORGER].holder.pid, knock)
    assert let_in == []
    for name in OTHERS:
        assert {(name, RAY.node_manager), (name, RAY.object_manager), (name, DOOR)} <= set(tried)
    assert (HEAD, RAY.first) in tried


def test_rays_one_listener_without_tls_answers_nobody_without_the_token(made: Cluster) -> None:
    answered: list[int] = []

    def ask() -> None:
        for name in (HEAD, *OTHERS):
            agent = http.client.HTTPConnection(made.net[name].address, RAY.agent, timeout=5)
            agent.request("POST", "/get_runtime_envs_info", b"")
            answered.append(agent.getresponse().status)
            agent.close()

    within(made.net[FORGER].holder.pid, ask)
    assert set(answered) <= {401, 403} and len(answered) == 3, answered


def test_a_host_whose_processes_are_killed_is_lost_replaced_and_clean_when_it_is_back(
    made: Cluster, times: dict[str, dict[str, float]]
) -> None:
    load = Load(made, STREAMS, TOKENS)
    time.sleep(3)
    at = time.time()
    made.kill(BRISTOL)
    row = watched(made, BRISTOL, at)
    streams = load.close()
    row |= {"longest pause": longest_pause_s(streams)}
    times["kill -9 of a host's processes"] = row
    assert failures(streams) == []
    in_time(row)
    at = time.time()
    made.join(BRISTOL)
    back = eventually(lambda: returned_at(made, BRISTOL, at), "it is back", 180)
    times["it is started again"] = {"taken back": back - at}
    assert made.told(BRISTOL, "lease.granted") and not made.engines(BRISTOL), "it is clean"
    made.state()


def test_a_host_that_is_cut_off_ends_its_engines_by_itself_and_is_clean_when_it_is_back(
    made: Cluster, times: dict[str, dict[str, float]]
) -> None:
    victim = next(node for node in made.ready().values() if node in OTHERS)
    before, load = made.engines(victim), Load(made, STREAMS, TOKENS)
    assert before
    time.sleep(3)
    at = time.time()
    made.net.cut(victim)
    gone = eventually(lambda: not made.engines(victim) and time.time(), "no engine there", 3 * LEASE_S, 0.01)
    row = {"engines ended": gone - at} | watched(made, victim, at)
    streams = load.close()
    row |= {"longest pause": longest_pause_s(streams)}
    times["its cable is cut"] = row
    assert failures(streams) == []
    lapsed = made.told(victim, "lease.lapsed")[-1]
    assert lapsed - at <= LEASE_S + on_this_machine(0.3), "its lease began before the cut"
    assert gone - lapsed <= on_this_machine(0.5), "no engine outlives it"
    assert gone <= at + row["lost"] + 0.05, "it is fenced before it is replaced"
    in_time(row)
    assert not made.engines(victim)
    at = time.time()
    made.net.mend(victim)
    back = eventually(lambda: returned_at(made, victim, at), "it is back", 180)
    times["its cable is mended"] = {"taken back": back - at}
    assert not set(made.engines(victim)) & set(before)
    made.state()


def test_a_host_with_a_forged_label_gets_what_is_its_own_and_one_without_token_or_certificate_nothing(
    made: Cluster,
) -> None:
    made.own[FORGER] = {"FASTNESS__NODE__LABELS": "secret"}
    folder, run = cluster_folder(made.home(FORGER)), run_directory(made.home(FORGER), os.getuid())
    kept = {name: (folder / name).read_bytes() for name in ("token", "node.pem", "node.key")}
    (folder / "token").write_text("00" * 32)
    made.join(FORGER)
    time.sleep(6)
    assert FORGER not in made.seen() and not (run / "letters/in/head").exists()
    made.kill(FORGER)
    (folder / "token").write_bytes(kept["token"])
    stranger = cluster_folder(made.home(FORGER)).with_name("stranger")
    for name, content in made.certified_by_another(stranger, FORGER).items():
        (folder / name).write_bytes(content)
    made.join(FORGER)
    time.sleep(4)
    assert FORGER not in made.seen() and not (run / "letters/in/head").exists()
    made.kill(FORGER)
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    made.forge_label(FORGER, LEEDS)
    made.join(FORGER)
    eventually(lambda: FORGER in made.seen(), "the forger joined, as itself", 180)
    assert made.seen()[FORGER]["labels"] == {}
    time.sleep(2)
    word = json.loads(made.opened(FORGER))
    assert (word["orders"] or {"node": FORGER})["node"] == FORGER
    assert made.ready() and FORGER not in made.ready().values()
    made.stop(FORGER)


def test_ray_may_be_away_for_long_and_letters_go_by_the_doors(
    made: Cluster, times: dict[str, dict[str, float]]
) -> None:
    before = {name: made.engines(name) for name in (HEAD, *OTHERS)}
    lapses, load = {name: made.told(name, "lease.lapsed") for name in OTHERS}, Load(made, 2, TOKENS)
    at = time.time()
    with made.without_ray():
        eventually(lambda: made.ways(*OTHERS) == {"door"}, "their doors carry", 180)
        row = {"by the doors": time.time() - at}
        eventually(lambda: time.time() - at > 2 * LEASE_S, "two leases have passed", 3 * LEASE_S)
        assert {name: made.engines(name) for name in before} == before, "no engine has ended anywhere"
        for count in (2, 3):
            asked = time.time()
            deploy(made, count)
            row |= {f"scaled to {count}": time.time() - asked}
        assert made.ways(*OTHERS) == {"door"} and not made.running(HEAD, b"gcs_server")
    at = time.time()
    eventually(lambda: made.ways(*OTHERS) == {"ray"}, "Ray carries again", 180)
    times["all of Ray is killed on the head, and held down"] = row | {"Ray carries again": time.time() - at}
    assert failures(load.close()) == []
    assert {name: made.told(name, "lease.lapsed") for name in OTHERS} == lapses
    assert len(made.ready()) == 3
    made.state()


def test_what_speaks_to_other_hosts_may_be_killed_and_is_back_by_itself(
    made: Cluster, times: dict[str, dict[str, float]]
) -> None:
    load = Load(made, 2, TOKENS)
    for host, keeper_too in ((HEAD, False), (BRISTOL, True)):
        (killed,), (door,) = made.running(host, OUTSIDE), made.running(host, DOOR_PROCESS)
        at = time.time()
        os.kill(keeper_of(killed) if keeper_too else killed, signal.SIGKILL)
        eventually(lambda host=host, was=killed: made.running(host, OUTSIDE) not in ([], [was]), "it is back", 180)
        eventually(
            lambda host=host, was=door: made.running(host, b"fastness.main.door") not in ([], [was]),
            "and so is the door",
            60,
        )
        times[f"what speaks to other hosts is killed on {host}"] = {"the door is back": time.time() - at}
        eventually(lambda at=at: all(made.heard(name) > at + 1 for name in OTHERS), "all are heard", 180)
    eventually(lambda: len(made.ready()) == 3, "all are ready", 180)
    assert failures(load.close()) == []
    made.state()


def watched(made: Cluster, victim: str, at: float) -> dict[str, float]:
    """Wait until a host is lost and its replicas run elsewhere; return when."""
    lost = eventually(lambda: lost_at(made, victim, at), "it is lost")
    placed = eventually(lambda: placed_at(made, lost), "its replica is placed elsewhere")
    eventually(lambda: len(made.ready()) == 3 and victim not in made.ready().values(), "all are ready", 180)
    return {"lost": lost - at, "placed elsewhere": placed - at, "ready elsewhere": time.time() - at}


def in_time(row: dict[str, float]) -> None:
    assert row["lost"] <= on_this_machine(LOST_WITHIN_S), row
    assert row["placed elsewhere"] <= on_this_machine(PLACED_WITHIN_S), row


def within(pid: int, act: Callable[[], None]) -> None:
    """Act in the network of a process."""
    failed: list[BaseException] = []

    def there() -> None:
        try:
            enter(pid)
            act()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=there)
    thread.start()
    thread.join()
    assert not failed, failed
