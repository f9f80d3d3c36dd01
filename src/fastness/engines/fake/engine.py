"""The fake engine as the fleet and the gateway need it."""

from __future__ import annotations

import sys
from typing import Final

import msgspec

from fastness.core.replica import Diagnosis
from fastness.core.request import Generation
from fastness.engines import diagnosis
from fastness.engines.fake.behaviour import Behaviour, Task
from fastness.engines.fake.sample import constrained
from fastness.engines.llamacpp.dialect import LlamaCppDialect
from fastness.engines.llamacpp.grammar import grammar
from fastness.engines.port import EngineTask, Launch

MEMORY_BYTES_MAX: Final = 4 << 30
_AT_ONCE: Final = Behaviour()


class FakeDialect(LlamaCppDialect):
    """See Dialect. The fake engine is spoken to like llama.cpp, but knows less."""

    name = "fake"
    cancels_whole = True
    pins_slots = False
    salts_prefixes = True

    def unsupported(self, work: Generation) -> str | None:
        """See Dialect."""
        why = super().unsupported(work)
        if why is None and work.constraint is not None:
            try:
                constrained(grammar(work.constraint), "")
            except ValueError as error:
                return f"This schema is too much: {error}."
        return why


class FakeEngine:
    """See Engine. `behaviour` is how its replicas answer and fail."""

    name = "fake"

    def __init__(self, behaviour: Behaviour = _AT_ONCE) -> None:
        self._behaviour = behaviour

    def launch(self, task: EngineTask) -> Launch:
        """See Engine."""
        told = Task(
            str(task.socket),
            task.slots,
            task.context_tokens,
            task.card.embedding_dimensions or 384,
            tuple(one.digest for one in task.adapters),
            self._behaviour,
        )
        return Launch(
            argv=(sys.executable, "-I", "-m", "fastness.engines.fake", msgspec.json.encode(told).decode()),
            environ={"HOME": str(task.scratch), "TMPDIR": str(task.scratch), "LANG": "C.UTF-8"},
            readable=(),
            memory_bytes_max=MEMORY_BYTES_MAX,
        )

    def health(self) -> str:
        """See Engine."""
        return "/health"

    def diagnose(self, stderr: tuple[str, ...], exit_code: int | None) -> Diagnosis:
        """See Engine."""
        return diagnosis.diagnose(stderr, exit_code)
