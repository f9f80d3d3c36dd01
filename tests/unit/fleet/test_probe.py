import asyncio
import tempfile
import time
from pathlib import Path

import pytest

from fastness.fleet.probe import HEAD_BYTES_MAX, status_of


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="fst-") as name:
        yield Path(name)


def probe(folder, answer, timeout_s=5.0):
    """Ask a server on a Unix socket that answers with `answer`; return the status and what it was asked."""
    asked = []

    async def journey():
        async def serve(reader, writer):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
            writer.close()

        async with await asyncio.start_unix_server(serve, folder / "s.sock"):
            return await status_of(folder / "s.sock", "/health", timeout_s)

    return asyncio.run(journey()), asked


@pytest.mark.parametrize("status", [200, 503])
def test_the_status_is_read(folder, status):
    found, asked = probe(folder, f"HTTP/1.1 {status} Whatever\r\ncontent-length: 0\r\n\r\n".encode())
    assert found == status
    assert asked == [b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"]


@pytest.mark.parametrize(
    "answer",
    [b"", b"\r\n", b"HTTP/1.1\r\n", b"HTTP/1.1 fine\r\n", b"x" * (HEAD_BYTES_MAX * 4) + b"\n", b"\xff\xfe\xfd\n"],
    ids=["nothing", "an empty line", "no status", "a word", "too much", "no text"],
)
def test_nonsense_is_no_answer(folder, answer):
    assert probe(folder, answer)[0] is None


def test_silence_is_no_answer_after_the_timeout(folder):
    began = time.perf_counter()
    assert probe(folder, None, timeout_s=0.1)[0] is None
    assert time.perf_counter() - began < 2.0


def test_nobody_there_is_no_answer(folder):
    assert asyncio.run(status_of(folder / "none.sock", "/health", 1.0)) is None
