"""Two gateways, a standby control process and PostgreSQL: any of them is killed, and who is served by others goes on.

A connection cannot outlive the process that holds it. So clients of a gateway that is killed see theirs break, and a
retry is served at once, by the other one.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from fastness.config import run_directory
from fastness.control.leading import leader
from fastness.core.gateways import gateway_names, socket_of
from fastness.core.limit import DAY_S
from fastness.ledger.verify import read, verify
from installation import CHAT, Installation, eventually, start, stop
from killing import forget, kill, management
from losing import Streams
from ordering import SMALL, Fleet, folded, shown, told, unheard
from postgresql_server import Server, running_server
from test_prefix_isolation import TEMPLATE_TOKENS, cached, key_of, secret
from traffic import Traffic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
GATEWAYS = gateway_names(2)
SLOTS = 8
AWAY_S = 30.0
LIMIT = 40
SILENT_S = 4.0
SETTINGS = SMALL | {
    "FASTNESS__GATEWAY__PROCESSES": str(len(GATEWAYS)),
    "FASTNESS__CONTROL__STANDBYS": "1",
    "FASTNESS__CONTROL__SILENCE_MAX_S": str(SILENT_S),
    "FASTNESS__ENGINE__SLOTS": str(SLOTS),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as one:
        yield one


@pytest.fixture(scope="module")
def running(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    home = tmp_path_factory.mktemp("several")
    installation = start(home, environ=SETTINGS | {"FASTNESS__STORE__URL": server.new()})
    try:
        yield installation
        assert stop(installation) == 0
    finally:
        forget(home)


@pytest.fixture(scope="module")
def tenants(running: Installation) -> dict[str, str]:
    """Keys of two tenants."""
    return {name: key_of(running, name) for name in ("health", "tax")}


def run_of(installation: Installation) -> Path:
    return run_directory(installation.home, os.getuid())


def processes(installation: Installation) -> dict[str, dict[str, object]]:
    """Our own processes by name; of the control processes the one that leads."""
    with management(installation) as api:
        status = api.get("/status").json()
    return {
        one["name"]: one
        for one in status["processes"]
        if one["name"] != "control" or one["pid"] == status["control_pid"]
    }


def pid_of(installation: Installation, name: str) -> int:
    return int(str(processes(installation)[name]["pid"]))


def at(installation: Installation, gateway: str, key: str) -> OpenAI:
    """A client of one gateway, whichever the kernel would have chosen."""
    inside = httpx.Client(
        transport=httpx.HTTPTransport(uds=str(run_of(installation) / socket_of(gateway))), timeout=120
    )
    return OpenAI(base_url="http://gateway/v1", api_key=key, max_retries=0, http_client=inside)


def knows_limits(installation: Installation, gateway: str, key: str) -> bool:
    """Whether a gateway has heard that there are limits for this key: what it admits before does not count."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(run_of(installation) / socket_of(gateway)))) as inside:
        told = inside.get("http://gateway/v1/usage", headers={"authorization": f"Bearer {key}"})
        return told.is_success and bool(told.json()["limits"])


def gateway_of(installation: Installation, request_id: str) -> str | None:
    """Which gateway has a request that got a slot."""
    for name in GATEWAYS:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(run_of(installation) / socket_of(name)))) as inside:
            if inside.get(f"http://gateway/choices/{request_id}").is_success:
                return name
    return None


def entries(installation: Installation) -> Counter[str]:
    """How often each request has an entry of a whole answer, in the ledgers of all gateways."""
    return Counter(
        str(one.fields["request_id"])
        for name in GATEWAYS
        for one in read(installation.home / "ledger" / name)
        if one.type == "inference.completed"
    )


def test_no_tenant_profits_from_anothers_prompt_through_whichever_gateway(running, tenants):
    """Two gateways must never use the same slot of an engine: each would take for its own what the other left there."""
    clients = {(tenant, name): at(running, name, key) for tenant, key in tenants.items() for name in GATEWAYS}
    try:
        # Each gateway has slots that it believes one tenant's, where the other gateway has the other's of that number.
        crossed = [("health", GATEWAYS[0]), ("tax", GATEWAYS[1]), ("tax", GATEWAYS[0]), ("health", GATEWAYS[1])]
        for _ in range(SLOTS + 1):
            for one in crossed:
                cached(clients[one], secret(5))
        for _ in range(2):
            for first, second in (crossed[:2], crossed[1::-1], crossed[2:], crossed[:1:-1]):
                prompt = secret(40)
                cached(clients[first], prompt)
                assert cached(clients[second], prompt) <= TEMPLATE_TOKENS
        prompt = secret()
        cached(clients["health", GATEWAYS[0]], prompt)
        assert cached(clients["health", GATEWAYS[0]], prompt) > 2 * TEMPLATE_TOKENS, "its own are built upon"
    finally:
        for client in clients.values():
            client.close()


@pytest.mark.parametrize("victim", GATEWAYS)
def test_a_killed_gateway_takes_only_its_own_streams_with_it_and_a_retry_is_served_at_once(running, victim):
    streams = Streams(running, count=SLOTS // 2, output_tokens=400)
    eventually(lambda: streams.begun(2), "the streams flow", 90)
    assert [one.error for one in streams.all if one.error or one.whole] == []
    where = {one.request_id: gateway_of(running, one.request_id) for one in streams.all}
    killed = pid_of(running, victim)
    kill(killed)
    killed_s = time.monotonic()
    with OpenAI(base_url=running.base_url, api_key=running.admin_key, timeout=60) as client:  # it tries again by itself
        for _ in range(3):
            assert client.models.list().data
        answered_s = time.monotonic() - killed_s
        assert client.completions.create(model=CHAT, prompt="One and", max_tokens=1).choices
    heard = streams.heard()
    others = [one for one in heard if where[one.request_id] != victim]
    assert [one for one in others if not one.whole or one.error] == []
    broken = [one for one in heard if not one.whole]
    assert {where[one.request_id] for one in broken} <= {victim}
    print(
        f"{victim}: {len(broken)} streams broke, {len(others)} went on; answered anew {answered_s:.2f} s after the kill"
    )
    recorded = entries(running)
    assert [one for one in heard if one.whole and recorded[one.request_id] != 1] == []

    def is_back() -> bool:
        now = processes(running)[victim]
        return now["state"] == "ready" and now["pid"] != killed

    eventually(is_back, f"{victim} is back")
    assert all(one["state"] == "ready" for one in processes(running).values())


def test_postgresql_is_away_for_half_a_minute_and_no_stream_is_lost_nor_any_limit(running, tenants, server):
    limited = replace(running, admin_key=tenants["tax"])
    if DAY_S - time.time() % DAY_S < 120:
        time.sleep(DAY_S - time.time() % DAY_S + 1)  # the day's counters would begin anew within the test
    with management(running) as api:
        assert api.post("/limits", json={"tenant": "tax", "requests_per_day": LIMIT}).is_success
    eventually(lambda: all(knows_limits(running, name, tenants["tax"]) for name in GATEWAYS), "each knows the limit")
    before = processes(running)
    with Traffic(running, seed=3, clients=3) as free, Traffic(limited, seed=4, clients=1) as bounded:
        eventually(lambda: bounded.count() >= 2 and free.count() >= 4, "answers come", 60)
        server.kill()
        killed_s = time.monotonic()
        with management(running) as api:
            refused = api.post("/tenants", json={"id": "roads"})
        assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
        answered = free.count()
        while time.monotonic() - killed_s < AWAY_S:
            time.sleep(0.2)
        assert free.count() > answered + 10, "answers go on"
        server.start()
        back_s = time.monotonic()
        refusals = len([one for one in bounded.heard if one.code == "quota_unavailable"])

        def goes_on() -> bool:
            return any(one.began_s > back_s and one.code != "quota_unavailable" for one in bounded.heard)

        eventually(goes_on, "limits are known again")
        recovered_s = time.monotonic() - back_s
        eventually(lambda: any(one.code == "insufficient_quota" for one in bounded.heard), "the limit is reached", 90)
    assert unheard(free.heard) == [], "no stream was lost"
    codes = Counter(one.code for one in bounded.heard if not one.whole)
    assert set(codes) <= {"quota_unavailable", "insufficient_quota"}, "who has a limit hears why he waits"
    with management(running) as api:
        used = {(one["id"], one["metric"]): one["used"] for one in api.get("/usage").json()["usage"]}
    print(f"{len(free.heard)} answers meanwhile; {refusals} refused while limits were not known; known again after "
          f"{recovered_s:.2f} s; {bounded.count()} of {LIMIT} used")  # fmt: skip
    assert bounded.count() == used["tenant:tax", "requests_per_day"] <= LIMIT
    assert bounded.count() >= LIMIT - 2, "nothing of the limit was lost"
    after = processes(running)
    assert {name: one["pid"] for name, one in before.items()} == {name: one["pid"] for name, one in after.items()}


def test_no_gateway_has_even_loaded_what_speaks_to_postgresql(running):
    """So no request can wait for it: control has it, and gateways lease from control ahead of need."""
    loaded = {name: Path(f"/proc/{pid_of(running, name)}/maps").read_text() for name in ("control", *GATEWAYS)}
    assert {name for name, maps in loaded.items() if "psycopg" in maps} == {"control"}


def test_the_control_process_that_leads_is_killed_or_hangs_and_the_other_goes_on_with_what_was_begun(running):
    fleet = Fleet(running)
    (engine,) = fleet.pids().items()
    with Traffic(running, seed=5, clients=4, chats=0.3) as clients:
        for replicas, what in ((2, signal.SIGKILL), (1, signal.SIGSTOP)):
            leads = pid_of(running, "control")
            fleet.scale(replicas, replicas, replicas)
            os.kill(leads, what)
            began_s = time.monotonic()
            eventually(lambda leads=leads: leader(running.home) != leads, "the other one leads", 60, 0.01)
            eventually(fleet.is_answered, "it answers", 60, 0.01)
            print(f"another control process answered {time.monotonic() - began_s:.2f} s after {what.name}")
            fleet.settles(replicas=replicas)
            eventually(lambda: len(controls(running)) == 2, "one waits again", 60)
    assert unheard(clients.heard) == []
    assert engine in fleet.pids().items() or len(fleet.pids()) == 1, "nothing was started anew"
    assert told(fleet) == shown(folded(fleet)), "no event was lost, and none counts twice"
    assert all(verify(log).sound for log in (running.home / "ledger").iterdir())
    placed = [event for event in fleet.happened() if type(event).__name__ == "ReplicaPlaced"]
    assert len({event.replica for event in placed}) == len(placed) == 2


def controls(installation: Installation) -> set[int]:
    with management(installation) as api:
        found = api.get("/status").json()["processes"]
    return {one["pid"] for one in found if one["name"] == "control" and one["state"] == "ready"}
