"""What the operator declares of this machine: its node, what it may be used for, and the profile of its first start.

Settings are text; a profile says what they mean. What it cannot read is refused by the name of the setting.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fastness.config import ConfigError, Settings
from fastness.core.admission import Admission, AdmissionState
from fastness.core.deployment import Adapter, Deployment
from fastness.core.ids import is_name
from fastness.core.marking import Label, Lattice, Node, Profile, UnknownMarking
from fastness.core.model import ModelCard
from fastness.core.policy import PolicySnapshot
from fastness.identity.cluster.claims import HostClaims
from fastness.policy.port import PolicyProblem
from fastness.policy.profile import PROFILE_BYTES_MAX, read_profile, shipped_profile, shipped_profiles
from fastness.store.snapshot_file import SnapshotReader


@dataclass(frozen=True, slots=True)
class Served:
    """The deployments there are, the nodes, and which node's replicas serve which deployment (by name)."""

    deployments: tuple[Deployment, ...] = ()
    nodes: tuple[Node, ...] = ()
    places: frozenset[tuple[str, str]] = frozenset()

    def nodes_of(self, deployment: str) -> list[Node]:
        """Return the nodes that have a replica of a deployment; all nodes when it has no replica."""
        own = [node for node in self.nodes if (deployment, node.name) in self.places]
        return own or list(self.nodes)


@dataclass(frozen=True, slots=True)
class Declaration:
    """This machine under one profile, whose markings are `lattice`. `ceiling` is that of its deployments."""

    node: Node
    ceiling: Label
    lattice: Lattice = field(compare=False)

    def deployment(
        self, card: ModelCard, model_ceiling: str | None = None, adapters: tuple[Adapter, ...] = ()
    ) -> Deployment:
        """Return the deployment of a model. `model_ceiling` is what it was admitted for; None: the default marking.

        A ceiling that this profile does not define is kept as it is, and so permits nothing.
        """
        return Deployment(
            name=card.name,
            model=card.name,
            model_digest=card.digest,
            ceiling=self.ceiling,
            model_ceiling=self.admitted_for(model_ceiling),
            adapters=adapters,
        )

    def admitted_for(self, text: str | None) -> Label:
        """Read what a model was admitted for; None: the default marking. What the profile does not know is kept."""
        if text is None:
            return Label(self.lattice.profile.default)
        try:
            return self.lattice.read(text)
        except UnknownMarking:
            return Label(text)

    def served(self, cards: Iterable[ModelCard], admissions: Iterable[Admission] = ()) -> Served:
        """Return what would be served here if these models were, each for what it was admitted for."""
        ceilings = {one.artefact.name: str(one.ceiling) for one in admissions if one.state is AdmissionState.ADMITTED}
        return Served(tuple(self.deployment(card, ceilings.get(card.name)) for card in cards), (self.node,))


class Declared:
    """This machine as declared, under the profile of the policy that is published, or else of `policy.profile`."""

    def __init__(self, settings: Settings, policy: Path) -> None:
        """Read at once; raises ConfigError, which names the setting that cannot be read."""
        self._settings = settings
        self._reader = SnapshotReader(policy, PolicySnapshot)
        published = self._reader.poll()
        profile = published.bundle.profile if published else chosen_profile(settings)
        self.declaration = declare(settings, Lattice(profile))

    def poll(self) -> bool:
        """Read again under a policy that was published since; tell whether anything changed. Raises ConfigError.

        Then what was declared stays as it was: in words that the new policy does not know, which permit nothing.
        """
        published = self._reader.poll()
        if published is None:
            return False
        before = self.declaration
        self.declaration = declare(self._settings, Lattice(published.bundle.profile))
        return self.declaration != before


def chosen_profile(settings: Settings) -> Profile:
    """Read the profile that `policy.profile` names; raises ConfigError."""
    chosen = settings.policy.profile
    try:
        if chosen in shipped_profiles():
            return shipped_profile(chosen)
        return _profile_of_file(Path(chosen))
    except PolicyProblem as error:
        raise ConfigError(f"policy.profile: {error}") from None


def declare(settings: Settings, lattice: Lattice) -> Declaration:
    """Read `node.*` and `engine.ceiling` under a profile; raises ConfigError, which names the setting."""
    node, profile = settings.node, lattice.profile
    if not is_name(node.name):
        raise ConfigError(f"node.name is {node.name[:80]!r}; it needs 1 to 63 lower-case letters, digits or hyphens")
    codes = [code for code, _ in profile.jurisdictions]
    if node.jurisdiction not in codes:
        raise ConfigError(
            f"node.jurisdiction is {node.jurisdiction[:80]!r}; the profile {profile.name} has {', '.join(codes)}"
        )
    operators = {one.id: one for one in profile.operators}
    if node.operator and node.operator not in operators:
        raise ConfigError(
            f"node.operator is {node.operator[:80]!r}; the profile {profile.name} has "
            f"{', '.join(operators) or 'none'}. Add yours to the profile, or leave the setting empty: undeclared"
        )
    owner = operators[node.operator].owner if node.operator else ""
    ceiling = _label("node.ceiling", node.ceiling, lattice)
    return Declaration(
        node=Node(node.name, node.jurisdiction, node.operator, owner, ceiling),
        ceiling=_label("engine.ceiling", settings.engine.ceiling, lattice),
        lattice=lattice,
    )


def certified_place(claims: HostClaims, lattice: Lattice) -> Node:
    """Return where another host stands, by its certificate under a profile; raises ValueError, which says what not.

    What a profile does not define permits nothing, so a host with it is not used at all.
    """
    profile, name = lattice.profile, claims.name
    operators = {one.id: one for one in profile.operators}
    if claims.jurisdiction not in [code for code, _ in profile.jurisdictions]:
        raise ValueError(f"{name} is certified for {claims.jurisdiction}, which the profile {profile.name} has not")
    if claims.operator and claims.operator not in operators:
        raise ValueError(f"{name} is certified to be run by {claims.operator}, unknown to the profile {profile.name}")
    owner = operators[claims.operator].owner if claims.operator else ""
    try:
        ceiling = lattice.read(claims.ceiling)
    except UnknownMarking as error:
        raise ValueError(f"{name} is certified for {claims.ceiling}: {error} (profile {profile.name})") from None
    return Node(name, claims.jurisdiction, claims.operator, owner, ceiling)


def _label(setting: str, text: str, lattice: Lattice) -> Label:
    try:
        return lattice.read(text)
    except UnknownMarking as error:
        raise ConfigError(f"{setting} is {text[:80]!r}: {error} (profile {lattice.profile.name})") from None


def _profile_of_file(path: Path) -> Profile:
    try:
        with path.open("rb") as file:
            content = file.read(PROFILE_BYTES_MAX + 1)
        return read_profile(content.decode(), path.name)
    except FileNotFoundError:
        names = ", ".join(shipped_profiles())
        raise ConfigError(f"policy.profile: there is no file {path}, and shipped are {names}") from None
    except OSError as error:
        raise ConfigError(f"policy.profile: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"policy.profile: {path} is not UTF-8 at byte {error.start}") from None
