from __future__ import annotations

import pytest

from fastness.core.error import Refusal
from fastness.gateway.http.head import HeadMemory, RequestHead, read_head

HEADERS_MAX = 32
BODY_MAX = 1_000


def read(first: str, *lines: str):
    return read_head("\r\n".join((first, *lines, "", "")).encode("latin-1"), HEADERS_MAX, BODY_MAX)


def refusal(first: str, *lines: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(first, *lines)
    assert caught.value.message.endswith((".", "moment."))
    return caught.value


def test_a_plain_request_is_read():
    head = read("POST /v1/chat/completions?a=b&c HTTP/1.1", "Host: x:80", "Content-Length: 12", "X-Mixed-Case:  v w \t")
    assert (head.method, head.path, head.query) == ("POST", "/v1/chat/completions", "a=b&c")
    assert head.headers == {"host": "x:80", "x-mixed-case": "v w"}
    assert (head.length, head.chunked, head.keep_alive, head.http10, head.expects_continue) == (
        12,
        False,
        True,
        False,
        False,
    )


def test_the_path_is_left_as_sent():
    assert read("GET /v1/%2e%2e/models//a?x=%00?y HTTP/1.1", "Host: a").path == "/v1/%2e%2e/models//a"
    assert read("GET /?x=/?y HTTP/1.1", "Host: a").query == "x=/?y"


@pytest.mark.parametrize(
    "first",
    [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "\nGET / HTTP/1.1",
        "\rGET / HTTP/1.1",
        "\r\nGET / HTTP/1.1",
        "G\nET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /a b HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / HTTP/1.1\t",
        "GET /",
        "GET / http/1.1",
        "GET / HTTP/1.1.1",
        "GET / XTTP/1.1",
        "GET / RTSP/1.0",
        "SOURCE / ICE/1.0",
        "DESCRIBE / RTSP/1.0",
        "get / HTTP/1.1",
        "FOO / HTTP/1.1",
        "G=T / HTTP/1.1",
        "GET http://a/ HTTP/1.1",
        "GET //a@b:c\\d HTTP/1.1",
        "GET * HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET a HTTP/1.1",
        "GET /#fragment HTTP/1.1",
        "GET /a\\b HTTP/1.1",
        'GET /"a" HTTP/1.1',
        "GET /a<b> HTTP/1.1",
        "GET /\xe9 HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET /\x00 HTTP/1.1",
        "CONNECT a:1 HTTP/1.1",
        "CONNECT / HTTP/1.1",
        "",
    ],
)
def test_a_bad_request_line_is_refused(first):
    assert refusal(first, "Host: a").code == "malformed_http"


@pytest.mark.parametrize("version", ["HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/2", "HTTP/3.0", "HTTP/9.9"])
def test_other_versions_are_refused_by_name(version):
    assert refusal(f"GET / {version}", "Host: a").code == "http_version_not_supported"


def test_the_http2_preface_is_refused_as_a_version():
    with pytest.raises(Refusal) as caught:
        read_head(b"PRI * HTTP/2.0\r\n\r\n", HEADERS_MAX, BODY_MAX)
    assert caught.value.code == "http_version_not_supported"


@pytest.mark.parametrize(
    "line",
    [
        " Folded: x",
        "Host : b",
        "Ho st: b",
        ": b",
        "nocolon",
        "X\t: b",
        "X: a\x00b",
        "X: a\x01b",
        "X: a\x0bb",
        "X: a\x7fb",
        "X: a\rb",
        "X: a\nb",
        "X: a\n",
        "X: a\r",
        "X(: b",
        "X\xe9: b",
        "X: a\r\n folded",
        "X: a\r\n\tfolded",
    ],
)
def test_a_bad_header_line_is_refused(line):
    assert refusal("GET / HTTP/1.1", "Host: a", line).code == "malformed_http"
    assert refusal("GET / HTTP/1.1", line, "Host: a").code == "malformed_http"


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 3", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 3"],
        ["Content-Length: 3", "Content-Length: 3"],
        ["Content-Length: 3", "Content-Length: 4"],
        ["Content-Length: 3, 3"],
        ["Content-Length: +3"],
        ["Content-Length: -3"],
        ["Content-Length: 0x3"],
        ["Content-Length: 3 3"],
        ["Content-Length: 3_0"],
        ["Content-Length: \xb2"],
        ["Content-Length:"],
        ["Content-Length: 99999999999999999999999999"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding: chunked, identity"],
        ["Transfer-Encoding: identity, chunked"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: chunked, chunked"],
        ["Transfer-Encoding: chunked;x"],
        ["Transfer-Encoding: identity"],
        ["Transfer-Encoding:"],
        ["Transfer-Encoding:\x0bchunked"],
        ['Transfer-Encoding: "chunked"'],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: identity", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        ["Transfer-Encoding: chunked", "Transfer-encoding: x"],
        ["Transfer-Encoding : chunked"],
        ["Transfer-Encoding: chunked\r\n x"],
        ["X: y\nTransfer-Encoding: chunked"],
    ],
)
def test_a_body_of_doubtful_length_is_refused(lines):
    assert refusal("POST / HTTP/1.1", "Host: a", *lines).code == "malformed_http"


def test_http10_has_no_chunked_bodies_and_no_kept_connections():
    assert refusal("POST / HTTP/1.0", "Transfer-Encoding: chunked").code == "malformed_http"
    assert not read("GET / HTTP/1.0").keep_alive
    assert not read("GET / HTTP/1.0", "Connection: keep-alive").keep_alive


def test_chunked_is_taken_in_any_case():
    assert read("POST / HTTP/1.1", "Host: a", "transfer-encoding: CHUNKED").chunked


@pytest.mark.parametrize("name", ["Host", "Authorization", "Content-Type", "Expect", "Connection"])
def test_a_header_that_matters_may_come_once_only(name):
    lines = [f"{name}: a", f"{name.upper()}: a"] + ([] if name == "Host" else ["Host: a"])
    assert refusal("GET / HTTP/1.1", *lines).code == "malformed_http"


def test_another_header_that_is_repeated_is_absent():
    head = read("GET / HTTP/1.1", "Host: a", "X-One: 1", "X-Two: 1", "x-two: 2", "X-TWO: 3")
    assert head.headers == {"host": "a", "x-one": "1"}


def test_http11_needs_a_host():
    assert refusal("GET / HTTP/1.1").code == "malformed_http"
    assert read("GET / HTTP/1.0").headers == {}


@pytest.mark.parametrize("host", ["a b", "a,b", "a/b", "a@b", "a:b", "http://a", "a:1:2", "[::1", "a\\b", "\xe9"])
def test_a_host_that_is_no_host_is_refused(host):
    assert refusal("GET / HTTP/1.1", f"Host: {host}").code == "malformed_http"


@pytest.mark.parametrize("host", ["", "a", "a.b-c_d:8080", "127.0.0.1:1", "[::1]:8080", "a:"])
def test_a_host_is_a_host(host):
    assert read("GET / HTTP/1.1", f"Host: {host}").headers["host"] == host


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_method_with_a_body_needs_a_length(method):
    assert refusal(f"{method} / HTTP/1.1", "Host: a").code == "length_required"
    assert read(f"{method} / HTTP/1.1", "Host: a", "Content-Length: 0").length == 0


def test_upgrades_are_refused():
    assert refusal("GET / HTTP/1.1", "Host: a", "Upgrade: h2c", "Connection: upgrade").code == "malformed_http"
    assert refusal("GET / HTTP/1.1", "Host: a", "Upgrade: websocket").code == "malformed_http"


@pytest.mark.parametrize(
    ("connection", "kept"),
    [
        ("keep-alive", True),
        ("close", False),
        ("Close", False),
        ("keep-alive, close", False),
        ("x,\tclose", False),
        ("", True),
    ],
)
def test_connection_close_is_heard(connection, kept):
    assert read("GET / HTTP/1.1", "Host: a", f"Connection: {connection}").keep_alive is kept


def test_only_one_expectation_is_understood():
    assert read("POST / HTTP/1.1", "Host: a", "Content-Length: 1", "Expect: 100-Continue").expects_continue
    assert not read("POST / HTTP/1.0", "Content-Length: 1", "Expect: 100-continue").expects_continue
    assert refusal("POST / HTTP/1.1", "Host: a", "Content-Length: 1", "Expect: tea").code == "expectation_failed"


def test_the_number_of_headers_is_bounded():
    most = [f"X-{number}: 1" for number in range(HEADERS_MAX - 1)]
    assert len(read("GET / HTTP/1.1", "Host: a", *most).headers) == HEADERS_MAX
    assert refusal("GET / HTTP/1.1", "Host: a", "X: 1", *most).code == "headers_too_large"


def test_a_body_over_the_limit_is_refused_by_its_length_alone():
    assert read("POST / HTTP/1.1", "Host: a", f"Content-Length: {BODY_MAX}").length == BODY_MAX
    assert refusal("POST / HTTP/1.1", "Host: a", f"Content-Length: {BODY_MAX + 1}").code == "body_too_large"


def test_latin1_values_are_taken_as_they_are():
    assert read("GET / HTTP/1.1", "Host: a", "X: \xe9").headers["x"] == "\xe9"


class Remembering(HeadMemory):
    def take(self, raw: bytes) -> RequestHead:
        end = self.recall(raw)
        assert end in (0, len(raw))
        return self.head if end else self.read(raw)


def remembering() -> Remembering:
    return Remembering(HEADERS_MAX, BODY_MAX)


def head_of(length: str, extra: str = "") -> bytes:
    return f"POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nX: y\r\n{extra}\r\n".encode()


def test_a_repeated_head_differs_only_in_its_length():
    memory = remembering()
    first = memory.take(head_of("5"))
    headers = first.headers
    assert first.length == 5
    for length in (7, 0, 999, 1_000):
        again = memory.take(head_of(str(length)))
        assert (again.length, again.method, again.path, again.query) == (length, "POST", "/a", "b")
        assert again.headers is headers


@pytest.mark.parametrize("length", ["", "+1", "-1", "1 1", "0x1", "1,1", "9" * 25, "\xb2", "1\r\nContent-Length: 2"])
def test_a_remembered_head_lets_nothing_through(length):
    raw = head_of(length)
    memory = remembering()
    memory.take(head_of("5"))
    with pytest.raises(Refusal) as anew:
        read_head(raw, HEADERS_MAX, BODY_MAX)
    with pytest.raises(Refusal) as remembered:
        memory.take(raw)
    assert remembered.value.code == anew.value.code


def test_a_remembered_head_keeps_the_limit_of_the_body():
    memory = remembering()
    memory.take(head_of("5"))
    with pytest.raises(Refusal) as caught:
        memory.take(head_of("1001"))
    assert caught.value.code == "body_too_large"


def test_a_changed_head_is_judged_anew():
    memory = remembering()
    memory.take(head_of("5"))
    with pytest.raises(Refusal):
        memory.take(head_of("5", "Bad : x\r\n"))
    assert memory.take(head_of("5", "Z: z\r\n")).headers["z"] == "z"
    assert memory.take(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").length == 0
    assert memory.take(head_of("6")).length == 6
