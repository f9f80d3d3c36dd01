"""What is read of JSON in threads is read by decoders that were made with their module, by one thread.

msgspec 0.22 keeps with a type what it has found out of it, and does so before it knows everything: of two threads that
decode a type for the first time, at the same time, one crashes the process. So ended a node that began two replicas.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src/fastness"
BY_ONE_THREAD = {
    "batches/api.py", "batches/shelf.py", "cli", "control/fleet_api.py", "control/fleet_record.py", "control/wire.py",
    "engines/fake/server.py", "gateway/batches.py", "gateway/receipts.py", "perimeter/proving.py",
    "registry/convert_bert.py", "registry/inspection/child.py", "simulator",
}  # fmt: skip
"""Where the loop alone decodes, or a process that has one thread; among them all whose type is an argument."""
DECODING = """
import sys, threading
from fastness.registry.admission import record
from fastness.registry import library
sys.setswitchinterval(1e-6)
together = threading.Barrier(4)
def decode():
    together.wait()
    for decoder in (record._RECORD, library._CARD):
        try:
            decoder.decode(b"{}")
        except library.msgspec.ValidationError:
            pass
threads = [threading.Thread(target=decode) for _ in range(4)]
for one in threads:
    one.start()
for one in threads:
    one.join()
"""


def looked_at_late(path: Path) -> Iterator[str]:
    """The types that a module decodes or converts, and has made no decoder of."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    early = {ast.unparse(one.args[0]) for one in calls if ast.unparse(one.func) == "msgspec.json.Decoder"}
    for one in calls:
        if ast.unparse(one.func) == "msgspec.json.decode":
            yield from (ast.unparse(each.value) for each in one.keywords if each.arg == "type")
        elif ast.unparse(one.func) == "msgspec.convert" and (kind := ast.unparse(one.args[1])) not in early:
            yield kind


def test_what_threads_decode_has_a_decoder_of_its_module() -> None:
    found = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if any(looked_at_late(path))}
    assert {one for one in found if one not in BY_ONE_THREAD and one.partition("/")[0] not in BY_ONE_THREAD} == set()


@pytest.mark.parametrize("_turn", range(5))
def test_threads_decode_a_record_and_a_card_at_the_same_time(_turn: int) -> None:
    done = subprocess.run([sys.executable, "-c", DECODING], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
