"""The gateway process alone, as it is shipped: `python -m benchmarks.gateway_process HOME`.

It is `fastness gateway` on a prepared home: keys, ledger with its fsync, logs and metrics are all on; only who made the
snapshots differs. `prepare` writes them. The process prints its port. With FASTNESS_BENCH_PROFILE=FILE it writes a
cProfile there at its end, with FASTNESS_BENCH_SAMPLES=FILE the stacks that its CPU clock hit upon.
"""

from __future__ import annotations

import cProfile
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.sampler import sampled
from fastness.config import load, run_directory
from fastness.core.deployment import Deployment
from fastness.core.identity import IdentitySnapshot
from fastness.core.limit import Limit, Scope
from fastness.core.marking import Label, Node
from fastness.core.model import ModelCard, ModelKind
from fastness.core.policy import PolicySnapshot
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot
from fastness.core.tenant import AccessSnapshot, ApiKey, Role, Tenant
from fastness.identity import keys
from fastness.identity.pepper import load_or_create
from fastness.main import LISTENER_VARIABLE, prepare_directories, run_gateway
from fastness.policy.bundle import shipped_bundle
from fastness.policy.profile import shipped_profile
from fastness.store.snapshot_file import write_snapshot

KEYS = 100
"""Keys in the snapshot: a handful would flatter the look-up."""
ON = ("keys", "markings and policy", "limits", "routing", "ledger with fdatasync", "logs", "metrics")
"""What a request passes in a home that `prepare` made. Who adds a step adds what it needs there, and its name here."""
LIMITS = (
    Limit(Scope(tenant="health"), 10**9, 10**12, 10**11, 10**14, 10**6),
    Limit(Scope(tenant="health", model="fastness"), requests_per_minute=10**9, tokens_per_minute=10**12),
)
"""Never reached: what counting costs is to be seen, not what refusing costs. `benchmarks.grants` leases them."""
SLOTS = 4_096
CONTEXT_TOKENS = 262_144
"""So many that neither a queue nor a count of tokens by the engine comes in: those are costs of their own."""


def prepare(home: Path, engines: Mapping[str, tuple[str, *tuple[Path, ...]]], slots: int = SLOTS) -> str:
    """Make a home whose gateway serves each model, given its engine and the sockets of its replicas of so many slots.

    Returns a developer's key.
    """
    settings, _ = load({"FASTNESS_HOME": str(home)})
    prepare_directories(settings)
    pepper = load_or_create(home / "secrets/pepper")
    now_s = int(time.time())
    texts = [keys.mint(os.urandom(32), Role.DEVELOPER) for _ in range(KEYS)]
    issued = tuple(
        ApiKey(f"key_{n}", "health", f"key {n}", Role.DEVELOPER, keys.hint(text), keys.mac(pepper, text), now_s)
        for n, text in enumerate(texts)
    )
    run = run_directory(home, os.getuid())
    write_snapshot(run / "access.json", AccessSnapshot(1, (Tenant("health", "Health", now_s),), issued, LIMITS))
    cards = tuple(ModelCard(name, ModelKind.CHAT, "b179" * 16, 1, "none", CONTEXT_TOKENS, now_s) for name in engines)
    replicas = tuple(
        Replica(f"{name}-{n}", name, engine, ReplicaState.READY, str(path), slots, CONTEXT_TOKENS, 1, sealed=True)
        for name, (engine, *paths) in engines.items()
        for n, path in enumerate(paths)
    )
    ceiling = Label("OFFICIAL")
    deployments = tuple(Deployment(card.name, card.name, ceiling, ceiling) for card in cards)
    nodes = (Node("local", "GB", "", "", ceiling),)
    write_snapshot(run / "routing.json", RoutingSnapshot(1, cards, replicas, deployments, nodes))
    write_snapshot(run / "policy.json", PolicySnapshot(1, shipped_bundle(shipped_profile("uk")), now_s, "local"))
    write_snapshot(run / "identity.json", IdentitySnapshot(1))
    return texts[-1]


def main(home: Path) -> int:
    """Run the gateway until SIGTERM, on a port of the kernel's choice."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4_096)
    print(listener.getsockname()[1], flush=True)
    os.environ[LISTENER_VARIABLE] = str(listener.detach())
    settings, _ = load(os.environ | {"FASTNESS_HOME": str(home)})
    if samples := os.environ.get("FASTNESS_BENCH_SAMPLES"):
        with sampled(Path(samples)):
            return run_gateway(settings)
    wanted = os.environ.get("FASTNESS_BENCH_PROFILE")
    if not wanted:
        return run_gateway(settings)
    profile = cProfile.Profile()
    try:
        return profile.runcall(run_gateway, settings)
    finally:
        profile.dump_stats(wanted)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
