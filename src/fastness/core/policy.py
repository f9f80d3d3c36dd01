"""What policy is asked and what it answers. The engine that decides is in `policy`; these are its words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fastness.core.deployment import Deployment
from fastness.core.marking import Label, Node, Profile
from fastness.core.tenant import Principal


class Action(StrEnum):
    """What a principal may be permitted to do. Policies write them as `Action::"infer"`."""

    INFER = "infer"
    READ = "read"
    DEPLOY = "deploy"
    ADMIT = "admit"
    MANAGE_ACCESS = "manage_access"
    APPLY_POLICY = "apply_policy"
    OPEN_SEALED = "open_sealed"
    BATCH = "batch"
    MANAGE_FLEET = "manage_fleet"
    HEDGE = "hedge"
    BREAK_GLASS = "break_glass"
    SHRED_SEALED = "shred_sealed"


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a request sets, as policies bound it. None: not set. `uses` are the names of all that it sets, sorted.

    Cedar has whole numbers only: `temperature_milli` is a thousand times the temperature, `top_p_milli` likewise.
    """

    uses: tuple[str, ...] = ()
    choices: int = 1
    max_output_tokens: int | None = None
    temperature_milli: int | None = None
    top_p_milli: int | None = None
    tools: int = 0


@dataclass(frozen=True, slots=True)
class Query:
    """One question: may `principal` do `action` with `deployment` on `node`, for something labelled `label`?

    `deployment` and `node` are None for actions on the installation itself. Hashable: decisions are cached by it.
    """

    principal: Principal
    action: Action
    label: Label
    deployment: Deployment | None = None
    node: Node | None = None
    parameters: Parameters = Parameters()


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome, with its reason. `rule` is the id of the deciding rule, `default-deny` when none permitted.

    `code` is a row of the error table when denied; `needed` and `had` say what the rule wanted and what there was.
    """

    allowed: bool
    rule: str
    code: str = ""
    needed: str = ""
    had: str = ""


@dataclass(frozen=True, slots=True)
class PolicyText:
    """One file of Cedar policies."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class PolicyBundle:
    """A whole policy: profile and rules. `digest` is the SHA-256 of both in canonical form, in hex."""

    digest: str
    profile: Profile
    policies: tuple[PolicyText, ...]


@dataclass(frozen=True, slots=True)
class PolicySnapshot:
    """The policy in force, as the gateways read it. `version` grows with each that is applied."""

    version: int
    bundle: PolicyBundle
    applied_s: int
    applied_by: str
