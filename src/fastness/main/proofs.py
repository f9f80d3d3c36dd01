"""The routes of proofs of the perimeter and of bundles of evidence, composed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastness.config import Explanation
    from fastness.control.routes import ApiRoute
    from fastness.ledger.port import Ledger
    from fastness.store.database import Database


def proof_routes(home: Path, ledger: Ledger) -> tuple[ApiRoute, ...]:
    """Build what records the proofs that this installation's key signed."""
    from fastness.control.proof import ROUTES, ProofApi
    from fastness.control.routes import bound

    return bound(ROUTES, ProofApi(ledger, home / "signing.pub", home / "perimeter/reports", time.time))


def evidence_routes(
    home: Path, database: Database, ledger: Ledger, settings: Mapping[str, Explanation]
) -> tuple[ApiRoute, ...]:
    """Build what writes bundles of evidence."""
    from fastness import __version__
    from fastness.control.bundling.sources import Sources
    from fastness.control.evidence_api import ROUTES, EvidenceApi
    from fastness.control.routes import bound
    from fastness.perimeter.signing import signing_key
    from fastness.registry.materials.bill import materials_of
    from fastness.store.policies import SqlPolicyStore

    sources = Sources(home, SqlPolicyStore(database), settings, partial(materials_of, home))
    return bound(ROUTES, EvidenceApi(sources, ledger, partial(signing_key, home), __version__, time.time))
