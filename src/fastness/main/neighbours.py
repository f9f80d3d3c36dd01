"""The other hosts of a cluster as the head's supervisor has them, composed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import ConfigError, Settings, run_directory
from fastness.main.process import milliseconds

if TYPE_CHECKING:
    from fastness.control.declaration import Declared
    from fastness.control.neighbours import Neighbours
    from fastness.core.marking import Node
    from fastness.identity.cluster.claims import HostClaims
    from fastness.telemetry.log import JsonLog


def neighbours(settings: Settings, declared: Declared, log: JsonLog) -> Neighbours:
    """Build what writes letters to them. Raises ConfigError where this host is no head of a cluster."""
    from fastness.control.declaration import certified_place
    from fastness.control.neighbours import Neighbours
    from fastness.control.post import REPORT, WORD, SealedPost
    from fastness.identity.cluster.certificate import NotTrusted
    from fastness.identity.cluster.claims import HostRole
    from fastness.identity.cluster.folder import REVOKED, cluster_folder
    from fastness.identity.cluster.membership import Membership
    from fastness.main.models_of_head import ModelsOfHead
    from fastness.registry.library import ModelLibrary

    folder = cluster_folder(settings.home)
    try:
        membership = Membership(folder)
    except NotTrusted as error:
        raise ConfigError(str(error)) from None
    if membership.claims.role is not HostRole.HEAD:
        raise ConfigError(f"{membership.claims.name} is a node, not the head of its cluster: fastness node join")
    told: dict[str, str] = {}

    def place(claims: HostClaims) -> Node:
        if claims.name == settings.node.name:
            raise ValueError(f"{claims.name} is the name of this node: give one of them another")
        return certified_place(claims, declared.declaration.lattice)

    listed = [_read(folder / REVOKED)]

    def revoked() -> str:
        if membership.refresh():
            listed[0] = _read(folder / REVOKED)
        return listed[0]

    def tell(way: str, why: str) -> None:
        if told.get(way) != why:
            told[way] = why
            log.record("warning", "letter.refused", where=way, reason=why)

    return Neighbours(
        run_directory(settings.home, os.getuid()),
        SealedPost(membership, WORD, REPORT, milliseconds),
        place,
        settings.cluster.port,
        revoked,
        time.monotonic,
        settings.ray.lease_s,
        tell,
        ModelsOfHead(ModelLibrary(settings.home), settings, membership),
    )


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""
