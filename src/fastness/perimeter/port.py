"""The perimeter port: how anything is started sealed, and what proves that it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Profile(StrEnum):
    """What kind of program is sealed.

    `single`: one process with threads, which makes Unix sockets and connects to none. `family`: it starts processes,
    which speak to each other over a loopback of their own; it sees no file that is not named, and they end together.
    """

    SINGLE = "single"
    FAMILY = "family"


@dataclass(frozen=True, slots=True)
class Gang:
    """What a family gets that is one member of `replica`: an interface whose other end the door of this host has.

    `door` is the Unix socket where the door takes such ends. The interface leads to the other members, and it has
    `address`, which only these know; `mtu_bytes` is its largest packet.
    """

    door: Path
    replica: str
    interface: str
    address: str
    mtu_bytes: int


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a sealed process may touch: everything else is refused.

    `readable` and `writable` are files or directories (`writable` also lets it make sockets there). The limits are
    rlimits. `descriptors` stay open in it, under their numbers, if whoever starts it passes them on: files of which it
    can change nothing (opened for reading only, or a memory file sealed against writing), never sockets.
    `links` are symbolic links that a family finds in a writable directory, and where they lead: it can make none.
    `devices` are device files that it may open and control; with any, it may control what it opens as it likes.
    `gang` makes a family a member of one: it is executed when all members have joined, and ends when one of them does.
    `unsealed` starts it without any of this, and must have been allowed by an operator.
    """

    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    memory_bytes_max: int
    open_files_max: int
    processes_max: int = 512
    unsealed: bool = False
    descriptors: tuple[int, ...] = ()
    profile: Profile = Profile.SINGLE
    devices: tuple[Path, ...] = ()
    links: tuple[tuple[Path, Path], ...] = ()
    gang: Gang | None = None


class SealUnavailable(Exception):  # noqa: N818 - a state of the machine
    """This kernel cannot seal. The message says which layer is missing and what to install or enable."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One thing that was tried inside a seal, or looked at from outside it.

    `layer` was expected to refuse `attempt`; `answer` is what the kernel said, such as `EACCES`.
    """

    id: str
    layer: str
    attempt: str
    refused: bool
    answer: str


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a sealed process tried here and now, in the order tried. It holds when `passed` is empty."""

    results: tuple[ProbeResult, ...]
    elapsed_s: float

    @property
    def passed(self) -> tuple[ProbeResult, ...]:
        """The probes that got through and should not have."""
        return tuple(result for result in self.results if not result.refused)

    def summary(self) -> str:
        """Say it in one line: `60 probes, 0 passed`."""
        return f"{len(self.results)} probes, {len(self.passed)} passed"


class Perimeter(Protocol):
    """Starts sealed processes."""

    def sealed_argv(self, argv: tuple[str, ...], confinement: Confinement) -> tuple[str, ...]:
        """Return an argv that seals itself as `confinement` says and then executes `argv`.

        Call it in the process, and start it from a thread, that shall outlive it: the death of either ends it.
        `argv[0]` is an absolute path. What any Python needs of the system is readable without being named. It seals
        all layers or none, and never runs `argv` unsealed unless told so: if a layer cannot be set it exits with
        status 113 and says on stderr which, and why. Raises ValueError for a relative path.
        """
        ...

    def prove(self) -> ProbeReport:
        """Start a sealed process that tries what it must not be able to do, and report; takes well below a second.

        Raises SealUnavailable when a layer cannot be set here, so that there is nothing to try.
        """
        ...

    def check(self) -> ProbeReport:
        """Prove, and raise SealUnavailable unless every layer holds; return the report."""
        ...
