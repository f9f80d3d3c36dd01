"""A client that hardly reads: it costs the others nothing, the gateway little, and it is not kept for ever."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fastness.engines.fake.behaviour import Behaviour
from fastness.ledger.verify import find
from fuzzing import Door, door, engine_socket, wait_until_open
from installation import CHAT, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
WRITE_TIMEOUT_S = 6
ENDLESS_TOKENS = 100_000
"""Some 200 MB of events with their log probabilities: far more than all buffers on the way."""
SLOW_CLIENTS = 8
GROWTH_BYTES_MAX = SLOW_CLIENTS * 4 * 1_048_576


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    endless = Behaviour(answer_tokens=ENDLESS_TOKENS, token_ms=0.001)
    limits = {"gateway__write_timeout_s": WRITE_TIMEOUT_S, "gateway__drain_timeout_s": 1}
    home, context_tokens = tmp_path_factory.mktemp("slow"), 2 * ENDLESS_TOKENS
    with door(home, behaviour=endless, context_tokens=context_tokens, **limits) as opened:
        wait_until_open(opened)
        yield opened


def begin(gateway: Door, output_tokens: int) -> socket.socket:
    """Ask for a stream with the smallest receive buffer that there is."""
    body = {"model": CHAT, "messages": [{"role": "user", "content": "go on"}], "max_tokens": output_tokens}
    wire = json.dumps(body | {"stream": True, "logprobs": True, "top_logprobs": 20}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gateway.key}\r\n"
    talk = socket.socket()
    talk.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    talk.settimeout(10)
    talk.connect(("127.0.0.1", gateway.port))
    talk.sendall(f"{head}Content-Length: {len(wire)}\r\n\r\n".encode() + wire)
    assert talk.recv(12) == b"HTTP/1.1 200"
    return talk


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def said_tokens(gateway: Door) -> int:
    """How many tokens the engine has said in its life."""
    transport = httpx.HTTPTransport(uds=str(engine_socket(gateway.home, CHAT)))
    with httpx.Client(transport=transport, base_url="http://engine", timeout=10) as engine:
        lines = engine.get("/metrics").text.splitlines()
    return int(float(next(line for line in lines if line.startswith("fake_tokens_total")).split()[1]))


def working(gateway: Door) -> int:
    transport = httpx.HTTPTransport(uds=str(engine_socket(gateway.home, CHAT)))
    with httpx.Client(transport=transport, base_url="http://engine", timeout=10) as engine:
        return sum(slot["is_processing"] for slot in engine.get("/slots").json())


def test_clients_that_hardly_read_are_bounded_and_cut_and_the_others_do_not_notice(gateway):
    before = resident_bytes(gateway.pid)
    slow = [begin(gateway, ENDLESS_TOKENS) for _ in range(SLOW_CLIENTS)]
    try:
        began_s, worst_s, grown, read = time.monotonic(), 0.0, 0, 0
        headers = {"authorization": f"Bearer {gateway.key}"}
        body = {"model": CHAT, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
        with httpx.Client(base_url=f"{gateway.base_url}/v1", headers=headers, timeout=10, trust_env=False) as client:
            while time.monotonic() - began_s < WRITE_TIMEOUT_S / 2:
                asked_s = time.monotonic()
                assert client.post("/chat/completions", json=body).status_code == 200
                worst_s = max(worst_s, time.monotonic() - asked_s)
                grown = max(grown, resident_bytes(gateway.pid) - before)
                if time.monotonic() - began_s > read:
                    read += sum(len(one.recv(1)) for one in slow) // SLOW_CLIENTS
            stalled = said_tokens(gateway)
            assert working(gateway) == SLOW_CLIENTS, "they are still served"
            assert said_tokens(gateway) == stalled, "their engine waits"
        print(f"others waited {worst_s:.3f} s at most, the gateway grew by {grown / 1e6:.1f} MB, {stalled:,} tokens")
        assert worst_s < 2
        assert grown < GROWTH_BYTES_MAX
        assert stalled < SLOW_CLIENTS * ENDLESS_TOKENS / 2, "the buffers took it all: nothing was tested"
        eventually(lambda: working(gateway) == 0, "they are given up, and their slots are free", 3 * WRITE_TIMEOUT_S)
    finally:
        for one in slow:
            one.close()
    eventually(lambda: len(failures(gateway)) == SLOW_CLIENTS, "each is recorded")
    assert set(failures(gateway)) == {"client_closed"}


def failures(gateway: Door) -> list[object]:
    return [entry.fields["code"] for entry in find(gateway.home / "ledger/gateway-0", type="inference.failed")]


def test_a_client_that_reads_slowly_but_steadily_gets_all_of_it(gateway):
    tokens = 1_000
    with begin(gateway, tokens) as talk:
        heard, deadline_s = b"", time.monotonic() + 60
        while b"data: [DONE]" not in heard[-200:] and time.monotonic() < deadline_s:
            part = talk.recv(16_384)
            assert part, "it was cut although it read"
            heard += part
            time.sleep(0.01)  # the slowness is the test's subject
    assert heard.count(b'"content"') >= tokens
