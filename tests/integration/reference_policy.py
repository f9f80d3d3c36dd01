"""Worlds made from a number, and who is cleared in them: worked out in plain Python, without Cedar or our lattice."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from fastness.core.deployment import Adapter, Deployment
from fastness.core.marking import Caveat, Label, Marking, Node, Operator, Profile
from fastness.core.policy import Action, Parameters
from fastness.core.tenant import Credential, Principal

CODES = ("AA", "BB", "CC")
TENANTS = ("health", "justice", "transport")
ROLES = ("developer", "admin", "approver", "auditor", "operator", "visitor")
DIGESTS = ("1" * 64, "2" * 64)
STRANGE = Label("NO SUCH MARKING")


@dataclass(frozen=True)
class World:
    """One generated question with everything around it."""

    principal: Principal
    label: Label
    parameters: Parameters
    deployment: Deployment
    nodes: tuple[Node, ...]
    action: Action


def make_profile(number: int) -> Profile:
    """Any partial order of one to six markings, with caveats, jurisdictions and operators."""
    chance = Random(f"profile {number}")
    names = [f"M{index}" for index in range(chance.randint(1, 6))]
    chance.shuffle(names)
    markings = tuple(
        Marking(
            name,
            f"meaning of {name}",
            tuple(one for one in names[:place] if chance.random() < 0.5),
            places(chance),
            places(chance),
        )
        for place, name in enumerate(names)
    )
    caveats = tuple(
        Caveat(f"C{index}", "a caveat", chance.choice(names), places(chance), places(chance))
        for index in range(chance.randint(0, 4))
    )
    operators = tuple(Operator(f"op{index}", f"operator {index}", chance.choice(CODES)) for index in range(3))
    listed = list(markings)
    chance.shuffle(listed)
    default = chance.choice(names[:2])
    return Profile(f"p{number}", "generated", tuple(listed), caveats, tuple((c, c) for c in CODES), operators, default)


def places(chance: Random) -> tuple[str, ...]:
    return tuple(chance.sample(CODES, chance.randint(1, 3))) if chance.random() < 0.4 else ()


def make_world(number: int, profile: Profile) -> World:
    """A principal, a deployment with its nodes, and what is asked; generous, so that many a request is cleared."""
    chance = Random(number)
    reach = below_everything(profile)
    principal = Principal(
        f"key_{chance.randint(0, 9)}",
        chance.choice((*TENANTS, "")),
        frozenset(chance.sample(ROLES, 2) if chance.random() < 0.3 else [chance.choice((*ROLES[:2], *ROLES))]),
        frozenset(chance.sample(("chat", "other"), 1)) if chance.random() < 0.2 else None,
        chance.choice(tuple(Credential)),
        chance.choice((None, None, permission(chance, profile, reach))),
        chance.choice((None, permission(chance, profile, reach), permission(chance, profile, reach))),
    )
    deployment = Deployment(
        "chat",
        "model",
        permission(chance, profile, reach),
        permission(chance, profile, reach),
        tuple(make_adapter(chance, profile, reach, index) for index in range(chance.choice((0, 0, 0, 0, 1, 2)))),
        tuple(chance.sample(TENANTS, 2)) if chance.random() < 0.3 else None,
        DIGESTS[0],
    )
    nodes = tuple(
        Node(
            f"node-{index}",
            chance.choice((*CODES, CODES[0], "")),
            operator := chance.choice(("op0", "op1", "op2", "unheard of", "")),
            chance.choice((owner_by(profile, operator), owner_by(profile, operator), "", chance.choice(CODES))),
            permission(chance, profile, reach),
        )
        for index in range(chance.choice((0, 1, 1, 1, 2, 3)))
    )
    return World(
        principal,
        make_label(chance, profile, reach),
        make_parameters(chance),
        deployment,
        nodes,
        chance.choice([one for one in Action if one is not Action.INFER]),
    )


def make_adapter(chance: Random, profile: Profile, reach: dict[str, set[str]], index: int) -> Adapter:
    base = DIGESTS[chance.random() < 0.1]
    return Adapter(f"adapter-{index}", f"{index}" * 64, base, permission(chance, profile, reach))


def make_label(chance: Random, profile: Profile, reach: dict[str, set[str]]) -> Label:
    """Mostly one that the profile knows, mostly low; sometimes not."""
    if chance.random() < 0.02:
        return STRANGE
    low = sorted(profile.markings, key=lambda one: len(reach[one.name]))
    marking = chance.choice(low[: 1 + len(low) // 2] if chance.random() < 0.7 else low).name
    known = [one.name for one in profile.caveats if one.lowest in reach[marking] or chance.random() < 0.02]
    return Label(marking, tuple(sorted(one for one in known if chance.random() < 0.25)))


def permission(chance: Random, profile: Profile, reach: dict[str, set[str]]) -> Label:
    """A ceiling or clearance: mostly high, with most caveats; sometimes of a marking that is gone from the profile."""
    if chance.random() < 0.01:
        return STRANGE
    high = sorted(profile.markings, key=lambda one: -len(reach[one.name]))
    marking = (high[0] if chance.random() < 0.7 else chance.choice(high)).name
    return Label(marking, tuple(sorted(one.name for one in profile.caveats if chance.random() < 0.9)))


def make_parameters(chance: Random) -> Parameters:
    if chance.random() < 0.6:
        return Parameters()
    return Parameters(
        tuple(sorted(chance.sample(("max_tokens", "stream", "temperature"), 2))),
        chance.choice((1, 2, 1024, 1024, 1025)),
        chance.choice((None, 16, chance.randint(1, 5_000), 100_000_000, 100_000_001)),
        chance.choice((None, 0, 700, 2000, 2001)),
        chance.choice((None, 0, 1000)),
        chance.choice((0, 1, 4096, 4097)),
    )


def owner_by(profile: Profile, operator: str) -> str:
    return next((one.owner for one in profile.operators if one.id == operator), "")


def below_everything(profile: Profile) -> dict[str, set[str]]:
    """By name of a marking, what it dominates: the closure, by going round until nothing is added."""
    reach = {one.name: {one.name} for one in profile.markings}
    for _ in profile.markings:
        for one in profile.markings:
            for under in one.above:
                reach[one.name] |= reach[under]
    return reach


class Reference:
    """Who may do what: the mandatory rules, and what the shipped roles and bounds add to them."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.reach = below_everything(profile)
        self.asks = {one.name: (one.jurisdictions, one.owners) for one in (*profile.markings, *profile.caveats)}
        self.lowest = {one.name: one.lowest for one in profile.caveats}

    def knows(self, label: Label) -> bool:
        return label.marking in self.reach and all(
            one in self.lowest and self.lowest[one] in self.reach[label.marking] for one in label.caveats
        )

    def within(self, label: Label, ceiling: Label) -> bool:
        below = self.reach.get(ceiling.marking, set())
        return label.marking in below and all(one in ceiling.caveats for one in label.caveats)

    def cleared_person(self, who: Principal, label: Label) -> bool:
        tenant = who.tenant_clearance or Label(self.profile.default)
        return self.within(label, tenant) and (who.clearance is None or self.within(label, who.clearance))

    def may_stand(self, node: Node, label: Label) -> bool:
        owner = owner_by(self.profile, node.operator)
        honest = bool(owner) and node.owner in ("", owner)
        for name in (label.marking, *label.caveats):
            jurisdictions, owners = self.asks[name]
            if jurisdictions and node.jurisdiction not in jurisdictions:
                return False
            if owners and not (honest and owner in owners):
                return False
        return self.within(label, node.ceiling)

    def honest_operator(self, who: Principal) -> bool:
        return "operator" not in who.roles or who.credential is Credential.LOCAL

    def mandatory_infer(self, world: World, node: Node | None) -> bool:
        who, label, deployment = world.principal, world.label, world.deployment
        return (
            self.knows(label)
            and self.honest_operator(who)
            and (deployment.tenants is None or who.tenant in deployment.tenants)
            and (who.models is None or deployment.name in who.models)
            and self.cleared_person(who, label)
            and self.within(label, deployment.ceiling)
            and self.within(label, deployment.model_ceiling)
            and all(
                one.base == deployment.model_digest and self.within(label, one.ceiling) for one in deployment.adapters
            )
            and (node is None or self.may_stand(node, label))
        )

    def shipped_infer(self, world: World, node: Node | None) -> bool:
        asked = world.parameters
        return (
            self.mandatory_infer(world, node)
            and bool(world.principal.roles & {"developer", "admin"})
            and asked.choices <= 1024
            and asked.tools <= 4096
            and (asked.max_output_tokens is None or asked.max_output_tokens <= 100_000_000)
            and (asked.temperature_milli is None or 0 <= asked.temperature_milli <= 2000)
        )

    def mandatory_other(self, world: World, _of_deployment: bool) -> bool:
        who, label = world.principal, world.label
        if not self.knows(label) or not self.honest_operator(who):
            return False
        if world.action in (Action.OPEN_SEALED, Action.BREAK_GLASS, Action.BATCH):
            return self.cleared_person(who, label)
        if world.action is Action.ADMIT:
            return who.credential is Credential.LOCAL or self.cleared_person(who, label)
        return True

    def shipped_other(self, world: World, of_deployment: bool) -> bool:
        who, action = world.principal, world.action
        roles = {
            Action.READ: {"admin", "approver", "auditor", "operator"},
            Action.DEPLOY: {"admin", "operator"},
            Action.ADMIT: {"admin", "approver", "operator"},
            Action.MANAGE_ACCESS: {"admin", "operator"},
            Action.APPLY_POLICY: {"admin", "operator"},
            Action.OPEN_SEALED: {"auditor"},
            Action.BATCH: {"developer", "admin"},
            Action.MANAGE_FLEET: {"admin", "operator"},
            Action.HEDGE: set(),
            Action.BREAK_GLASS: {"auditor"} if who.tenant == "default" else set(),
            Action.SHRED_SEALED: {"admin", "auditor", "operator"},
        }[action]
        tenants = world.deployment.tenants
        reads_own = (
            action is Action.READ
            and of_deployment
            and "developer" in who.roles
            and (tenants is None or who.tenant in tenants)
        )
        return self.mandatory_other(world, of_deployment) and (bool(who.roles & roles) or reads_own)
