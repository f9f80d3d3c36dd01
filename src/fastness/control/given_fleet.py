"""What the routes of the fleet take, as typed JSON. Unknown fields are refused by name."""

from __future__ import annotations

import msgspec

from fastness.control.desired_wire import GivenDeployment

APPLY_BYTES_MAX = 1_048_576
"""The most that one file of deployments may have as JSON."""


class GivenFile(msgspec.Struct, forbid_unknown_fields=True):
    """A file of deployments. `pending`: also what no node here could take yet."""

    deployment: tuple[GivenDeployment, ...] = ()
    pending: bool = False


class GivenPlan(msgspec.Struct, forbid_unknown_fields=True):
    """What would happen if these were applied, and those removed."""

    deployment: tuple[GivenDeployment, ...] = ()
    remove: tuple[str, ...] = ()
    roll: tuple[str, ...] = ()


class GivenScale(msgspec.Struct, forbid_unknown_fields=True):
    """POST /deployments/{name}/scale."""

    replicas: int | None = None
    min: int | None = None
    max: int | None = None


class GivenRoll(msgspec.Struct, forbid_unknown_fields=True):
    """POST /deployments/{name}/roll: another model, other parameters, the same again (nothing), or `back`."""

    model: str | None = None
    parameters: dict[str, int | str] = {}
    back: bool = False


class GivenCordon(msgspec.Struct, forbid_unknown_fields=True):
    """POST /nodes/{name}/cordon."""

    drain: bool = False
    reason: str = ""


class GivenLabels(msgspec.Struct, forbid_unknown_fields=True):
    """POST /nodes/{name}/label."""

    put: dict[str, str] = {}
    remove: tuple[str, ...] = ()


class GivenShare(msgspec.Struct, forbid_unknown_fields=True):
    """POST /shares."""

    owner: str
    devices: int
    pool: str = "default"
