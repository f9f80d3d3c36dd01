"""An installation made to be thrown away: started by the command as it is, asked over HTTP as a stranger would.

It needs the standard library only: no client of ours is in what is proved with it.
"""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

STEP_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 60.0
_PRELUDE: Final = "import ctypes; ctypes.CDLL(None).prctl(1, 9); from fastness.main import main; main()"
"""The command, which the kernel ends with whoever started it."""


class StepFailed(Exception):  # noqa: N818 - an outcome
    """The message says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step that was taken: `detail` says what came of it."""

    name: str
    held: bool
    detail: str
    elapsed_ms: int


class Installation:
    """An installation at `home`, started by the command as it is; ends with this process, whatever happens to it.

    Whoever makes one has FASTNESS_HOME in its environment, and no other setting.
    """

    def __init__(self, home: Path) -> None:
        self._errors = home / "up.stderr"
        self._process: subprocess.Popen[str] | None = None
        self.key = ""
        self.place = urlsplit("http://127.0.0.1:0")

    def up(self) -> str:
        """Start it and wait until it is ready."""
        with self._errors.open("a") as talk:
            self._process = subprocess.Popen(
                (sys.executable, "-c", _PRELUDE, "up", "--json", "--port", "0"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=talk,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise StepFailed("it did not start: " + " | ".join(self._errors.read_text().splitlines()[-3:]))
        ready = json.loads(line)
        self.key, self.place = ready["admin_key"], urlsplit(ready["base_url"])
        return f"{len(ready['models'])} models, sealed" if ready["sealed"] else "NOT SEALED"

    def stop(self) -> str:
        """Ask it to end, and see that it ends well."""
        if self._process is None:
            raise StepFailed("it never ran")
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(STOP_TIMEOUT_S)
        return expect("exit status 0", code, code == 0)

    def end(self) -> None:
        """End what is left of it."""
        if self._process is not None:
            with self._process as process, suppress(ProcessLookupError):
                process.kill()

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process.pid if self._process else 0

    def verb(self, *words: str) -> Any:
        """Run a verb with `--json` and return what it said; raises StepFailed."""
        done = subprocess.run(
            (sys.executable, "-c", _PRELUDE, *words, "--json"),
            capture_output=True,
            text=True,
            timeout=STEP_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise StepFailed(f"{' '.join(words)}: exit status {done.returncode}: {done.stderr.strip()[-300:]}")
        return json.loads(done.stdout)

    @contextmanager
    def asked(
        self, path: str, body: dict[str, Any] | None, key: str | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Ask the API for `path`, with a body or without."""
        connection = http.client.HTTPConnection(self.place.hostname or "", self.place.port, timeout=STEP_TIMEOUT_S)
        headers = {"content-type": "application/json", "authorization": f"Bearer {key or self.key}"}
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, f"/v1{path}", None if body is None else json.dumps(body), headers)
            with connection.getresponse() as answer:
                yield answer
        finally:
            connection.close()

    def ask(self, path: str, body: dict[str, Any] | None, key: str | None = None) -> tuple[int, Any]:
        """Return the status and the JSON of an answer."""
        with self.asked(path, body, key) as answer:
            return answer.status, json.loads(answer.read())

    def replica(self, model: str) -> dict[str, Any]:
        """Return the replica of a model, as `fastness ps` shows it."""
        said = self.verb("ps")
        found: dict[str, Any] = next(one for one in said["replicas"] if one["model"] == model)
        return found


def take(name: str, act: Callable[[], str]) -> Step:
    """Take one step; whatever it raises is what came of it."""
    began = time.monotonic()
    try:
        held, detail = True, act()
    except StepFailed as error:
        held, detail = False, str(error)
    except Exception as error:  # noqa: BLE001 - a proof reports a step that broke, and goes on
        held, detail = False, f"{type(error).__name__}: {error}"
    return Step(name, held, detail[:500], int(1_000 * (time.monotonic() - began)))


def expect(wanted: str, came: object, holds: bool) -> str:
    """Return `wanted` when it holds; otherwise raise StepFailed with what came."""
    if not holds:
        raise StepFailed(f"expected {wanted}; came {str(came)[:300]}")
    return wanted
