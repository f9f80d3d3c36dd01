"""One HTTP GET, for health: over a Unix socket, answered by a status."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

HEAD_BYTES_MAX: Final = 4_096


async def status_of(socket: Path, path: str, timeout_s: float) -> int | None:
    """Return the HTTP status of GET `path` at a socket; None when there was no answer in time."""
    writer = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(socket), limit=HEAD_BYTES_MAX)
            writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
            line = await reader.readline()
            return int(line.split(b" ", 2)[1])
    except (OSError, TimeoutError, ValueError, IndexError):
        return None
    finally:
        if writer:
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await writer.wait_closed()
