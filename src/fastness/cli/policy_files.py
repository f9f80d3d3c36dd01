"""A policy as files: profile.toml and *.cedar in a directory, read to be sent and written to be edited."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from fastness.cli.outcome import ExitCode, Failure

PROFILE: Final = "profile.toml"
POLICY_BYTES_MAX: Final = 2_097_152
"""All files of one policy; what may be in them is said by the management API."""
_LISTS: Final = ("above", "jurisdictions", "owners")


def read_policy(path: Path) -> dict[str, Any]:
    """Return what the management API takes as a policy, from a directory or the JSON file that a bundle carried.

    Raises Failure for what is neither.
    """
    return _of_bundle(path) if path.is_file() else _of_directory(path)


def _of_bundle(path: Path) -> dict[str, Any]:
    if path.stat().st_size > 2 * POLICY_BYTES_MAX:
        raise Failure(ExitCode.USAGE, f"{path} has more than {2 * POLICY_BYTES_MAX} bytes, and no policy has.")
    try:
        policy = json.loads(read_text(path))
        return {
            "profile": profile_toml(policy["profile"]),
            "policies": {one["name"]: one["text"] for one in policy["policies"]},
        }
    except (ValueError, KeyError, TypeError):
        raise Failure(
            ExitCode.USAGE,
            f"{path} is no policy of a bundle.",
            f"name that file, or a directory with {PROFILE} and *.cedar",
        ) from None


def _of_directory(directory: Path) -> dict[str, Any]:
    if not (directory / PROFILE).is_file():
        raise Failure(
            ExitCode.USAGE,
            f"{directory} has no {PROFILE}; a policy is a directory with {PROFILE} and *.cedar.",
            "fastness policy show --output DIR writes the one in force, to begin from",
        )
    paths = sorted(directory.glob("*.cedar"))
    size_bytes = sum(path.stat().st_size for path in (directory / PROFILE, *paths))
    if size_bytes > POLICY_BYTES_MAX:
        raise Failure(
            ExitCode.USAGE,
            f"The files in {directory} have {size_bytes} bytes; a policy has {POLICY_BYTES_MAX} at most.",
        )
    return {"profile": read_text(directory / PROFILE), "policies": {path.name: read_text(path) for path in paths}}


def read_text(path: Path) -> str:
    """Return the text of a file; raises Failure when it cannot be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Failure(ExitCode.USAGE, f"{path} is not UTF-8 at byte {error.start}.") from None
    except OSError as error:
        raise Failure(ExitCode.USAGE, f"{path} cannot be read: {error.strerror}.") from None


def write_policy(policy: Mapping[str, Any], directory: Path) -> list[str]:
    """Write a policy as the API shows it, into a new or empty directory; return the names. Raises Failure, OSError."""
    if directory.exists() and any(directory.iterdir()):
        raise Failure(ExitCode.USAGE, f"{directory} is not empty; nothing was written.", "name a new directory")
    directory.mkdir(parents=True, exist_ok=True)
    texts = {PROFILE: profile_toml(policy["profile"])} | {one["name"]: one["text"] for one in policy["policies"]}
    for name, text in texts.items():
        if Path(name).name != name or not name.endswith((".cedar", PROFILE)):
            raise Failure(ExitCode.FAILED, f"The policy has a file called {name!r}, which would not be read again.")
        (directory / name).write_text(text, encoding="utf-8")
    return list(texts)


def profile_toml(profile: Mapping[str, Any]) -> str:
    """Write a profile as TOML: what read it gives the same profile again, without its comments."""
    lines = [f"{name} = {_toml(profile[name])}" for name in ("name", "title", "default")]
    for kind in ("marking", "caveat", "operator"):
        for one in profile[f"{kind}s"]:
            lines += ["", f"[[{kind}]]"]
            lines += [f"{name} = {_toml(value)}" for name, value in one.items() if name not in _LISTS or value]
    lines += ["", "[jurisdictions]"]
    lines += [f"{_toml(code)} = {_toml(name)}" for code, name in profile["jurisdictions"]]
    return "\n".join(lines) + "\n"


def _toml(value: str | Iterable[str]) -> str:
    """Write text or a list of texts; JSON's strings are TOML's, but for the one character that JSON leaves bare."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"[{', '.join(_toml(one) for one in value)}]"
