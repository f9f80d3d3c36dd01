"""The routes of proofs of the perimeter, composed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastness.control.routes import ApiRoute
    from fastness.ledger.port import Ledger


def proof_routes(home: Path, ledger: Ledger) -> tuple[ApiRoute, ...]:
    """Build what records the proofs that this installation's key signed."""
    from fastness.control.proof import ROUTES, ProofApi
    from fastness.control.routes import bound

    return bound(ROUTES, ProofApi(ledger, home / "signing.pub", time.time))
