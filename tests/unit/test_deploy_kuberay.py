"""Kubernetes: every object is one by its schema, no pod may do more than it must, and what it names is in the code."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import typer
from kubernetes_validate import ValidationError

from fastness.cli.app import build_app
from fastness.config import EngineSettings, GatewaySettings, load
from fastness.config.settings import ClusterSettings, RaySettings
from fastness.fleet.ray.ports import RayPorts
from fastness.gateway.openapi import openapi_document
from kubernetes_objects import FOLDER, Pods, check, named, objects, of_kind, pods

ROOT = FOLDER.parents[1]
PAGE = (ROOT / "docs/how-to/run-on-kubernetes.md").read_text()
RAY = RayPorts(RaySettings().port).all()
DECLARED = {GatewaySettings().port, ClusterSettings().port, *RAY}
"""Every port that anything of ours listens on."""
TEMPLATES = list(pods())


def selects(selector: dict[str, Any], one: Pods) -> bool:
    labels = selector.get("matchLabels", selector)
    return bool(labels.items() <= one.labels.items())


def policies() -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one["spec"] for one in of_kind("NetworkPolicy")}


def ports_of(rule: dict[str, Any]) -> set[int]:
    assert all(one["protocol"] == "TCP" for one in rule["ports"])
    return {port for one in rule["ports"] for port in range(one["port"], one.get("endPort", one["port"]) + 1)}


@pytest.mark.parametrize("one", objects(), ids=named)
def test_an_object_is_one_by_the_schema_of_kubernetes(one: dict[str, Any]) -> None:
    check(one)


def test_the_schema_would_find_a_field_that_there_is_not() -> None:
    for kind, path in (
        ("StatefulSet", ("spec", "template", "spec")),
        ("RayCluster", ("spec",)),
        ("NetworkPolicy", ("spec",)),
    ):
        broken = deepcopy(of_kind(kind)[0])
        place = broken
        for step in path:
            place = place[step]
        place["hostNetwrk"] = True
        with pytest.raises((ValidationError, AssertionError)):
            check(broken)
    broken = deepcopy(of_kind("RayCluster")[0])
    broken["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["prts"] = []
    with pytest.raises(ValidationError):
        check(broken)


def test_everything_is_in_one_namespace_that_lets_only_restricted_pods_in() -> None:
    (space,) = of_kind("Namespace")
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {one["metadata"]["namespace"] for one in objects() if one is not space} == {space["metadata"]["name"]}


@pytest.mark.parametrize("one", TEMPLATES, ids=lambda one: one.where)
def test_a_pod_has_no_privilege_and_sees_nothing_of_its_machine(one: Pods) -> None:
    spec, context, container = one.spec, one.spec["securityContext"], one.container
    assert (
        not {"hostNetwork", "hostPID", "hostIPC", "hostAliases", "initContainers", "ephemeralContainers"} & spec.keys()
    )
    assert context["runAsNonRoot"] is True
    assert (context["runAsUser"], context["runAsGroup"]) == (10001, 10001)
    assert context["seccompProfile"] == {"type": "Localhost", "localhostProfile": "fastness/seccomp.json"}
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    kinds = {next(iter(volume.keys() - {"name"})) for volume in spec["volumes"]}
    assert kinds <= {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}
    assert all("sizeLimit" in volume["emptyDir"] for volume in spec["volumes"] if "emptyDir" in volume)
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("one", TEMPLATES, ids=lambda one: one.where)
def test_a_pod_can_write_its_state_a_tmp_and_shared_memory_and_nothing_else(one: Pods) -> None:
    mounts = one.container["volumeMounts"]
    writable = {mount["mountPath"] for mount in mounts if not mount.get("readOnly")}
    assert writable == {"/var/lib/fastness", "/tmp", "/dev/shm"}
    there = {volume["name"] for volume in one.spec["volumes"]} | {"state"}
    assert {mount["name"] for mount in mounts} <= there


@pytest.mark.parametrize("one", TEMPLATES, ids=lambda one: one.where)
def test_the_uid_image_and_profile_are_those_of_the_container_that_is_shipped(one: Pods) -> None:
    text = (ROOT / "deploy/compose/Containerfile").read_text()
    assert f"USER {one.spec['securityContext']['runAsUser']}:{one.spec['securityContext']['runAsGroup']}" in text
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert one.container["image"] == f"fastness:{version}"
    assert json.loads((ROOT / "deploy/compose/seccomp.json").read_text())["defaultAction"]


@pytest.mark.parametrize("one", TEMPLATES, ids=lambda one: one.where)
def test_settings_are_settings_and_files_are_where_they_say(one: Pods, tmp_path: Path) -> None:
    environ = {each["name"]: each["value"] for each in one.container["env"]}
    (config,) = of_kind("ConfigMap")
    (tmp_path / "config.toml").write_text(config["data"]["config.toml"])
    mounts = {mount["mountPath"]: mount for mount in one.container["volumeMounts"]}
    assert mounts[environ["FASTNESS_CONFIG"]]["subPath"] == "config.toml"
    settings, _ = load(environ | {"FASTNESS_CONFIG": str(tmp_path / "config.toml")})
    if one.part == "head":
        for path in (settings.gateway.tls_certificate, settings.gateway.tls_key):
            assert str(Path(path).parent) in mounts
    addresses = {each["metadata"]["annotations"]["cni.projectcalico.org/ipAddrs"] for each in (one.template,)}
    assert all(json.loads(text) for text in addresses)


def test_every_host_has_an_address_of_its_own_and_the_head_is_told_its() -> None:
    for kind in ("StatefulSet", "RayCluster"):
        hosts = [one for one in TEMPLATES if one.where.startswith(kind)]
        found = [
            json.loads(one.template["metadata"]["annotations"]["cni.projectcalico.org/ipAddrs"])[0] for one in hosts
        ]
        assert len(set(found)) == len(found) >= 2
        (head,) = [address for one, address in zip(hosts, found, strict=True) if one.part == "head"]
        told = [
            each["value"] for one in hosts for each in one.container["env"] if each["name"] == "FASTNESS__RAY__ADDRESS"
        ]
        assert told == ([head] if kind == "RayCluster" else []), "nodes have it from their invitation"
        assert f"value: {head}" in (FOLDER / "head.yaml").read_text(), "to be put in for a cluster"


@pytest.mark.parametrize("one", TEMPLATES, ids=lambda one: one.where)
def test_a_pod_runs_a_verb_that_there_is(one: Pods) -> None:
    words = one.container.get("command")
    if words is None:
        return  # the image's own
    if words[:2] == ["/bin/sh", "-c"]:
        image = (ROOT / "deploy/compose/Containerfile").read_text()
        assert json.dumps(words) in image, "as the image itself"
        words = shlex.split(words[2].removeprefix("exec ").partition(">")[0])
    command, rest = typer.main.get_command(build_app(None)), words[1:]  # type: ignore[arg-type]
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    command.make_context("fastness", rest).close()
    for word in rest:
        if word.startswith("/"):
            assert str(Path(word).parent) in {mount["mountPath"] for mount in one.container["volumeMounts"]}


@pytest.mark.parametrize("one", TEMPLATES, ids=lambda one: one.where)
def test_ports_and_probes_are_those_of_the_code(one: Pods) -> None:
    assert set(one.ports.values()) <= DECLARED
    assert one.ports["door"] == ClusterSettings().port
    routes = json.loads(openapi_document())["paths"]
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = one.container.get(name, {})
        if "httpGet" in probe:
            assert probe["httpGet"]["path"] in routes
            assert one.ports[probe["httpGet"]["port"]] == GatewaySettings().port
            assert probe["httpGet"]["scheme"] == "HTTPS", "TLS is on"
        if "tcpSocket" in probe:
            assert probe["tcpSocket"]["port"] in one.ports
    asked = {
        name: one.container[name]["httpGet"]["path"]
        for name in ("livenessProbe", "readinessProbe")
        if one.part == "head"
    }
    assert asked in ({}, {"livenessProbe": "/livez", "readinessProbe": "/readyz"}), (
        "who waits for a model is not ended for it"
    )


@pytest.mark.parametrize("one", TEMPLATES, ids=lambda one: one.where)
def test_answers_may_finish_before_a_pod_is_ended(one: Pods) -> None:
    assert (
        one.spec["terminationGracePeriodSeconds"]
        > GatewaySettings().drain_timeout_s + EngineSettings().stop_timeout_s + 5
    )


def test_what_no_policy_names_is_denied_both_ways_for_every_pod() -> None:
    assert policies()["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_policies_open_declared_ports_only_and_between_our_own_pods_and_callers_only() -> None:
    opened: set[int] = set()
    for name, spec in policies().items():
        rules = [("from", rule) for rule in spec.get("ingress", [])] + [("to", rule) for rule in spec.get("egress", [])]
        for side, rule in rules:
            assert rule.keys() == {side, "ports"}, "a rule without peers or ports opens all of them"
            opened |= ports_of(rule)
            for peer in rule[side]:
                assert "ipBlock" not in peer
                assert peer in (
                    {"podSelector": {"matchLabels": {"fastness.io/installation": "fastness"}}},
                    {"namespaceSelector": {"matchLabels": {"fastness.io/callers": "yes"}}},
                ), name
        if name != "nothing":
            assert [one for one in TEMPLATES if selects(spec["podSelector"], one)], "it is about some pod"
    assert opened == DECLARED
    assert ports_of(policies()["callers"]["ingress"][0]) == {GatewaySettings().port}
    assert ports_of(policies()["hosts"]["egress"][0]) == {ClusterSettings().port, *RAY}
    assert "egress" not in policies()["callers"]


def test_services_and_budgets_are_about_pods_that_there_are() -> None:
    for one in of_kind("Service"):
        chosen = [pod for pod in TEMPLATES if selects(one["spec"]["selector"], pod)]
        assert chosen
        assert one["spec"].get("type", "ClusterIP") == "ClusterIP", "nothing is opened to the outside"
        for port in one["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            assert all(target in {*pod.ports, *pod.ports.values()} for pod in chosen)
    budgets = {one["metadata"]["name"]: one["spec"] for one in of_kind("PodDisruptionBudget")}
    for spec in budgets.values():
        assert isinstance(spec["minAvailable"], int), "pods of a RayCluster are counted in whole numbers only"
        assert [pod for pod in TEMPLATES if selects(spec["selector"], pod)]
    assert all(any(selects(spec["selector"], pod) for spec in budgets.values()) for pod in TEMPLATES)


def test_secrets_are_named_and_never_written_here() -> None:
    assert of_kind("Secret") == []
    names = {
        volume["secret"]["secretName"] for one in TEMPLATES for volume in one.spec["volumes"] if "secret" in volume
    }
    assert all(f"secret generic {name}" in PAGE or f"secret tls {name}" in PAGE for name in names)
    assert not any("valueFrom" in each for one in TEMPLATES for each in one.container["env"])


def test_a_ray_cluster_has_the_same_hosts_as_the_plain_objects() -> None:
    """Written twice, since YAML has no includes: what differs is what has to."""
    plain, ray = ({one.part: one for one in TEMPLATES if one.where.startswith(kind)} for kind in ("Stateful", "Ray"))
    for part, one in ray.items():
        other = plain[part]
        assert {key: value for key, value in one.spec.items() if key not in ("containers", "volumes")} == {
            key: value for key, value in other.spec.items() if key not in ("containers", "volumes")
        }
        differing = {
            key for key in one.container | other.container if one.container.get(key) != other.container.get(key)
        }
        assert differing <= {"command", "livenessProbe", "env"}, part
        annotations = one.template["metadata"]["annotations"]
        assert annotations["ray.io/overwrite-container-cmd"] == "true", "KubeRay does not write our command anew"
        assert "livenessProbe" in one.container, "or KubeRay puts in one that asks for its dashboard"
    (cluster,) = of_kind("RayCluster")
    locked = re.findall(r"^ray==(\S+)", (ROOT / "requirements/ray.txt").read_text(), re.MULTILINE)
    assert [cluster["spec"]["rayVersion"]] == locked
    assert cluster["spec"]["enableInTreeAutoscaling"] is False
    claims = {one["metadata"]["name"] for one in of_kind("PersistentVolumeClaim")}
    used = {volume["persistentVolumeClaim"]["claimName"] for one in ray.values() for volume in one.spec["volumes"]
            if "persistentVolumeClaim" in volume}  # fmt: skip
    assert used == claims
