"""Models that a node lacks: which of them its door has to fetch now, and how far they are."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from fastness.fleet.door.orders import DoorReport, FetchState, WantedModel

LOOK_PERIOD_S: Final = 0.1
PATIENCE_S: Final = 10.0
"""How long it is waited for a word of the head that says who has a model."""


class NobodyHasIt(Exception):  # noqa: N818 - an outcome
    """No host has a model, as far as the head knows; the message says so."""


class WantedModels:
    """What is wanted by replicas that are being prepared. `report` returns what the door says, when it is new."""

    def __init__(self, report: Callable[[], DoorReport | None]) -> None:
        self._report = report
        self._offered: dict[str, WantedModel] = {}
        self._wanted: Counter[str] = Counter()
        self._states: dict[str, FetchState] = {}

    def offer(self, models: tuple[WantedModel, ...]) -> None:
        """Take what the head says: what is missing here, and who has it."""
        self._offered = {one.digest: one for one in models}

    def wanted(self) -> tuple[WantedModel, ...]:
        """Return what the door has to fetch now."""
        return tuple(one for digest, one in sorted(self._offered.items()) if self._wanted[digest])

    async def obtain(self, digest: str, is_here: Callable[[], bool], tell: Callable[[str], None]) -> None:
        """Return when the model is here; `tell` gets how far it is, in words. Raises NobodyHasIt."""
        loop = asyncio.get_running_loop()
        begun_s, told = loop.time(), ""
        self._wanted[digest] += 1
        try:
            while not is_here():
                said = self._said(digest)
                if said != told:
                    told = said
                    tell(said)
                model = self._offered.get(digest)
                if (model is None or not model.sources) and loop.time() - begun_s >= PATIENCE_S:
                    raise NobodyHasIt(
                        f"The weights with SHA-256 {digest} are not on this node, and no host that the head hears of "
                        "has them."
                    )
                await asyncio.sleep(LOOK_PERIOD_S)
        finally:
            self._wanted[digest] -= 1

    def _said(self, digest: str) -> str:
        report = self._report()
        if report is not None:
            self._states = {one.digest: one for one in report.fetches}
        return fetch_stage(self._states.get(digest))


def fetch_stage(state: FetchState | None) -> str:
    """Say how far a model is: `fetch 41% of 19.8 GB from bristol-03`."""
    if state is None:
        return "fetch"
    part = 100 * state.done_bytes // max(1, state.size_bytes)
    size = _size(state.size_bytes)
    if state.done_bytes >= state.size_bytes and not state.done:
        return f"verify {size}"
    whence = f" from {state.source}" if state.source else f" ({state.trouble[:120]})" if state.trouble else ""
    return f"fetch {part}% of {size}{whence}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
