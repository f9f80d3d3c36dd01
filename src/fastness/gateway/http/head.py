"""The head of a request: llhttp judges the grammar, we judge the meaning and what llhttp lets through.

llhttp alone accepts repeated spaces, fragments, HTTP/0.9 and 2.0, RTSP, leading empty lines, `gzip, chunked`, and
chunked bodies in HTTP/1.0; tests/unit/gateway_http/test_http_head.py holds each gap shut. Pure: bytes in, values out.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NoReturn

import httptools

from fastness.core.error import Refusal
from fastness.core.marking import HEADER as MARKING_HEADER
from fastness.core.priority import HEADER as PRIORITY_HEADER
from fastness.core.priority import TIMEOUT_HEADER

HEAD_END: Final = b"\r\n\r\n"
_NO_CALLBACKS: Final = object()
_SUPPORTED: Final = {"HTTP/1.1": False, "HTTP/1.0": True}
_LENGTH_LINE: Final = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.IGNORECASE)
_VERSION: Final = re.compile(r"HTTP/[0-9](?:\.[0-9])?")
_TARGET: Final = re.compile(r"(/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*)(?:\?([A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*))?")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9\-._~]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_SINGULAR: Final = (
    "host",
    "content-length",
    "transfer-encoding",
    "authorization",
    "content-type",
    "expect",
    "connection",
    MARKING_HEADER,
    PRIORITY_HEADER,
    TIMEOUT_HEADER,
)
UPLOAD_PATH: Final = "/v1/files"
"""The one route whose body may be as large as a file."""
LENGTH_DIGITS_MAX: Final = 19
_NEED_LENGTH: Final = ("POST", "PUT", "PATCH")


class RequestHead:
    """What a request's head says. `length` is the body's size in bytes; `chunked` means it is not known yet.

    `headers` does not hold content-length and transfer-encoding: they are about the wire, and the body comes whole.
    """

    __slots__ = (
        *("body_bytes_max", "chunked", "expects_continue", "headers", "http10", "keep_alive", "length", "method"),
        *("path", "query"),
    )

    def __init__(self, method: str, path: str, query: str, http10: bool, headers: dict[str, str]) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.http10 = http10
        self.headers = headers
        self.length = 0
        self.body_bytes_max = 0
        self.chunked = False
        self.expects_continue = False
        self.keep_alive = not http10


class HeadMemory:
    """The last head of a connection: a client repeats itself, byte for byte, except for Content-Length.

    A head that equals the last one but for the digits of that one value is known to be good: it is what was judged,
    with another number. This saves most of the work on a head, for every SDK that keeps its connections. `head`
    stands until the next call.
    """

    __slots__ = ("_after", "_before", "_body_bytes_max", "_headers_max", "_known", "_upload_bytes_max", "head")

    def __init__(self, headers_max: int, body_bytes_max: int, upload_bytes_max: int = 0) -> None:
        self._headers_max = headers_max
        self._body_bytes_max = body_bytes_max
        self._upload_bytes_max = upload_bytes_max
        self._before = self._after = b""
        self._known = False
        self.head: RequestHead

    def recall(self, source: bytes | bytearray) -> int:
        """Return where a known head at the beginning of `source` ends, or 0. Raises Refusal."""
        if not self._known or not source.startswith(self._before):
            return 0
        begin = len(self._before)
        end = source.find(b"\r", begin, begin + LENGTH_DIGITS_MAX + 1)
        digits = source[begin:end]
        if end < 0 or not digits.isdigit() or not source.startswith(self._after, end):
            return 0
        self.head.length = length = int(digits)
        if length > self.head.body_bytes_max:
            raise _body_too_large(length, self.head.body_bytes_max)
        return end + len(self._after)

    def read(self, raw: bytes) -> RequestHead:
        """Read a head that is not known, as `read_head` does. Raises Refusal."""
        self._known = False
        head = self.head = read_head(raw, self._headers_max, self._body_bytes_max, self._upload_bytes_max)
        match = _LENGTH_LINE.search(raw)
        if match is not None:
            self._before, self._after, self._known = raw[: match.start(1)], raw[match.end(1) :], True
        return head


def malformed(reason: str) -> Refusal:
    """Make the refusal of bytes that are not a request we accept; `reason` names the rule, never the bytes."""
    return Refusal("malformed_http", f"This is not a valid HTTP/1.1 request: {reason}.")


def read_head(raw: bytes, headers_max: int, body_bytes_max: int, upload_bytes_max: int = 0) -> RequestHead:
    """Read one head, from its first byte to the empty line that ends it, both included. Raises Refusal.

    `upload_bytes_max` bounds the body of an upload where it is more than `body_bytes_max`, which bounds all others.
    """
    lines = raw[:-4].decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not raw[:1].isupper():  # llhttp reads over empty lines before a request
        raise malformed("the request line needs a method, a target and a version with one space between them")
    method, target, version = parts
    http10 = _SUPPORTED.get(version)
    if http10 is None:
        _refuse_version(version)
    if len(lines) - 1 > headers_max:
        raise Refusal("headers_too_large", f"{len(lines) - 1} headers came; at most {headers_max} are taken.")
    try:
        httptools.HttpRequestParser(_NO_CALLBACKS).feed_data(raw)
    except httptools.HttpParserUpgrade:
        raise malformed("CONNECT and protocol upgrades are not offered; send plain HTTP/1.1") from None
    except httptools.HttpParserError as error:
        raise malformed(str(error) or "the grammar is violated") from None
    path, query = _split_target(target)
    headers: dict[str, str] = {}
    del lines[0]
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip(" \t")
    if len(headers) != len(lines):
        _drop_repeated(lines, headers)
    head = RequestHead(method, path, query, http10, headers)
    head.body_bytes_max = max(body_bytes_max, upload_bytes_max) if path == UPLOAD_PATH else body_bytes_max
    _read_meaning(head, headers, head.body_bytes_max)
    return head


def _read_meaning(head: RequestHead, headers: dict[str, str], body_bytes_max: int) -> None:
    host = headers.get("host")
    if host is None:
        if not head.http10:
            raise malformed("HTTP/1.1 needs a Host header")
    else:
        _check_host(host)
    if "upgrade" in headers:
        raise malformed("protocol upgrades are not offered; send plain HTTP/1.1")
    length = headers.pop("content-length", None)
    coding = headers.pop("transfer-encoding", None)
    if coding is not None:
        _read_coding(head, coding, length)
    elif length is not None:
        _read_length(head, length, body_bytes_max)
    elif head.method in _NEED_LENGTH:
        raise Refusal(
            "length_required", f"{head.method} needs a Content-Length header or `Transfer-Encoding: chunked`."
        )
    connection = headers.get("connection")
    if connection is not None and head.keep_alive and connection != "keep-alive":
        head.keep_alive = "close" not in [token.strip(" \t") for token in connection.lower().split(",")]
    expect = headers.get("expect")
    if expect is not None and not head.http10:
        if expect.lower() != "100-continue":
            raise Refusal("expectation_failed", "Only `Expect: 100-continue` is understood; leave other ones out.")
        head.expects_continue = True


def _read_length(head: RequestHead, length: str, body_bytes_max: int) -> None:
    # llhttp took it already; this is our own word on the number that smuggling needs two readers to disagree on
    if not length.isdecimal() or len(length) > LENGTH_DIGITS_MAX:
        raise malformed("Content-Length is not a plain decimal number")
    head.length = int(length)
    if head.length > body_bytes_max:
        raise _body_too_large(head.length, body_bytes_max)


def _read_coding(head: RequestHead, coding: str, length: str | None) -> None:
    if length is not None:
        raise malformed("Content-Length and Transfer-Encoding exclude each other")
    if head.http10:
        raise malformed("HTTP/1.0 has no Transfer-Encoding")
    if coding.lower() != "chunked":
        raise malformed("the only Transfer-Encoding understood is `chunked`, alone")
    head.chunked = True


def _body_too_large(size_bytes: int, body_bytes_max: int) -> Refusal:
    return Refusal("body_too_large", f"The body has {size_bytes} bytes; at most {body_bytes_max} are taken.")


def _drop_repeated(lines: list[str], headers: dict[str, str]) -> None:
    names = [line.partition(":")[0].lower() for line in lines]
    for name in _SINGULAR:
        if names.count(name) > 1:
            raise malformed(f"the header {name} came more than once")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            headers.pop(name, None)
        seen.add(name)


def _refuse_version(version: str) -> NoReturn:
    if _VERSION.fullmatch(version):
        raise Refusal("http_version_not_supported", f"{version} came; only HTTP/1.1 and HTTP/1.0 are spoken.")
    raise malformed("the request line does not end in an HTTP version")


@lru_cache(maxsize=256)  # clients ask for a handful of targets; the bound is 256 of at most header_bytes_max each
def _split_target(target: str) -> tuple[str, str]:
    match = _TARGET.fullmatch(target)
    if match is None:
        raise malformed("the target must be a path such as /v1/models, of URL characters only")
    return match[1], match[2] or ""


@lru_cache(maxsize=256)
def _check_host(host: str) -> None:
    if _HOST.fullmatch(host) is None:
        raise malformed("the Host header is not a host name or address with an optional port")
