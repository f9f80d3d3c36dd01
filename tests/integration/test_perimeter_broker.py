"""The broker: connections to what is configured, to the letter, and to nothing else, whatever happens to it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import http.server
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fastness.perimeter.addresses import Address, parse_address
from fastness.perimeter.broker import REQUESTS_PER_MINUTE_MAX
from fastness.perimeter.broker_client import BODY_BYTES_MAX, BrokerClient, NotFetched

KEEP = """
import os, socket, sys
from fastness.perimeter.addresses import parse_addresses
from fastness.perimeter.broker import keep
log = open(sys.argv[3], "a")
record = lambda *words: print(*words, sep="|", file=log)
keep(socket.socket(fileno=int(sys.argv[1])), parse_addresses(sys.argv[2]), record, log.flush, int(sys.argv[4]))
"""


@dataclass
class Broker:
    process: subprocess.Popen[bytes]
    path: Path
    log: Path
    told: IO[str]

    def client(self, ca_file: Path | None = None, timeout_s: float = 10.0) -> BrokerClient:
        return BrokerClient(self.path, ca_file, timeout_s=timeout_s)

    def door(self) -> int:
        """Wait until one is open that was not known yet."""
        return next(pid for pid in map(int, self.told) if pid)


def eventually(condition: Callable[[], object], limit_s: float = 60.0):
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    pytest.fail("not in time")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Broker]]:
    with contextlib.ExitStack() as stack:

        def begin(addresses: str) -> Broker:
            path, log = tmp_path / "broker.sock", tmp_path / "broker.log"
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
                listener.listen(16)
                told, telling = os.pipe()
                heard = stack.enter_context(os.fdopen(told))
                argv = [sys.executable, "-c", KEEP, str(listener.fileno()), addresses, str(log), str(telling)]
                process = stack.enter_context(subprocess.Popen(argv, pass_fds=(listener.fileno(), telling)))
                os.close(telling)
            stack.callback(process.terminate)
            return Broker(process, path, log, heard)

        yield begin


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    yield from serving(None)


def serving(context: ssl.SSLContext | None) -> Iterator[http.server.ThreadingHTTPServer]:
    class Documents(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/slow":
                with contextlib.suppress(OSError):
                    for _ in range(200):
                        self.wfile.write(b"H")
                        time.sleep(0.05)
                return
            if self.path == "/elsewhere":
                self.send_response(302)
                self.send_header("location", "http://127.0.0.1:1/")
                self.end_headers()
                return
            body = b"x" * (BODY_BYTES_MAX + 1) if self.path == "/large" else b'{"keys": []}'
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Documents) as one:
        if context:
            one.socket = context.wrap_socket(one.socket, server_side=True)
        thread = threading.Thread(target=one.serve_forever)
        thread.start()
        yield one
        one.shutdown()
        thread.join()


@pytest.fixture
def authority(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that signs itself, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "department")])
    now = datetime.datetime.now(datetime.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "authority.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "server.pem").write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    return file, context


@pytest.fixture
def secure(authority: tuple[Path, ssl.SSLContext]) -> Iterator[http.server.ThreadingHTTPServer]:
    yield from serving(authority[1])


def fetch(client: BrokerClient, url: str) -> bytes:
    return asyncio.run(client.fetch(url))


def test_a_permitted_server_is_reached_through_the_broker(start, server) -> None:
    port = server.server_address[1]
    broker = start(f"127.0.0.1:{port}")
    assert json.loads(fetch(broker.client(), f"http://127.0.0.1:{port}/keys")) == {"keys": []}
    eventually(lambda: f"broker.granted|127.0.0.1:{port}|" in broker.log.read_text())


def test_another_port_another_address_and_another_name_are_refused_and_logged(start, server) -> None:
    port = server.server_address[1]
    broker = start(f"127.0.0.1:{port}")
    for asked in (f"127.0.0.1:{port - 1}", f"127.0.0.2:{port}", f"localhost:{port}", "login.example:443"):
        with pytest.raises(NotFetched, match=r"not among perimeter\.addresses"):
            broker.client().connect(parse_address(asked))
        eventually(lambda asked=asked: f"broker.refused|{asked}|" in broker.log.read_text())


def test_a_request_that_is_none_is_refused(start) -> None:
    broker = start("127.0.0.1:9")
    for request in (b"\n", b"GET / HTTP/1.1\r\n\n", b"x" * 400, "ü:1\n".encode()):
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(10)
            door.connect(str(broker.path))
            door.sendall(request)
            answer, descriptors, _, _ = socket.recv_fds(door, 1_024, 1)
        assert "refused" in json.loads(answer), request
        assert not descriptors


def test_a_server_that_is_away_is_said_to_be_away(start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(NotFetched, match="Connection refused"):
        start(f"127.0.0.1:{port}").client().connect(Address("127.0.0.1", port))


def test_without_a_broker_nothing_is_spoken_to(tmp_path: Path) -> None:
    with pytest.raises(NotFetched, match=r"perimeter\.addresses is empty"):
        BrokerClient(tmp_path / "broker.sock").connect(Address("login.example", 443))


def test_a_server_over_tls_is_believed_by_the_authority_that_is_configured_and_by_no_other(
    start, secure, authority
) -> None:
    port = secure.server_address[1]
    broker = start(f"127.0.0.1:{port} localhost:{port}")
    assert fetch(broker.client(authority[0]), f"https://127.0.0.1:{port}/keys") == b'{"keys": []}'
    with pytest.raises(NotFetched, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(broker.client(), f"https://127.0.0.1:{port}/keys")
    with pytest.raises(NotFetched, match="CERTIFICATE_VERIFY_FAILED"):  # not a name that the certificate has
        fetch(broker.client(authority[0]), f"https://localhost:{port}/keys")


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example/keys",
        "ftp://login.example/",
        "https://user@login.example/",
        "file:///etc/passwd",
        "https:///",
        "https://login.example:99999/",
        "https://login.example/a b",
        "https://login.example/#keys",
        "nothing",
    ],
)
def test_only_https_or_http_on_this_machine_is_fetched(url: str, tmp_path: Path) -> None:
    with pytest.raises(NotFetched, match="cannot be fetched"):
        fetch(BrokerClient(tmp_path / "none"), url)


def test_a_redirect_is_not_followed_and_a_document_is_bounded(start, server) -> None:
    port = server.server_address[1]
    broker = start(f"127.0.0.1:{port}")
    with pytest.raises(NotFetched, match="answered 302"):
        fetch(broker.client(), f"http://127.0.0.1:{port}/elsewhere")
    with pytest.raises(NotFetched, match="more than 1,048,576 bytes"):
        fetch(broker.client(), f"http://127.0.0.1:{port}/large")


def test_a_server_that_dribbles_is_cut_off(start, server) -> None:
    port = server.server_address[1]
    broker, began = start(f"127.0.0.1:{port}"), time.monotonic()
    with pytest.raises(NotFetched):
        fetch(broker.client(timeout_s=1.0), f"http://127.0.0.1:{port}/slow")
    assert time.monotonic() - began < 8


def test_a_door_that_is_killed_opens_again(start, server) -> None:
    port = server.server_address[1]
    broker = start(f"127.0.0.1:{port}")
    door = broker.door()
    os.kill(door, signal.SIGKILL)
    assert broker.door() != door
    assert fetch(broker.client(), f"http://127.0.0.1:{port}/") == b'{"keys": []}'


def test_nothing_of_a_broker_outlives_it(start) -> None:
    broker = start("127.0.0.1:9")
    door = broker.door()
    broker.process.kill()
    broker.process.wait()
    assert eventually(lambda: not Path(f"/proc/{door}").exists() or "Z" in Path(f"/proc/{door}/stat").read_text())


def test_requests_are_bounded_in_a_minute(start) -> None:
    broker, said = start("127.0.0.1:9"), []
    for _ in range(REQUESTS_PER_MINUTE_MAX + 5):
        with pytest.raises(NotFetched) as caught:
            broker.client().connect(Address("10.0.0.1", 1))
        said.append(str(caught.value))
    assert "too many requests" in said[-1]
    assert "not among" in said[0]


def test_the_broker_itself_is_kept_to_its_ports_and_to_tcp(start) -> None:
    broker = start("192.0.2.1:443")
    status = Path(f"/proc/{broker.door()}/status").read_text()
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t1" in status
