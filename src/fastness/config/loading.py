"""Reads the settings. Flags beat the environment, which beats the file, which beats the defaults.

A setting `gateway.port` is `--port` on the command line where offered, `FASTNESS__GATEWAY__PORT` in the environment,
`port` under `[gateway]` in `config.toml`.
"""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, get_type_hints

from fastness.config.settings import SECTIONS, Settings
from fastness.core.store_url import STORE_URL_NEEDS, is_store_url

_KINDS: Final = {int: "a whole number", float: "a number", str: "text"}
RUN_PATH_BYTES_MAX: Final = 60
"""Unix socket paths end at 107 bytes; what we put below the run directory needs the rest."""


class ConfigError(Exception):
    """A setting that cannot be used; the message says which, what came, from where, and what was needed."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where one setting's value came from: `source` is `default`, a file, an environment variable or a flag."""

    name: str
    value: object
    source: str
    default: object
    doc: str


def load(
    environ: Mapping[str, str], flags: Mapping[str, object] | None = None
) -> tuple[Settings, dict[str, Explanation]]:
    """Read the settings and remember where each came from.

    `flags` maps dotted names to values (None: not given). Raises ConfigError for an unknown name, a value of the
    wrong type or outside its range, or a file that cannot be read.
    """
    home = Path(environ.get("FASTNESS_HOME") or Path(environ.get("HOME", "/")) / ".local/share/fastness").absolute()
    explained = {
        f"{section}.{item.name}": Explanation(
            f"{section}.{item.name}", item.default, "default", item.default, item.metadata["doc"]
        )
        for section in SECTIONS
        for item in fields(_section_type(section))
    }
    file = Path(environ.get("FASTNESS_CONFIG") or home / "config.toml")
    for name, value, source in (*_from_file(file), *_from_environ(environ), *_from_flags(flags or {})):
        if name not in explained:
            raise ConfigError(_unknown(name, source, explained))
        explained[name] = replace(explained[name], value=_checked(name, value, source), source=source)
    tree = {section: _section_type(section)(**_values(section, explained)) for section in SECTIONS}
    return Settings(home=home, **tree), explained


def run_directory(home: Path, uid: int) -> Path:
    """Return where sockets and snapshots live: below `home`, or, where that path is too long for sockets, in /tmp."""
    below = home / "run"
    if len(bytes(below)) <= RUN_PATH_BYTES_MAX:
        return below
    return Path("/tmp") / f"fastness-{uid}-{hashlib.sha256(bytes(home)).hexdigest()[:12]}"  # noqa: S108 - made 0700 and checked by its maker


def _section_type(section: str) -> Any:
    return _section_types()[section]


@cache
def _section_types() -> dict[str, Any]:
    return get_type_hints(Settings)


def _values(section: str, explained: Mapping[str, Explanation]) -> dict[str, Any]:
    return {item.name: explained[f"{section}.{item.name}"].value for item in fields(_section_type(section))}


def _from_file(file: Path) -> list[tuple[str, object, str]]:
    if not file.exists():
        return []
    try:
        tree = tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read as TOML: {error}") from error
    found: list[tuple[str, object, str]] = []
    for section, values in tree.items():
        if not isinstance(values, dict):
            raise ConfigError(f"{file}: `{section}` stands outside any section; sections are {', '.join(SECTIONS)}")
        found += [(f"{section}.{name}", value, str(file)) for name, value in values.items()]
    return found


def _from_environ(environ: Mapping[str, str]) -> list[tuple[str, object, str]]:
    found: list[tuple[str, object, str]] = []
    for variable, value in sorted(environ.items()):
        if variable.startswith("FASTNESS__"):
            found.append((".".join(variable.lower().split("__")[1:]), value, f"${variable}"))
    return found


def _from_flags(flags: Mapping[str, object]) -> list[tuple[str, object, str]]:
    return [(name, value, "flag") for name, value in flags.items() if value is not None]


def _checked(name: str, value: object, source: str) -> object:
    section, _, leaf = name.partition(".")
    if name == "store.url" and not (isinstance(value, str) and is_store_url(value)):
        raise ConfigError(f"{name} (from {source}) needs to be empty, or {STORE_URL_NEEDS}")
    item = next(item for item in fields(_section_type(section)) if item.name == leaf)
    typed = _typed(name, value, source, type(item.metadata["default"]))
    low, high, one_of = item.metadata["low"], item.metadata["high"], item.metadata["one_of"]
    # Written so that nan, which compares as false with everything, is outside every range.
    if (low is not None and not typed >= low) or (high is not None and not typed <= high):
        raise ConfigError(f"{name} (from {source}) is {typed}; it may be from {low} to {high}")
    if one_of and typed not in one_of:
        raise ConfigError(f"{name} (from {source}) is {typed!r}; it may be one of {', '.join(one_of)}")
    return typed


def _typed(name: str, value: object, source: str, wanted: type[int] | type[float] | type[str]) -> Any:
    accepted = {int: (int, str), float: (int, float, str), str: (str,)}[wanted]
    try:
        if isinstance(value, accepted) and not isinstance(value, bool):
            return wanted(value)
    except ValueError:
        pass
    raise ConfigError(f"{name} (from {source}) is {value!r}; it needs {_KINDS[wanted]}")


def _unknown(name: str, source: str, known: Mapping[str, Explanation]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"{name} (from {source}) is not a setting." + (f" Did you mean {near[0]}?" if near else "")
