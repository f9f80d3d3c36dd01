"""What the verbs are given: the callables that `fastness.main` wires, and the words both sides speak.

Importing this file must stay cheap (`fastness --help` waits for it): whatever is heavy, `main` imports inside its
callables.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from fastness.config import Explanation, Settings
from fastness.core.model import ModelCard

AsgiApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Any]], Callable[[MutableMapping[str, Any]], Awaitable[None]]],
    Awaitable[None],
]
"""An ASGI application; the client runs its lifespan around the requests it makes in-process."""


@dataclass(frozen=True, slots=True)
class UpReady:
    """What a started installation tells. `base_url` ends in `/v1`; `admin_key` is None when it was shown before.

    `pid` is the supervisor's; `elapsed_s` counts from the command to ready; `prove_line` is printed as it is.
    """

    base_url: str
    admin_key: str | None
    console_url: str | None
    pid: int
    elapsed_s: float
    models: tuple[ModelCard, ...]
    prove_line: str
    sealed: bool = True


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """What a host tells once its head has answered. `elapsed_s` counts from the command; `pid` is the supervisor's."""

    node: str
    head: str
    pid: int
    elapsed_s: float
    sealed: bool = True


class UpProgress(Protocol):
    """Where the supervisor tells what it does. Calls return at once and may come from one thread at a time.

    A stage is named by one word (`model`, `seal`, `engine`, `gateway`); several may run, each with its own name and
    detail. `stage` opens it, `progress` may follow while bytes move, `done` closes it.
    """

    def stage(self, name: str, detail: str) -> None:
        """Begin `name`; `detail` says on what (it tells two stages of one name apart)."""
        ...

    def progress(self, name: str, done_bytes: int, total_bytes: int) -> None:
        """Tell how far the stage opened last under `name` is."""
        ...

    def done(self, name: str, detail: str, elapsed_s: float, result: str = "ready") -> None:
        """End `name`; with another detail than it began with, it ends the stage opened last under `name`."""
        ...

    def warn(self, text: str) -> None:
        """Tell something a person should know, before or after ready (an engine crashed; it runs unsealed)."""
        ...

    def ready(self, ready: UpReady) -> None:
        """Tell, once, that requests are answered."""
        ...


class Verdict(StrEnum):
    """What `doctor` makes of a fact."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`: what was found, why it matters, and what to do (empty when it is well)."""

    subject: str
    verdict: Verdict
    found: str
    why: str
    hint: str = ""


class LoadSettings(Protocol):
    """Reads the settings; raises ConfigError. `config` is the file named by `--config` (None: the usual one)."""

    def __call__(
        self, flags: Mapping[str, object], config: Path | None = None
    ) -> tuple[Settings, Mapping[str, Explanation]]:
        """Return the settings and where each came from; a flag that is None was not given."""
        ...


@dataclass(frozen=True, slots=True)
class Composition:
    """The callables behind the verbs. Those that run return the exit code of the process.

    `run_up` supervises until a signal; `run_node` does so on a host that another one gives orders to.
    `local_api` builds the management API in this process, for when nothing runs;
    it may be called only then, since it writes to the store. `machine_facts` are the findings of `doctor` that need
    the other rooms: the seal's proof, the engine, the models.
    """

    environ: Mapping[str, str]
    load_settings: LoadSettings
    run_up: Callable[[Settings, UpProgress, bool], int]
    run_node: Callable[[Settings, UpProgress, bool, Callable[[NodeJoined], None]], int]
    run_gateway: Callable[[Settings], int]
    run_control: Callable[[Settings], int]
    run_door: Callable[[Settings], int]
    local_api: Callable[[Settings], AsgiApp]
    machine_facts: Callable[[Settings], list[Finding]]
