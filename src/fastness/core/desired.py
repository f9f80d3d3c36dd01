"""What is wanted of a deployment: the model, how its engine runs, what a replica needs, and how many there are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from fastness.core.marking import Label
from fastness.core.node import POOL


@dataclass(frozen=True, slots=True)
class Parameters:
    """How each replica's engine is run. `threads` 0: the usable cores but one. `cache_type` is that of the KV cache."""

    engine: str = "llamacpp"
    slots: int = 8
    slot_context_tokens: int = 2_048
    threads: int = 0
    cache_type: str = "f16"


@dataclass(frozen=True, slots=True)
class WantedAdapter:
    """A LoRA that callers name as `deployment:name`. `digest` is its SHA-256 in hex.

    `tenants` limits who may use it; None: whoever may use the deployment.
    """

    name: str
    digest: str
    tenants: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Needs:
    """What one replica must have, all of it hard.

    It takes `devices` devices on each of `nodes` nodes, all or nothing, with `device_bytes` of memory on each device.
    `accelerator` is a device's type (empty: any), `pool` where to look. `labels` are `key=value`, `key`, or either with
    a `!` before it. `ceiling` is a marking that the node must be cleared for; `jurisdictions` and `operators` are those
    that the node may stand under and be run by (empty: any). `apart`: no two replicas in one failure domain.
    `bytes_said`: a person said what `device_bytes` is; otherwise it follows from the model and its parameters.
    """

    ceiling: Label
    device_bytes: int
    devices: int = 1
    nodes: int = 1
    accelerator: str = ""
    pool: str = POOL
    labels: tuple[str, ...] = ()
    jurisdictions: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    apart: bool = False
    bytes_said: bool = False

    @property
    def devices_in_all(self) -> int:
        """The devices that one replica takes, on all of its nodes."""
        return self.devices * self.nodes


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many replicas, and when more or fewer. `min` 0: none while nobody asks, woken by a request.

    More at once when the oldest request waits longer than `queue_wait_s`, when the slots in use are above `busy_part`
    of all, or, with `tokens_per_s` above 0, when a replica makes more output tokens a second than that. One fewer when
    `down_s` have passed in which one fewer would have done; to none after `idle_s` without a request.
    """

    min: int = 1
    max: int = 1
    queue_wait_s: float = 1.0
    busy_part: float = 0.8
    tokens_per_s: float = 0.0
    down_s: float = 300.0
    idle_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Rollout:
    """How a new revision takes the place of the old: `surge` more replicas than wanted may exist meanwhile.

    `canary_percent` above 0: first that part of the replicas (at least one), watched for `hold_s`. It goes back by
    itself when the new revision fails more than `error_percent_max` of its requests, or when its time to first token
    is more than `ttft_ratio_max` times that of the old; at least `samples_min` answers decide.
    """

    surge: int = 1
    canary_percent: int = 0
    hold_s: float = 60.0
    error_percent_max: float = 1.0
    ttft_ratio_max: float = 2.0
    samples_min: int = 20


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """A deployment as wanted. `owner` is the tenant that it is charged to, `department` or `department/team`.

    Callers name it by `name`. `model` is the name of a model card and `model_digest` the SHA-256 of its weights in hex.
    `kind` is a ModelKind. `tenants` limits who may use it; None: whoever policy permits. `urgent` replicas are placed
    first, and of the others reclaimed first. `hedges`: a second replica may be asked when the first is late to begin,
    where policy permits that. `drain_timeout_s` is how long running answers may finish. `adapters` are loaded beside
    the model, in the order of their names.
    """

    name: str
    owner: str
    model: str
    model_digest: str
    kind: str
    ceiling: Label
    needs: Needs
    parameters: Parameters = Parameters()
    scaling: Scaling = Scaling()
    rollout: Rollout = Rollout()
    drain_timeout_s: float = 30.0
    tenants: tuple[str, ...] | None = None
    urgent: bool = False
    hedges: bool = False
    adapters: tuple[WantedAdapter, ...] = ()

    @property
    def variant(self) -> tuple[str, ...]:
        """What a replica has loaded: the digest of the model, and those of its adapters."""
        return (self.model_digest, *(one.digest for one in self.adapters))

    def without_adapters(self, names: Collection[str]) -> DeploymentSpec:
        """Return the same without the adapters of these names."""
        left = tuple(one for one in self.adapters if one.name not in names)
        return self if len(left) == len(self.adapters) else replace(self, adapters=left)
