"""`fastness explain`: asks the gateway at its Unix socket, and says why."""

import http.server
import json
import socketserver
import threading
from contextlib import contextmanager

KNOWN = {
    "request_id": "req_1",
    "choices": [
        {
            "model": "small", "at_s": 1_763_800_000.0, "replica": "small-1", "size": 2_048, "cached": 1_920,
            "candidates": [
                {"replica": "small-1", "cached": 1_920, "to_read": 128, "in_flight": 2, "capacity": 8, "unread": 512,
                 "score": 60.0},
                {"replica": "small-0", "cached": 0, "to_read": 2_048, "in_flight": 0, "capacity": 8, "unread": 0,
                 "score": 256.0},
            ],
        }
    ],
}  # fmt: skip


class Gateway(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.path == "/choices/req_1"
        body = json.dumps(KNOWN if known else {"error": {"message": "No choice is known for it."}}).encode()
        self.send_response(200 if known else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass


@contextmanager
def gateway(fastness, name="gateway-0"):
    path = fastness.run_directory / f"{name}.sock"
    with fastness.supervisor(), socketserver.UnixStreamServer(str(path), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def test_each_candidate_is_a_line_with_what_it_would_have_read(fastness):
    with gateway(fastness):
        said = fastness.ok("explain", "req_1").splitlines()
        document = fastness.document("explain", "req_1")
    assert said[0].startswith("small, a prompt of 2,048 bytes, at 2025-11-22")
    assert said[2].split() == ["small-1", "1,920", "128", "2/8", "512", "60.0", "chosen"]
    assert said[3].split() == ["small-0", "0", "2,048", "0/8", "0", "256.0"]
    assert document == KNOWN


def test_a_request_that_is_not_known_is_not_found(fastness):
    with gateway(fastness):
        result = fastness("explain", "req_2")
    assert result.exit_code == 4
    assert "No choice is known" in result.stderr


def test_of_several_gateways_the_one_that_had_the_request_tells(fastness):
    for name in ("gateway-0", "gateway-10"):
        (fastness.run_directory / f"{name}.sock").touch()  # they are dead
    with gateway(fastness, "gateway-2"):
        assert fastness.document("explain", "req_1") == KNOWN
        result = fastness("explain", "req_2")
    assert (result.exit_code, "gateway-0 does not answer" in result.stderr) == (5, True), "it might know"


def test_what_is_no_request_id_is_not_asked_about(fastness):
    assert fastness("explain", "../metrics").exit_code == 2


def test_nothing_runs_and_nobody_answers_are_told_apart(fastness):
    result = fastness("explain", "req_1")
    assert (result.exit_code, "Nothing is running" in result.stderr) == (5, True)
    with fastness.supervisor():
        result = fastness("explain", "req_1")
    assert (result.exit_code, "gateway-0 does not answer" in result.stderr) == (5, True)
