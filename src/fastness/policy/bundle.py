"""Whole policies: a profile and files of rules, named by a digest."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from fastness.core.marking import Profile
from fastness.core.policy import PolicyBundle, PolicyText
from fastness.policy.port import PolicyProblem
from fastness.policy.profile import PROFILE_BYTES_MAX, read_profile
from fastness.policy.statements import TEXT_BYTES_MAX

FILES_MAX: Final = 64
"""Files of policies in a bundle."""
BUNDLE_BYTES_MAX: Final = 2_097_152
"""A bundle in canonical form."""
FILE_NAME_CHARACTERS_MAX: Final = 128

MANDATORY: Final = ("grants", "ceilings", "places", "lifeline")
"""Files of the package that are part of every policy, in the order in which a denial is told by them."""
SHIPPED: Final = ("roles", "bounds")
"""Files of the package that a bundle may replace."""

_FORM: Final = b"fastness.policy/1\n"


def make_bundle(profile: Profile, policies: tuple[PolicyText, ...]) -> PolicyBundle:
    """Put a bundle together, its files sorted by name; raises PolicyProblem when it is too large."""
    names = [one.name for one in policies]
    if len(names) > FILES_MAX:
        raise PolicyProblem(f"{len(names)} files of policies came; there may be {FILES_MAX}")
    for name in names:
        if len(name) > FILE_NAME_CHARACTERS_MAX or not name.isprintable():
            raise PolicyProblem(
                f"{name[:80]!r}: a file's name has {FILE_NAME_CHARACTERS_MAX} visible characters at most"
            )
        if names.count(name) > 1:
            raise PolicyProblem(f"two files of policies are called {name!r}")
    ordered = tuple(sorted(policies, key=lambda one: one.name))
    return PolicyBundle(hashlib.sha256(canonical_bytes(profile, ordered)).hexdigest(), profile, ordered)


def canonical_bytes(profile: Profile, policies: tuple[PolicyText, ...]) -> bytes:
    """Write profile and policies the one way: JSON, sorted keys, no spaces. Raises PolicyProblem when it is too large.

    The mandatory rules are not in it: they belong to the version of Fastness, see `mandatory_digest`.
    """
    try:
        written = _FORM + msgspec.json.encode({"profile": profile, "policies": policies}, order="sorted")
    except UnicodeEncodeError:
        raise PolicyProblem("a profile and its policies are Unicode; a lone surrogate came") from None
    if len(written) > BUNDLE_BYTES_MAX:
        raise PolicyProblem(f"the policy has {len(written)} bytes in all; {BUNDLE_BYTES_MAX} is the most")
    return written


def check_digest(bundle: PolicyBundle) -> None:
    """Check that a bundle is what its digest says; raises PolicyProblem."""
    came = make_bundle(bundle.profile, bundle.policies)
    if came.digest != bundle.digest:
        raise PolicyProblem(f"the policy's digest says {bundle.digest[:80]}, its text is {came.digest}")


def shipped_bundle(profile: Profile) -> PolicyBundle:
    """Return the package's own rules under `profile`."""
    return make_bundle(profile, tuple(_shipped(name) for name in SHIPPED))


def bundle_from_directory(directory: Path) -> PolicyBundle:
    """Read `profile.toml` and every `*.cedar` of a directory; raises PolicyProblem."""
    if not directory.is_dir():
        raise PolicyProblem(f"{directory} is not a directory; one with profile.toml and *.cedar is needed")
    profile = read_profile(_read(directory / "profile.toml", PROFILE_BYTES_MAX), "profile.toml")
    paths = sorted(directory.glob("*.cedar"))
    if len(paths) > FILES_MAX:
        raise PolicyProblem(f"{directory} has {len(paths)} files of policies; there may be {FILES_MAX}")
    return make_bundle(profile, tuple(PolicyText(path.name, _read(path, TEXT_BYTES_MAX)) for path in paths))


@cache
def mandatory_policies() -> tuple[PolicyText, ...]:
    """Return the rules that are part of every policy, whatever a bundle says."""
    return tuple(_shipped(name) for name in MANDATORY)


@cache
def mandatory_digest() -> str:
    """SHA-256 in hex of the mandatory rules and the schema, which belong to this version of Fastness."""
    texts = [schema_text(), *(one.text for one in mandatory_policies())]
    return hashlib.sha256(_FORM + msgspec.json.encode(texts)).hexdigest()


@cache
def schema_text() -> str:
    """Return the Cedar schema that every rule is validated against."""
    return (resources.files(__package__) / "rules" / "schema.cedarschema").read_text()


@cache
def _shipped(name: str) -> PolicyText:
    return PolicyText(f"{name}.cedar", (resources.files(__package__) / "rules" / f"{name}.cedar").read_text())


def _read(path: Path, most_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise PolicyProblem(f"{path.name}: more than {most_bytes} bytes, which is the most")
        return content.decode()
    except OSError as error:
        raise PolicyProblem(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise PolicyProblem(f"{path.name}: not UTF-8 at byte {error.start}") from None
