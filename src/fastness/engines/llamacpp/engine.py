"""llama.cpp as the fleet needs it: what to execute for a replica, and what its end means."""

from __future__ import annotations

import json
import platform
import sys
from typing import Final

from fastness.core.model import ModelKind
from fastness.core.replica import Diagnosis
from fastness.engines import diagnosis
from fastness.engines.port import EngineTask, Launch
from fastness.scheduling.fit import check_cache_type

BASE_BYTES: Final = 4 << 30
"""Address space of Python, the libraries and the working buffers. It is reserved, not used."""
SLOT_BYTES: Final = 160 << 20
"""Address space of a slot's thread: its stack and its heap."""
WEIGHTS_COPIES: Final = 3
"""The file is mapped, and repacked for the processor."""
ADAPTER_COPIES: Final = 2
"""The file, and what it is read into."""
CONTEXT_SHARE: Final = 2_000
"""A token's keys and values take at most the weights' bytes over this: 1/4,266 for SmolLM2, 1/7,400 for Llama 2."""

MEASURED_PROCESSOR: Final = "x86_64"
"""Where it is known which types of weights it keeps a second copy of, in another order; elsewhere it keeps none."""


class LlamaCppEngine:
    """See Engine."""

    name = "llamacpp"

    def launch(self, task: EngineTask) -> Launch:
        """See Engine. The memory bound is one on address space: generous, against a runaway, not for accounting."""
        check_cache_type(task.cache_type)
        if task.files:
            raise ValueError(
                f"{task.card.name} is a folder of safetensors, and llama.cpp reads GGUF: deploy it with "
                'engine = "vllm", or admit the model in GGUF'
            )
        adapters = [path for one in task.adapters for name, path in one.files if not name]
        if len(adapters) < len(task.adapters):
            raise ValueError(f"an adapter for {task.card.name} is a folder of safetensors, and llama.cpp reads GGUF")
        told = {
            "weights": str(task.weights),
            "socket": str(task.socket),
            "slots": task.slots,
            "context_tokens": task.context_tokens,
            "threads": task.threads,
            "cache_type": task.cache_type,
            "repack": platform.machine() == MEASURED_PROCESSOR,
            "embedding": task.card.kind is ModelKind.EMBEDDING,
            "adapters": list(map(str, adapters)),
        }
        return Launch(
            argv=(sys.executable, "-I", "-m", "fastness.engines.llamacpp.child", json.dumps(told)),
            environ={"HOME": str(task.scratch), "TMPDIR": str(task.scratch), "LANG": "C.UTF-8"},
            readable=(task.weights, *adapters),
            memory_bytes_max=memory_bytes_max(task),
        )

    def health(self) -> str:
        """See Engine."""
        return "/health"

    def diagnose(self, stderr: tuple[str, ...], exit_code: int | None) -> Diagnosis:
        """See Engine."""
        return diagnosis.diagnose(stderr, exit_code)


def memory_bytes_max(task: EngineTask) -> int:
    """Return a bound on address space that the task stays well below."""
    weights = task.card.size_bytes
    context = task.slots * task.context_tokens * (weights // CONTEXT_SHARE)
    adapters = ADAPTER_COPIES * sum(one.size_bytes for one in task.adapters)
    return BASE_BYTES + task.slots * SLOT_BYTES + WEIGHTS_COPIES * weights + context + adapters
