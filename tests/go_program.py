"""The program of `integration/tlog_go`: other people's code for transparency logs, asked from Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

PLACE = Path(sys.prefix) / "tlog"
PROGRAM = PLACE / "tlog"


def require_program() -> None:
    """Skip where it was not built; with CI=true that is a failure."""
    if PROGRAM.exists():
        return
    why = f"needs {PROGRAM}: `make tlog` builds it, with pip and Debian's apt"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def ask_all(questions: Iterable[dict[str, Any]]) -> list[Any]:
    """Return an answer for each question; that of a refusal is {"error": why}."""
    lines = "".join(json.dumps(one) + "\n" for one in questions)
    done = subprocess.run([PROGRAM], input=lines, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def ask(do: str, **question: Any) -> Any:
    """Return what was found; raises Refused."""
    (found,) = ask_all([{"do": do, **question}])
    if isinstance(found, dict) and "error" in found:
        raise Refused(found["error"])
    return found


class Refused(Exception):  # noqa: N818 - what was said
    """The other code would not have it; the message says why."""


def encoded(hashes: Iterable[bytes]) -> list[str]:
    return [b64encode(one).decode() for one in hashes]
