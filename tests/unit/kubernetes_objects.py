"""What is shipped for Kubernetes, read; and a strict reading of a RayCluster, whose schema no package carries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

FOLDER = Path(__file__).parents[2] / "deploy/kuberay"
VERSION = "1.37"
RAY_CLUSTER = {
    "rayVersion": str, "enableInTreeAutoscaling": bool, "authOptions": dict,
    "headGroupSpec": dict, "workerGroupSpecs": list,
}  # fmt: skip
"""Fields of KubeRay's `ray.io/v1` that we use, as its CRD of 2026-08 has them."""
GROUP = {"rayStartParams": dict, "template": dict}
HEAD = GROUP | {"serviceType": str}
WORKERS = GROUP | {"groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int}


@dataclass(frozen=True)
class Pods:
    """A template of pods: where it stands, and its parts."""

    where: str
    template: dict[str, Any]

    @property
    def spec(self) -> dict[str, Any]:
        return dict(self.template["spec"])

    @property
    def container(self) -> dict[str, Any]:
        (one,) = self.spec["containers"]
        return dict(one)

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.template["metadata"]["labels"])

    @property
    def part(self) -> str:
        return self.labels["fastness.io/part"]

    @property
    def ports(self) -> dict[str, int]:
        return {one["name"]: one["containerPort"] for one in self.container["ports"]}


@cache
def objects() -> tuple[dict[str, Any], ...]:
    """Every object of every file."""
    texts = [path.read_text() for path in sorted(FOLDER.glob("*.yaml"))]
    return tuple(one for text in texts for one in yaml.safe_load_all(text))


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [one for one in objects() if one["kind"] == kind]


def named(one: dict[str, Any]) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


def pods() -> Iterator[Pods]:
    """Every template of pods."""
    for one in of_kind("StatefulSet"):
        yield Pods(named(one), one["spec"]["template"])
    for one in of_kind("RayCluster"):
        yield Pods(f"{named(one)} head", one["spec"]["headGroupSpec"]["template"])
        for group in one["spec"]["workerGroupSpecs"]:
            yield Pods(f"{named(one)} {group['groupName']}", group["template"])


def check(one: dict[str, Any]) -> None:
    """Hold an object against its schema, unknown fields forbidden; raises ValidationError or AssertionError."""
    if one["kind"] != "RayCluster":
        kubernetes_validate.validate(one, VERSION, strict=True)
        return
    spec = one["spec"]
    assert one["apiVersion"] == "ray.io/v1"
    _typed(spec, RAY_CLUSTER, {"headGroupSpec"})
    _typed(spec["authOptions"], {"mode": str, "secretName": str}, {"mode"})
    _typed(spec["headGroupSpec"], HEAD, {"template"})
    for group in spec["workerGroupSpecs"]:
        _typed(group, WORKERS, {"groupName", "minReplicas", "maxReplicas", "template"})
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for template in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        body = {
            "apiVersion": "v1",
            "kind": "PodTemplate",
            "metadata": {"name": "any"},
            "template": template["template"],
        }
        kubernetes_validate.validate(body, VERSION, strict=True)


def _typed(given: dict[str, Any], known: dict[str, type], needed: set[str]) -> None:
    assert needed <= given.keys() <= known.keys(), given.keys() ^ known.keys()
    for name, value in given.items():
        assert type(value) is known[name], f"{name} is {value!r}"
