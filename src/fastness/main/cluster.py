"""The authority of the cluster, composed for the management API."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from fastness.config import Settings

if TYPE_CHECKING:
    from fastness.control.policies import Policies
    from fastness.control.routes import ApiRoute
    from fastness.ledger.port import Ledger


def cluster_routes(settings: Settings, ledger: Ledger, policies: Policies) -> tuple[ApiRoute, ...]:
    """Build the routes that certify and revoke hosts."""
    from fastness.control.cluster import Cluster
    from fastness.control.cluster_api import ROUTES, ClusterApi
    from fastness.control.routes import bound
    from fastness.identity.cluster.folder import cluster_folder

    cluster = Cluster(cluster_folder(settings.home), settings.cluster, ledger, time.time, os.urandom)
    return bound(ROUTES, ClusterApi(cluster, policies, settings.node))
