"""Which engines there are: for the composition root; everyone else sees the port."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Final

from fastness.engines.fake.engine import FakeDialect, FakeEngine
from fastness.engines.llamacpp.dialect import LlamaCppDialect
from fastness.engines.llamacpp.engine import LlamaCppEngine
from fastness.engines.port import Dialect, Engine
from fastness.engines.vllm.dialect import VllmDialect
from fastness.engines.vllm.engine import VllmEngine

_DIALECTS: Final = MappingProxyType[str, Dialect](
    {"llamacpp": LlamaCppDialect(), "vllm": VllmDialect(), "fake": FakeDialect()}
)
_ENGINES: Final = MappingProxyType[str, Engine](
    {"llamacpp": LlamaCppEngine(), "vllm": VllmEngine(), "fake": FakeEngine()}
)
_PACKAGES: Final = MappingProxyType({"llamacpp": "xllamacpp", "vllm": "vllm"})
ENGINES: Final = tuple(_ENGINES)
"""The names of the engines there are."""
SPANS: Final = frozenset({"vllm"})
"""Those of which one replica can run over several nodes, as a gang."""
READS: Final = MappingProxyType({"llamacpp": "gguf", "vllm": "safetensors"})
"""The format of models that an engine reads; one that is not here reads any."""


def dialect(name: str) -> Dialect:
    """Return how the engine `name` is spoken to; raises KeyError."""
    return _DIALECTS[name]


@cache
def build(name: str) -> str:
    """Return the package and version that the engine `name` comes out of, such as `xllamacpp 2026.10.11549`; or ``."""
    package = _PACKAGES.get(name, "")
    try:
        return f"{package} {version(package)}" if package else ""
    except PackageNotFoundError:
        return ""


def engine(name: str) -> Engine:
    """Return how replicas of the engine `name` are executed; raises KeyError."""
    return _ENGINES[name]
