"""`python -m benchmarks.cluster_control [--nodes N]`: what the head spends for so many nodes, in processor time.

Nodes are simulated as far as their letters: each is certified, and reports two replicas that are ready. Measured are
the steps of the head's supervisor and of control, each for one report of every node, and what that makes of a second.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastness.control.letters import REPORT_PERIOD_S, write
from fastness.control.neighbours import PACE_EACH_S, Neighbours
from fastness.control.node_files import NodeFiles
from fastness.control.post import REPORT, WORD, ForAnotherRun, SealedPost
from fastness.core.desired import DeploymentSpec, Needs, Scaling
from fastness.core.fleet_event import DeploymentApplied
from fastness.core.fleet_state import FleetState, apply
from fastness.core.marking import Label, Node
from fastness.core.node import Device, DeviceKind, FleetNode
from fastness.core.observation import NodeReport, Observation
from fastness.core.replica import ReplicaState
from fastness.fleet.letter_files import put
from fastness.identity.cluster import folder as files
from fastness.identity.cluster.authority import Authority
from fastness.identity.cluster.claims import HostClaims, HostRole
from fastness.identity.cluster.membership import Membership
from fastness.scheduling.orders import orders_of
from fastness.scheduling.plan import PlanBounds, PlanMemory, plan

YEAR_S = 31_536_000
OFFICIAL = Label("OFFICIAL")
PACE_S = 0.25
"""From one round of control to the next."""


@dataclass
class Head:
    """The head of a cluster whose nodes are letters."""

    run: Path
    neighbours: Neighbours
    files: NodeFiles
    posts: list[SealedPost]
    reports: list[NodeReport]

    def write(self, at_ms: int) -> None:
        """Let every node report once."""
        for number, (post, report) in enumerate(zip(self.posts, self.reports, strict=True)):
            letter = post.seal("head", write(replace(report, at_ms=at_ms)))
            put(str(self.run / "letters/in"), f"way-{number}", letter)


def host(authority: Authority, folder: Path, name: str, role: HostRole) -> Membership:
    """Certify a host."""
    claims = HostClaims(name, role, ("10.0.0.1",), "GB", "OFFICIAL")
    issued = authority.issue(claims, time.time(), YEAR_S)
    files.make_folder(
        folder / name,
        {
            files.AUTHORITY: authority.certificate_pem,
            files.CERTIFICATE: issued.certificate_pem,
            files.KEY: issued.key_pem,
        },
    )
    return Membership(folder / name)


def clock_ms() -> int:
    return time.time_ns() // 1_000_000


def placed(nodes: list[FleetNode], each: int) -> tuple[FleetState, PlanMemory]:
    """Have the plan place so many replicas a node, as it does."""
    needs = Needs(OFFICIAL, 1)
    spec = DeploymentSpec("chat", "health", "smol", "ab" * 32, "chat", OFFICIAL, needs)
    count = len(nodes) * each
    state = apply(FleetState(), DeploymentApplied(replace(spec, scaling=Scaling(count, count)), 1, "bench"))
    memory, now_ms = PlanMemory(), 1_000
    while len(state.replicas) < count:
        now_ms += 250
        seen = Observation(now_ms, tuple(NodeReport(one, now_ms, state.sequence) for one in nodes))
        made = plan(state, seen, memory, now_ms, PlanBounds(placements_max=10_000))
        memory = made.memory
        for event in made.events:
            state = apply(state, event)
    return state, memory


@contextmanager
def head(count: int) -> Iterator[tuple[Head, FleetState, PlanMemory]]:
    """Have a head with so many nodes, each with two replicas."""
    with tempfile.TemporaryDirectory(prefix="fst-bench-") as folder:
        authority, run = Authority.create(time.time(), YEAR_S), Path(folder) / "run"
        run.mkdir()
        names = [f"node-{number:04}" for number in range(count)]
        members = [host(authority, Path(folder), name, HostRole.NODE) for name in names]
        head_is = host(authority, Path(folder), "head", HostRole.HEAD)
        gpus = tuple(Device(f"gpu-{number}", DeviceKind.GPU, "h100-80gb", 80_000_000_000) for number in range(8))
        nodes = [
            FleetNode(Node(name, "GB", "", "", OFFICIAL), gpus, 500_000_000_000, digests=("ab" * 32,)) for name in names
        ]
        state, memory = placed(nodes, 2)
        reports = []
        for node, orders in zip(nodes, orders_of(state, names).values(), strict=True):
            replicas = tuple(
                replace(one.as_replica(ReplicaState.READY), socket="s", pid=1) for one in orders.assignments
            )
            reports.append(NodeReport(node, 0, state.sequence, replicas))
        head_post = SealedPost(head_is, WORD, REPORT, clock_ms)
        neighbours = Neighbours(
            run,
            head_post,
            lambda claims: Node(claims.name, claims.jurisdiction, claims.operator, "", OFFICIAL),
            7443,
            str,
            time.monotonic,
            60.0,
            lambda way, why: print(way, why),
        )
        neighbours.begin()
        posts = [SealedPost(one, REPORT, WORD, clock_ms) for one in members]
        for name, post in zip(names, posts, strict=True):
            with suppress(ForAnotherRun):  # now each has heard of this run of the head
                post.open(head_post.seal(name, b""))
        made = Head(run, neighbours, NodeFiles(run), posts, reports)
        for orders in orders_of(state, names).values():
            made.files.send(orders)
        yield made, state, memory


def cost_ms(act: Callable[[], Any]) -> float:
    """Return the processor time of something, in milliseconds."""
    began = time.process_time()
    act()
    return (time.process_time() - began) * 1_000


def measure(count: int, rounds: int) -> dict[str, float]:
    """Return what each step takes for one report of every node, in milliseconds of processor time; the least seen."""
    with head(count) as (made, state, memory):
        steps: dict[str, list[float]] = {"supervisor: letters": [], "supervisor: idle look": [], "control: read": [],
                                         "control: plan": []}  # fmt: skip
        reports: dict[str, NodeReport] = {}
        for number in range(rounds):
            made.write(1_000_000 + number)
            steps["supervisor: letters"].append(cost_ms(made.neighbours.look))
            steps["supervisor: idle look"].append(cost_ms(made.neighbours.look))
            steps["control: read"].append(
                cost_ms(lambda: reports.update({one.node.name: one for one in made.files.reports()}))
            )
            now_ms = 2_000_000 + 500 * number
            began = time.process_time()
            memory = plan(state, Observation(now_ms, tuple(reports.values())), memory, now_ms, PlanBounds()).memory
            steps["control: plan"].append((time.process_time() - began) * 1_000)
        assert len(made.neighbours.replicas()) == 2 * count, len(made.neighbours.replicas())
        return {name: min(values) for name, values in steps.items()}


def report(count: int, steps: dict[str, float]) -> str:
    """Say what that makes of a second: a report of every node each period, a look each 50 ms, a plan each round."""
    pace_s = max(REPORT_PERIOD_S, count * PACE_EACH_S)
    a_second = {
        "supervisor": steps["supervisor: letters"] / pace_s + steps["supervisor: idle look"] / 0.05,
        "control": steps["control: read"] / pace_s + steps["control: plan"] / PACE_S,
    }
    lines = [f"{count} nodes, {2 * count} replicas", *(f"{name:24} {value:8.1f} ms" for name, value in steps.items())]
    lines += [f"{name:24} {value / 10:8.1f} % of a core" for name, value in a_second.items()]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(report(given.nodes, measure(given.nodes, given.rounds)))


if __name__ == "__main__":
    main()
