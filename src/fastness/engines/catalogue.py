"""Which engines and dialects there are."""

from __future__ import annotations

from fastness.engines.llamacpp.dialect import LlamaCppDialect
from fastness.engines.llamacpp.engine import LlamaCppEngine
from fastness.engines.port import Dialect, Engine

_DIALECT = LlamaCppDialect()


def dialect(name: str) -> Dialect:
    """The dialect of an engine; raises KeyError."""
    return {"llamacpp": _DIALECT, "fake": _DIALECT}[name]


def engine(name: str) -> Engine:
    """An engine; raises KeyError."""
    return {"llamacpp": LlamaCppEngine()}[name]
