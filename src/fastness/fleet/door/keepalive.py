"""A cable that is cut says nothing: how soon the kernel notices that nobody is there any more."""

from __future__ import annotations

import socket
from typing import Final

QUIET_S: Final = 1
"""After so long without a word the kernel asks whether the other side is there."""
DEAD_S: Final = 2
"""After so long without any answer it is not."""

STREAM_BUFFER_BYTES: Final = 131_072
"""What the kernel holds of one engine's words on either side: it would hold megabytes by itself."""


def notice_dead_links(made: socket.socket) -> None:
    """Have the kernel end a connection within about two seconds after the last sign of the other side."""
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, QUIET_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, QUIET_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, DEAD_S)
    # What was sent and not acknowledged, and an unanswered question, both end by this.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1_000 * DEAD_S)
