"""Estimated memory beside what engines really took: `python -m benchmarks.fit [--quick]`.

Each case is an engine of its own, started sealed as in production and loaded until every buffer was used: benchmarks/
fit_run.py. The starter models are those that are installed; their variants and the larger models are made of noise, for
what an engine takes does not depend on the values. The table is for docs/explanation/fit.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figures import table
from benchmarks.fit_run import Taken, measure
from benchmarks.machine import describe, machine
from benchmarks.noise_models import Shape, retyped, shaped
from fastness.core.desired import Parameters
from fastness.registry.gguf_reader import GgufHeader, read_gguf
from fastness.registry.library import ModelLibrary
from fastness.registry.shape import model_shape
from fastness.scheduling.fit import MemoryEstimate
from fastness.scheduling.memory import replica_memory

MIB = 1 << 20
ERROR_MAX = 5.0
CHAT, EMBEDDING = "smollm2-135m-instruct", "minilm-l6-v2"
LIKE_LLAMA_1B = Shape("llama", 16, 2_048, 32, 8, 64, 8_192)
LIKE_QWEN3 = Shape("qwen3", 28, 1_024, 16, 8, 128, 3_072)
HEAD = ("model", "context", "slots", "cache", "estimate", "took", "error", "weights", "KV", "activations", "engine")


@dataclass(frozen=True, slots=True)
class Case:
    """One engine to start."""

    model: str
    context: int
    slots: int
    cache_type: str = "f16"

    @property
    def parameters(self) -> Parameters:
        return Parameters(slots=self.slots, slot_context_tokens=self.context, threads=1, cache_type=self.cache_type)


def cases(quick: bool) -> tuple[Case, ...]:
    """Return what is tried: the starter models widely, their variants and larger ones at a few places."""
    if quick:
        return (Case("Q4_1", 512, 1), Case("Q4_1", 512, 8, "q8_0"), Case("minilm", 512, 4))
    starter = [Case("Q4_1", *one) for one in product((512, 2_048), (1, 4, 16), ("f16", "q8_0"))]
    long = [
        Case("Q4_1", 8_192, 1),
        Case("Q4_1", 8_192, 4, "q8_0"),
        Case("Q4_1", 2_048, 8),
        Case("Q4_1", 2_048, 8, "q4_0"),
    ]
    embedding = [Case("minilm", *one) for one in product((256, 512), (1, 8))]
    variants = [Case(*one) for one in product(("Q4_0", "Q8_0", "F16"), (512,), (1, 8))]
    larger = [Case("qwen3-0.6b Q8_0", 256, 1), Case("llama-1b Q4_0", 256, 1)]
    return (*starter, *embedding, *variants, *long, *larger)


class Models:
    """The files of weights, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        library = ModelLibrary(folder)
        self._folder = folder
        self._files = {"Q4_1": library.ensure(CHAT, _silent)[1], "minilm": library.ensure(EMBEDDING, _silent)[1]}

    def file(self, name: str) -> Path:
        if name not in self._files:
            target, starter = self._folder / f"{name}.gguf", _header(self._files["Q4_1"])
            if name.startswith("llama-1b"):
                self._files[name] = shaped(starter, target, LIKE_LLAMA_1B, name.split()[1], 128_256)
            elif name.startswith("qwen3"):
                self._files[name] = shaped(starter, target, LIKE_QWEN3, name.split()[1], 151_936)
            else:
                self._files[name] = retyped(starter, target, name)
        return self._files[name]


def _silent(_stage: str, _done_bytes: int, _total_bytes: int) -> None:
    return None


def _header(file: Path) -> GgufHeader:
    return read_gguf(memoryview(file.read_bytes()))


def tried(models: Models, chosen: Iterable[Case]) -> Iterator[tuple[Case, MemoryEstimate, Taken]]:
    """Estimate and measure each case."""
    for case in chosen:
        file = models.file(case.model)
        shape = model_shape(file)
        yield case, replica_memory(shape, case.parameters), measure(file, shape, case.parameters)


def error_percent(estimate: MemoryEstimate, taken: Taken) -> float:
    """Return by how much the estimate is above what was taken; below zero would be a claim too small."""
    return 100 * (estimate.total_bytes / taken.total_bytes - 1)


def row(case: Case, estimate: MemoryEstimate, taken: Taken) -> tuple[str, ...]:
    """Return one line of the table, sizes in MiB."""
    parts = (estimate.weights_bytes, estimate.kv_cache_bytes, estimate.activation_bytes, estimate.overhead_bytes)
    name = {"minilm": "minilm F32"}.get(case.model, case.model if " " in case.model else f"smollm2 {case.model}")
    return (
        name,
        f"{case.context:,}",
        str(case.slots),
        case.cache_type if case.model != "minilm" else "-",
        f"{estimate.total_bytes / MIB:,.1f}",
        f"{taken.total_bytes / MIB:,.1f}",
        f"{error_percent(estimate, taken):+.1f}%",
        *(f"{part / MIB:,.1f}" for part in parts),
    )


def main() -> int:
    """Print the table as it grows; returns 1 when an estimate is too small, or more than 5% too large."""
    asked = argparse.ArgumentParser(prog="python -m benchmarks.fit")
    asked.add_argument("--quick", action="store_true", help="three cases")
    quick = asked.parse_args().quick
    print(describe(machine()), file=sys.stderr)
    rows, wrong = [], 0
    with TemporaryDirectory(prefix="fit-models-") as folder:
        for case, estimate, taken in tried(Models(Path(folder)), cases(quick)):
            rows.append(row(case, estimate, taken))
            print(" ".join(rows[-1]), file=sys.stderr, flush=True)
            wrong += not 0 <= error_percent(estimate, taken) <= ERROR_MAX
    print(table(HEAD, rows))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
