"""llama.cpp as the fleet needs it."""

from __future__ import annotations

import json
import sys

from fastness.core.model import ModelKind
from fastness.core.replica import Diagnosis
from fastness.engines.port import EngineTask, Launch


class LlamaCppEngine:
    """See Engine."""

    name = "llamacpp"

    def launch(self, task: EngineTask) -> Launch:
        """See Engine."""
        said = {
            "weights": str(task.weights),
            "socket": str(task.socket),
            "slots": task.slots,
            "context_tokens": task.context_tokens,
            "threads": task.threads,
            "embedding": task.card.kind is ModelKind.EMBEDDING,
            "parent": None,
        }
        return Launch(
            (sys.executable, "-I", "-m", "fastness.engines.llamacpp.child", json.dumps(said)),
            {"GOMP_SPINCOUNT": "2000", "HOME": str(task.scratch), "TMPDIR": str(task.scratch)},
            (task.weights,),
            16 << 30,
        )

    def health(self) -> str:
        """See Engine."""
        return "/health"

    def diagnose(self, stderr: tuple[str, ...], exit_code: int | None) -> Diagnosis:
        """See Engine."""
        return Diagnosis("unknown", f"it ended with {exit_code}", "", stderr[-4:])
