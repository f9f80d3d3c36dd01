"""One HTTP GET, for health: over a Unix socket or to a local port, answered by a status."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final

HEAD_BYTES_MAX: Final = 4_096


async def status_of(
    where: Path | tuple[str, int], path: str, timeout_s: float, *, tls: ssl.SSLContext | None = None
) -> int | None:
    """Return the HTTP status of GET `path` at a socket or (host, port); None when there was no answer in time."""
    writer = None
    try:
        async with asyncio.timeout(timeout_s):
            if isinstance(where, Path):
                reader, writer = await asyncio.open_unix_connection(str(where), limit=HEAD_BYTES_MAX)
            else:
                reader, writer = await asyncio.open_connection(*where, limit=HEAD_BYTES_MAX, ssl=tls)
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
