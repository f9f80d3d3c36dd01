"""The engine port: what the gateway and the fleet need of any engine.

A *dialect* is pure translation for the data path: a Generation becomes the bytes of an HTTP request, the engine's
bytes become Deltas. A *launcher* tells the fleet what to execute. Neither does I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fastness.core.gang import ALONE, Seat
from fastness.core.model import ModelCard
from fastness.core.replica import Diagnosis
from fastness.core.request import Delta, Generation, Usage
from fastness.core.value import quick


@quick
@dataclass(frozen=True, slots=True)
class EngineCall:
    """One HTTP request to an engine: a POST of JSON `body` to `path`."""

    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class EngineError(Exception):
    """An engine's refusal, read. `context_needed` is set when it said how many tokens the input has.

    `context_least`: it has these, and maybe more.
    """

    status: int
    message: str
    context_needed: int | None = None
    context_least: bool = False


@dataclass(frozen=True, slots=True)
class Vectors:
    """Embeddings, one row of floats an input, and the tokens they took."""

    rows: tuple[tuple[float, ...], ...]
    usage: Usage


def loaded(work: Generation) -> str | None:
    """Return the adapter that a generation runs with; raises ValueError for one that its engine has not loaded."""
    if work.adapter is not None and work.adapter not in work.adapters:
        raise ValueError(f"the engine has no adapter {work.adapter[:12]}…")
    return work.adapter


class Dialect(Protocol):
    """How one kind of engine is spoken to. Every method is pure."""

    name: str
    cancels_whole: bool
    """Whether closing the connection stops the work on an answer that is not streamed. If not, all are streamed."""
    pins_slots: bool
    """Whether a generation says which slot takes it, because each slot remembers the prompt that it read last."""

    salts_prefixes: bool
    """Whether the engine keeps prefixes of different `cache_salt`s apart. One that remembers must do this or pin."""

    def unsupported(self, work: Generation) -> str | None:
        """Name what this engine cannot do of `work` (a sentence for the caller), or None."""
        ...

    def generation(self, work: Generation) -> EngineCall:
        """Write the request for one generation, streamed when `work.stream`."""
        ...

    def answer(self, body: bytes) -> Delta:
        """Read a whole (not streamed) answer; raises ValueError when it is not one."""
        ...

    def text(self, event: bytes) -> str | None:
        """Read a stream event that adds text and nothing else, as nearly all do; None: `delta` has to read it."""
        ...

    def delta(self, event: bytes) -> Delta | None:
        """Read the JSON of one stream event; None for one without meaning. Raises ValueError, or EngineError."""
        ...

    def count(self, work: Generation) -> EngineCall:
        """Write the request that counts the input tokens of `work`."""
        ...

    def counted(self, body: bytes) -> int:
        """Read the number of input tokens; raises ValueError."""
        ...

    def template(self, work: Generation) -> EngineCall:
        """Write the request for the text that the messages of `work` become."""
        ...

    def templated(self, body: bytes) -> str:
        """Read that text; raises ValueError."""
        ...

    def tokens(self, texts: list[str], *, begins: bool) -> EngineCall:
        """Write the request for the tokens of texts, each for itself; `begins`: the first begins an input."""
        ...

    def tokenised(self, body: bytes) -> tuple[int, ...]:
        """Read these tokens; raises ValueError."""
        ...

    def embedding(self, inputs: tuple[str | tuple[int, ...], ...]) -> EngineCall:
        """Write the request that embeds `inputs`."""
        ...

    def vectors(self, body: bytes) -> Vectors:
        """Read embeddings; raises ValueError."""
        ...

    def error(self, status: int, body: bytes) -> EngineError:
        """Read an error answer; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class EngineAdapter:
    """A LoRA to be loaded: its digest and size, and its files by their names in it; a single file has no name."""

    digest: str
    size_bytes: int
    files: tuple[tuple[str, Path], ...]


@dataclass(frozen=True, slots=True)
class EngineTask:
    """What a replica must be: the model's card and file, its shape, and where its socket goes.

    `cache_type` is how its KV cache is stored, one of scheduling.fit.CACHE_TYPES. `files` are those of a model that is
    a folder, by their names in it, and where each is read from; `weights` is then the folder's place, and not read.
    `accelerators` is how many graphics processors it holds (0: it runs on the processor), `python` the interpreter of
    an engine that has one of its own; empty where none was named. `seat` is its place in a gang, which may be of one.
    `adapters` are loaded beside the model: a request names one by its digest, or none.
    """

    card: ModelCard
    weights: Path
    socket: Path
    scratch: Path
    slots: int
    context_tokens: int
    threads: int
    cache_type: str = "f16"
    files: tuple[tuple[str, Path], ...] = ()
    accelerators: int = 0
    python: str = ""
    seat: Seat = ALONE
    adapters: tuple[EngineAdapter, ...] = ()


@dataclass(frozen=True, slots=True)
class Launch:
    """What to execute: an argv, its whole environment, the files it may read, and its memory bound in bytes.

    `links` are symbolic links that it has to find, and where they lead. `family`: it starts processes of its own, which
    speak to each other; `processes_max` bounds these and their threads.
    """

    argv: tuple[str, ...]
    environ: dict[str, str]
    readable: tuple[Path, ...]
    memory_bytes_max: int
    links: tuple[tuple[Path, Path], ...] = ()
    family: bool = False
    processes_max: int = 512


class Engine(Protocol):
    """One kind of engine, as the fleet needs it."""

    name: str

    def launch(self, task: EngineTask) -> Launch:
        """Say what to execute for `task`; raises ValueError for one that this engine cannot be."""
        ...

    def health(self) -> str:
        """Return the path whose 200 answer means that the engine can serve."""
        ...

    def diagnose(self, stderr: tuple[str, ...], exit_code: int | None) -> Diagnosis:
        """Read the last lines of stderr of an engine that ended or never became ready."""
        ...
