"""Errors on the wire: OpenAI's shape, from the one table."""

from __future__ import annotations

from typing import Final

import msgspec

from fastness.core.error import Refusal
from fastness.gateway.wire import out

_encode: Final = msgspec.json.Encoder().encode


def error_body(refusal: Refusal) -> bytes:
    """Return the JSON of an error."""
    return _encode(out.ErrorOut(out.ErrorBody(refusal.message, refusal.row.type, refusal.param, refusal.code)))


def error_headers(refusal: Refusal) -> bytes:
    """Return the header lines of an error's answer."""
    lines = b"content-type: application/json\r\ncache-control: no-store\r\n"
    if refusal.status == 401:
        lines += b"www-authenticate: Bearer\r\n"
    if refusal.retry_after_s is not None:
        lines += b"retry-after: %d\r\n" % refusal.retry_after_s
    if refusal.should_retry is not None:
        lines += b"x-should-retry: %b\r\n" % (b"true" if refusal.should_retry else b"false")
    if refusal.status == 405 and refusal.param:
        lines += b"allow: %b\r\n" % refusal.param.encode()
    return lines
