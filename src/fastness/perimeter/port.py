"""The perimeter port: how anything is started sealed, and what proves that it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a sealed process may touch: everything else is refused.

    `readable` and `writable` are files or directories (`writable` also lets it make sockets there). The limits are
    rlimits. `unsealed` starts it without any of this, and must have been allowed by an operator.
    """

    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    memory_bytes_max: int
    open_files_max: int
    processes_max: int = 512
    unsealed: bool = False


class SealUnavailable(Exception):  # noqa: N818 - a state of the machine
    """This kernel cannot seal. The message says which layer is missing and what to install or enable."""


class Perimeter(Protocol):
    """Starts sealed processes."""

    def sealed_argv(self, argv: tuple[str, ...], confinement: Confinement) -> tuple[str, ...]:
        """Return an argv that seals itself as `confinement` says and then executes `argv`.

        The process dies with the process that started it, seals all layers or none, and never runs `argv` unsealed
        unless told so: if a layer cannot be set it exits with status 113 and says on stderr which, and why.
        """
        ...

    def check(self) -> None:
        """Raise SealUnavailable unless a process sealed here and now proves that every layer holds."""
        ...
