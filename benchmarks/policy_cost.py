"""What policy costs: `python -m benchmarks.policy_cost [--seconds 2]`. CPU of this thread, in microseconds.

Cold is a decision that Cedar makes, warm one that is remembered. Each row is the shipped policy under a shipped
profile; a department's sixty rules come on top where it says so. On a shared machine trust ratios and repeat.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle

from benchmarks.figures import percentile, table
from benchmarks.machine import describe, machine
from fastness.core.deployment import Deployment
from fastness.core.marking import Label, Node
from fastness.core.policy import Action, Parameters, PolicyBundle, PolicyText, Query
from fastness.core.tenant import Principal
from fastness.policy.bundle import make_bundle, shipped_bundle
from fastness.policy.cedar import CedarEngine
from fastness.policy.decisions import Clearances
from fastness.policy.profile import shipped_profile

BATCH = 20
"""Calls between two looks at the clock; a call is far shorter than a tick."""
DECISIONS = 65_536
SENSITIVE = Label("OFFICIAL-SENSITIVE", ("PERSONAL",))
DEPLOYMENT = Deployment("chat", "smollm2", SENSITIVE, SENSITIVE, model_digest="b" * 64)
NODES = tuple(Node(f"bristol-{number}", "GB", "crown", "GB", SENSITIVE) for number in range(8))
PRINCIPALS = [
    Principal(f"key_{number}", "health", frozenset({"developer"}), tenant_clearance=SENSITIVE) for number in range(200)
]
PARAMETERS = [Parameters(("max_tokens", "temperature"), 1, 1 + number, number % 2_000) for number in range(997)]


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    median_us: float
    p99_us: float


def measure(what: str, seconds: float, act: Callable[[], object]) -> Row:
    times: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        start = time.thread_time_ns()
        for _ in range(BATCH):
            act()
        times.append((time.thread_time_ns() - start) / BATCH / 1_000)
    return Row(what, percentile(times, 50), percentile(times, 99))


def rows(seconds: float) -> list[Row]:
    shipped = shipped_bundle(shipped_profile("uk"))
    engine = CedarEngine(shipped)
    permitted = Query(PRINCIPALS[0], Action.INFER, SENSITIVE, DEPLOYMENT, NODES[0], PARAMETERS[0])
    refused = replace(permitted, label=Label("SECRET"))
    elsewhere = replace(permitted, principal=replace(PRINCIPALS[0], tenant="transport"))
    large = CedarEngine(_with_sixty_rules(shipped))
    cold = [
        measure("policy put in force", seconds, lambda: CedarEngine(shipped)),
        measure("cold: permitted", seconds, lambda: engine.decide(permitted)),
        measure("cold: denied", seconds, lambda: engine.decide(refused)),
        measure("cold: permitted, sixty rules more", seconds, lambda: large.decide(elsewhere)),
    ]
    return cold + _warm(engine, permitted, seconds)


def _warm(engine: CedarEngine, permitted: Query, seconds: float) -> list[Row]:
    clearances = Clearances(engine, DECISIONS)
    one, eight = NODES[:1], NODES
    who, asked = cycle(PRINCIPALS), cycle(PARAMETERS)

    def clear(nodes: tuple[Node, ...]) -> None:
        assert clearances.of(next(who), SENSITIVE, next(asked), DEPLOYMENT, nodes).nodes

    def clear_equal() -> None:
        assert clearances.of(replace(PRINCIPALS[0]), SENSITIVE, next(asked), DEPLOYMENT, one).nodes

    for nodes in (one, eight):
        for _ in range(len(PRINCIPALS) * len(PARAMETERS)):
            clear(nodes)
    clearances.decide(permitted)
    return [
        measure("warm: cleared for one node", seconds, lambda: clear(one)),
        measure("warm: cleared for eight nodes", seconds, lambda: clear(eight)),
        measure("warm: an equal principal, not the same", seconds, clear_equal),
        measure("warm: one decision", seconds, lambda: clearances.decide(permitted)),
        measure("of which: the kind of the parameters", seconds, lambda: engine.kinds.of(next(asked))),
    ]


def _with_sixty_rules(bundle: PolicyBundle) -> PolicyBundle:
    rules = "\n".join(
        f'@id("department/{number}") forbid (principal in Tenant::"health", action == Action::"infer", resource) when '
        f"{{ context.parameters has max_output_tokens && context.parameters.max_output_tokens > {number} }};"
        for number in range(60)
    )
    return make_bundle(bundle.profile, (*bundle.policies, PolicyText("department.cedar", rules)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each row")
    seconds = parser.parse_args().seconds
    print(describe(machine()))
    measured = [(row.what, f"{row.median_us:,.2f}", f"{row.p99_us:,.2f}") for row in rows(seconds)]
    print(table(("CPU, µs", "median", "p99"), measured))


if __name__ == "__main__":
    main()
