"""The table of diagnoses, on what real engines wrote when they were made to fail."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from fastness.engines.diagnosis import CAUSES, EVIDENCE_MAX, diagnose

PAGE = Path(__file__).parents[3] / "docs/reference/engine-diagnoses.md"
REAL = {
    "model_missing": ("FileNotFoundError: [Errno 2] No such file or directory: '/models/none.gguf'",),
    "model_corrupt": (
        "0.00.025.224 E llama_model_load: error loading model: tensor 'token_embd.weight' data is not within the file "
        "bounds, model is corrupted or incomplete",
        "0.00.025.375 E llama_model_load_from_file_impl: failed to load model",
        "0.00.025.985 E srv          init: exiting due to model loading error",
        "RuntimeError: Failed to init server, please check the input params.",
    ),
    "model_unsupported": (
        "0.00.049.956 E llama_model_load: error loading model: unknown model architecture: 'zzzzz'",
        "0.00.049.976 E llama_model_load_from_file_impl: failed to load model",
    ),
    "out_of_memory": (
        "0.00.209.770 E llama_model_load: error loading model: mmap failed: Cannot allocate memory",
        "0.00.209.932 E llama_model_load_from_file_impl: failed to load model",
    ),
    "context_memory": (
        "0.10.158 E llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache",
        "0.10.158.992 E cmn  common_init_: failed to create context with model '/models/smol.gguf'",
        "0.09.823 E ggml_aligned_malloc: insufficient memory (attempted to allocate 1406520.00 MB)",
    ),
    "socket_unusable": (
        "0.00.003.261 E srv         start: couldn't bind HTTP server socket, hostname: /run/x.sock, port: 0",
        "RuntimeError: Failed to init server, please check the input params.",
    ),
    "permission_refused": ("PermissionError: [Errno 13] Permission denied: '/models/smol.gguf'",),
    "not_installed": ("ModuleNotFoundError: No module named 'xllamacpp'",),
}


@pytest.mark.parametrize("code", REAL)
def test_what_a_failing_engine_writes_is_understood(code: str) -> None:
    found = diagnose(REAL[code], 1)
    assert found.code == code
    assert found.evidence[0] == REAL[code][0]
    assert found.evidence[-1] == "ended with exit status 1"
    assert len(found.evidence) <= EVIDENCE_MAX


@pytest.mark.parametrize(
    ("exit_code", "code"),
    [
        (-signal.SIGKILL, "killed"),
        (128 + signal.SIGKILL, "killed"),
        (-signal.SIGSEGV, "crashed"),
        (-signal.SIGABRT, "crashed"),
        (-signal.SIGILL, "illegal_instruction"),
        (-signal.SIGSYS, "forbidden_system_call"),
        (-signal.SIGTERM, "stopped"),
        (0, "stopped"),
        (113, "seal_unavailable"),
        (77, "unknown"),
        (None, "not_ready"),
    ],
)
def test_how_an_engine_ended_is_understood(exit_code: int | None, code: str) -> None:
    found = diagnose(("0.27.845.400 E srv    send_error: task id = 29, error: request exceeds the context",), exit_code)
    assert found.code == code
    assert found.summary
    assert found.hint


def test_evidence_is_bounded() -> None:
    found = diagnose(tuple("x" * 10_000 for _ in range(1_000)), 1)
    assert len(found.evidence) == EVIDENCE_MAX
    assert max(map(len, found.evidence)) <= 300


def test_the_page_shows_the_table() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (.+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [(cause.code, cause.summary, cause.hint) for cause in CAUSES.values()]
