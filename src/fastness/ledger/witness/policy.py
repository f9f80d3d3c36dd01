"""Whom one believes: logs, witnesses, and how many of them (C2SP tlog-policy, https://c2sp.org/tlog-policy).

log <key> [<url>]
witness <name> <key> [<url>]
group <name> <k | any | all> <member>...
quorum <name of a witness or a group, or none>
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from fastness.ledger.checkpoint import number
from fastness.ledger.note import SignatureType, VerifierKey, parse_key

POLICY_BYTES_MAX: Final = 262_144
NAMES_MAX: Final = 64
"""Witnesses and groups together."""
NOBODY: Final = "none"


class PolicyUnreadable(ValueError):  # noqa: N818 - what is said of a file
    """The message says which line, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness: its name in the policy, its key, and where checkpoints are submitted to it (empty: nowhere)."""

    name: str
    key: VerifierKey
    url: str = ""


@dataclass(slots=True)
class WitnessPolicy:
    """A policy, read. `groups` has how many of which members."""

    logs: list[VerifierKey] = field(default_factory=list)
    witnesses: dict[str, Witness] = field(default_factory=dict)
    groups: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    quorum: str = NOBODY

    def met(self, cosigned: Collection[str], name: str | None = None) -> bool:
        """Tell whether these witnesses (by their names here) are enough."""
        name = self.quorum if name is None else name
        if (group := self.groups.get(name)) is None:
            return name == NOBODY or name in cosigned
        return sum(self.met(cosigned, member) for member in group[1]) >= group[0]

    def __str__(self) -> str:
        lines = [f"log {key}" for key in self.logs]
        lines += [f"witness {one.name} {one.key} {one.url}".rstrip() for one in self.witnesses.values()]
        lines += [f"group {name} {least} {' '.join(members)}" for name, (least, members) in self.groups.items()]
        return "\n".join([*lines, f"quorum {self.quorum}", ""])


def read_policy(content: bytes) -> WitnessPolicy:
    """Read a policy; raises PolicyUnreadable."""
    if len(content) > POLICY_BYTES_MAX:
        raise PolicyUnreadable(f"A policy has at most {POLICY_BYTES_MAX} bytes; this one has {len(content)}.")
    policy, quorums = WitnessPolicy(), list[str]()
    for line_number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            _take(policy, quorums, words)
        except ValueError as error:
            raise PolicyUnreadable(f"Line {line_number} ({line.strip()[:60]}): {error}.") from None
    if len(quorums) != 1:
        raise PolicyUnreadable(f"A policy has one line `quorum`; this one has {len(quorums)}.")
    policy.quorum = quorums[0]
    return policy


def _take(policy: WitnessPolicy, quorums: list[str], words: list[str]) -> None:
    match words:
        case ["log", key] | ["log", key, _]:
            policy.logs.append(_key(key, SignatureType.ED25519, SignatureType.ML_DSA_44))
        case ["witness", name, key, *url] if len(url) < 2:
            _check_new(policy, name)
            read = _key(key, SignatureType.COSIGNATURE, SignatureType.ML_DSA_44)
            if read.public in [one.key.public for one in policy.witnesses.values()]:
                raise ValueError("this key is that of another witness already")
            policy.witnesses[name] = Witness(name, read, url[0] if url else "")
        case ["group", name, least, *members] if members:
            _check_new(policy, name)
            policy.groups[name] = _least(least, len(members)), _members(policy, members)
        case ["quorum", name]:
            if name != NOBODY and name not in _known(policy):
                raise ValueError(f"{name} is no witness and no group that is named before")
            quorums.append(name)
        case _:
            raise ValueError(
                "it needs to be `log KEY`, `witness NAME KEY URL`, `group NAME K MEMBER...` or `quorum NAME`"
            )


def _key(text: str, *kinds: SignatureType) -> VerifierKey:
    key = parse_key(text)
    if key.type not in kinds:
        raise ValueError(f"the key {key.name} is of type {key.type:#04x}, which is not for this")
    return key


def _known(policy: WitnessPolicy) -> Mapping[str, object]:
    return {**policy.witnesses, **policy.groups}


def _check_new(policy: WitnessPolicy, name: str) -> None:
    known = _known(policy)
    if name == NOBODY or name in known:
        raise ValueError(f"the name {name} is taken")
    if len(known) >= NAMES_MAX:
        raise ValueError(f"there are more than {NAMES_MAX} witnesses and groups")


def _least(text: str, members: int) -> int:
    least = {"any": 1, "all": members}.get(text) or number(text)
    if not 1 <= least <= members:
        raise ValueError(f"{text} of {members} cannot be")
    return least


def _members(policy: WitnessPolicy, members: list[str]) -> tuple[str, ...]:
    used = {name for _, others in policy.groups.values() for name in others}
    for name in members:
        if name not in _known(policy) or name in used or members.count(name) > 1:
            raise ValueError(f"{name} needs to be named before, and to be in one group only, once")
    return tuple(members)
