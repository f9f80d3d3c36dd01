"""How Ray is run on a host: its command line and its environment. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fastness.fleet.ray.ports import RayPorts

OBJECT_STORE_BYTES: Final = 78_643_200
"""The least that Ray takes. Letters are too small to be put there."""
COURIER_RUN: Final = "FASTNESS_COURIER_RUN"
"""The run directory of this host, for the courier that Ray starts here."""

# Always on, or always off, whatever the environment says. Health checks as measured: a host whose processes are killed
# is known to be gone after 2 s, one whose cable was cut after 5 s. That is for Ray; ours goes by reports.
FIXED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "RAY_AUTH_MODE": "token",
        "RAY_USE_TLS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_metrics_collection": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_timeout_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
        "RAY_num_prestart_python_workers": "0",
    }
)
KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
"""What Ray gets of our environment; no setting and no secret of ours is among it."""


@dataclass(frozen=True, slots=True)
class RayHost:
    """One host in Ray: its address, the head's, and the files that make it trusted.

    `folder` has `ca.pem`, `node.pem`, `node.key` and `token`. `run` is the run directory of Fastness here, `scratch` a
    directory for Ray alone, with a short path.
    """

    name: str
    address: str
    head: str
    ports: RayPorts
    folder: Path
    run: Path
    scratch: Path

    @property
    def gcs(self) -> str:
        """Where the head's Ray is, as address and port."""
        host = f"[{self.head}]" if ":" in self.head else self.head
        return f"{host}:{self.ports.first}"

    @property
    def is_head(self) -> bool:
        """Whether the head's Ray runs here."""
        return self.address == self.head

    def argv(self) -> tuple[str, ...]:
        """Return the command that starts Ray here, and stays."""
        ports, low_high = self.ports, self.ports.workers
        agent_http, agent_grpc, metrics = ports.unused
        role = (
            ("--head", f"--port={ports.first}", "--include-dashboard=false")
            if self.is_head
            else (f"--address={self.gcs}",)
        )
        return (
            sys.executable, "-m", "ray.scripts.scripts", "start", *role, "--block", "--no-monitor",
            "--include-log-monitor=false", "--disable-usage-stats",
            f"--node-ip-address={self.address}", f"--labels=fastness.io/node={self.name}",
            "--num-cpus=0", "--num-gpus=0", "--resources={}", f"--object-store-memory={OBJECT_STORE_BYTES}",
            f"--node-manager-port={ports.node_manager}", f"--object-manager-port={ports.object_manager}",
            f"--runtime-env-agent-port={ports.agent}", f"--dashboard-agent-listen-port={agent_http}",
            f"--dashboard-agent-grpc-port={agent_grpc}", f"--metrics-export-port={metrics}",
            f"--min-worker-port={low_high[0]}", f"--max-worker-port={low_high[1]}", f"--temp-dir={self.scratch}",
        )  # fmt: skip

    def environ(self, ours: Mapping[str, str], token: str) -> dict[str, str]:
        """Return the environment of Ray's processes, and of the one that connects to them."""
        kept = {name: ours[name] for name in KEPT if name in ours}
        return kept | dict(FIXED) | {
            "RAY_AUTH_TOKEN": token,
            "RAY_TLS_CA_CERT": str(self.folder / "ca.pem"),
            "RAY_TLS_SERVER_CERT": str(self.folder / "node.pem"),
            "RAY_TLS_SERVER_KEY": str(self.folder / "node.key"),
            "RAY_TMPDIR": str(self.scratch),
            COURIER_RUN: str(self.run),
        }  # fmt: skip
