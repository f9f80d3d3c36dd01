"""The inspector that is used: each artefact is read by a process of its own that is sealed and bounded.

Whatever ends that process early is a refusal: the artefact did it.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

import fastness
from fastness.config import RegistrySettings
from fastness.registry.inspection.port import ArtefactRefused, Inspected, InspectionUnavailable, Wish
from fastness.registry.inspection.rules import RULES
from fastness.registry.inspection.running import Ended, Usage, run
from fastness.registry.inspection.wire import EXIT_DEFECT, EXIT_MEMORY, Answer, Request

Seal = Callable[[tuple[str, ...], tuple[Path, ...], int], tuple[str, ...]]
"""Turns (argv, what it may read, bytes of address space) into an argv that seals itself first."""

HASHED_BYTES_PER_S: Final = 50_000_000
"""What a slow disk gives: large artefacts get that much more time."""
_ANSWER: Final = msgspec.json.Decoder(Answer)
_LIBRARIES: Final = ("msgspec", "jinja2", "markupsafe")


class SealedInspector:
    """Implements Inspector. `observe` is told what each inspection took. Threads may share one."""

    def __init__(
        self, seal: Seal, settings: RegistrySettings, observe: Callable[[Usage], None] = lambda _usage: None
    ) -> None:
        self._seal = seal
        self._settings = settings
        self._observe = observe
        self._argv = _argv()

    def inspect(self, path: Path, wish: Wish) -> Inspected:
        """Read the artefact at `path` in a sealed process, started from this thread."""
        path = path.absolute()
        size_bytes = _size_bytes(path)
        request = msgspec.json.encode(Request(str(path), wish, self._settings)) + b"\n"
        argv = self._seal(self._argv, (path,), self._settings.inspection_memory_bytes_max)
        timeout_s = self._settings.inspection_timeout_s + size_bytes / HASHED_BYTES_PER_S
        ended = run(argv, request, timeout_s)
        self._observe(ended.usage)
        return _judged(ended, path, wish)


def _argv() -> tuple[str, ...]:
    """Return what runs the child: this Python, isolated, with our package and the three libraries that it needs."""
    places = [Path(fastness.__file__).resolve().parents[1]]
    for name in _LIBRARIES:
        found = find_spec(name)
        if found is None or found.origin is None:
            raise InspectionUnavailable(f"the library {name} is not installed: pip install fastness anew")
        places.append(Path(found.origin).resolve().parents[1])
    listed = [str(place) for place in dict.fromkeys(places)]
    code = f"import sys; sys.path += {listed!r}; from fastness.registry.inspection import child; sys.exit(child.main())"
    return (sys.executable, "-I", "-S", "-B", "-c", code)


def _size_bytes(path: Path) -> int:
    """Return the size of an artefact; raises ArtefactRefused for a path that no process needs to be started for."""
    try:
        str(path).encode()
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            raise ArtefactRefused("file.symlink", "is a symbolic link; name what it points to", path.name)
        if not stat.S_ISDIR(status.st_mode):
            return status.st_size
        with os.scandir(path) as entries:
            return sum(
                entry.stat(follow_symlinks=False).st_size for _, entry in zip(range(4_096), entries, strict=False)
            )
    except UnicodeEncodeError:
        raise ArtefactRefused("file.name", "a path is UTF-8", f"{path.name!a}") from None
    except OSError as error:
        raise ArtefactRefused("file.unreadable", f"cannot be looked at: {error.strerror}", path.name) from None


_ENDINGS: Final = {
    -signal.SIGPROF: ("template.time", "rendering could not be interrupted, and was ended"),
    -signal.SIGVTALRM: ("template.time", "rendering could not be interrupted, and was ended"),
    -signal.SIGKILL: ("limit.memory", "the machine ended the inspection for want of memory"),
    -signal.SIGBUS: ("file.changed", "became shorter while it was read"),
    EXIT_MEMORY: ("limit.memory", "the inspection ran out of memory"),
    EXIT_DEFECT: ("limit.crash", "the inspection met a defect of its own"),
}


def _judged(ended: Ended, path: Path, wish: Wish) -> Inspected:
    """Turn how a process ended into a finding or a refusal; what it answers is held to what was asked."""
    if ended.stopped is not None:
        took = f"ended after {ended.usage.elapsed_s:.0f} s" if ended.stopped == "limit.time" else "too long an answer"
        raise ArtefactRefused(ended.stopped, f"the inspection was stopped: {took}", path.name)
    said = ended.errors.decode(errors="replace").strip().rpartition("\n")[2][:300]
    if ended.usage.exit_status == 0:
        answer = _decoded(ended.output, path)
        if answer.refused is not None and answer.refused.rule in RULES:
            raise ArtefactRefused(answer.refused.rule, answer.refused.message, answer.refused.file)
        found = answer.inspected
        if found is not None and (found.artefact.name, found.artefact.kind) == (wish.name, wish.kind):
            return found
        raise ArtefactRefused("limit.crash", "the inspection answered something else", path.name)
    if ended.usage.exit_status in (113, 127):  # what launchers say when they could not seal, or not execute
        raise InspectionUnavailable(f"nothing was inspected: {said}")
    rule, message = _ENDINGS.get(
        ended.usage.exit_status, ("limit.crash", f"the inspection ended with status {ended.usage.exit_status}")
    )
    raise ArtefactRefused(rule, f"{message}: {said}" if said else message, path.name)


def _decoded(output: bytes, path: Path) -> Answer:
    try:
        return _ANSWER.decode(output)
    except msgspec.DecodeError:
        raise ArtefactRefused("limit.crash", "the inspection answered nothing that can be read", path.name) from None
