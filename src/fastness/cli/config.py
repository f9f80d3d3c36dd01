"""`fastness config`: the settings in force here, and where each came from."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from fastness.cli import render
from fastness.cli.client import management
from fastness.cli.composition import Composition
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.render import Column
from fastness.cli.running import answers, run_path
from fastness.cli.talk import Json, Quiet, Talk, reading_width
from fastness.config import SECTIONS, Explanation

SHOW_EXAMPLES = """\
fastness config show
fastness config show > config.toml"""
EXPLAIN_EXAMPLES = """\
fastness config explain
fastness config explain engine.slots"""

File = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file, instead of config.toml in FASTNESS_HOME."),
]
COLUMNS = (Column("SETTING"), Column("VALUE"), Column("SOURCE"), Column("MEANING", spare=1))


def show(ctx: typer.Context, config: File = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Show every setting, as a config.toml that would set it so."""
    talk = Talk(as_json, quiet)
    explained = _explained(ctx, config, talk)
    if as_json:
        talk.document({name: row.value for name, row in explained.items()})
    else:
        talk.text(toml(explained))


def explain(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One setting, such as gateway.port.")] = None,
    config: File = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say where each setting's value came from.

    It is a flag, an environment variable, the settings file, or the default. With NAME: all about one setting.
    """
    talk = Talk(as_json, quiet)
    explained = _explained(ctx, config, talk)
    if name is not None and name not in explained:
        near = difflib.get_close_matches(name, explained, n=1)
        raise Failure(
            ExitCode.NOT_FOUND,
            f"{name} is not a setting." + (f" Did you mean {near[0]}?" if near else ""),
            "fastness config explain lists them all",
        )
    if as_json:
        rows = [_document(row) for row in explained.values()]
        talk.document(rows if name is None else _document(explained[name]))
    elif name is None:
        talk.table(COLUMNS, [(row.name, _toml(row.value), row.source, row.doc) for row in explained.values()], "")
    else:
        talk.text(render.pairs(facts(explained[name]), reading_width(sys.stdout)))


def toml(explained: Mapping[str, Explanation]) -> str:
    """Write the settings as TOML; what is not the default says where it came from."""
    lines: list[str] = []
    for section in SECTIONS:
        lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        for name, row in explained.items():
            if name.startswith(f"{section}."):
                why = "" if row.source == "default" else f"  # {row.source}; default {_toml(row.default)}"
                lines.append(f"{name.partition('.')[2]} = {_toml(row.value)}{why}")
    return "\n".join(lines)


def facts(row: Explanation) -> list[tuple[str, str]]:
    """Return all that is known of one setting, as named facts."""
    section, _, leaf = row.name.partition(".")
    return [
        ("setting", row.name),
        ("value", _toml(row.value)),
        ("source", row.source),
        ("default", _toml(row.default)),
        ("meaning", row.doc),
        ("set it", f"`{leaf} = …` under [{section}] in config.toml, or ${variable(row.name)}"),
    ]


def variable(name: str) -> str:
    """Return the environment variable that sets `name`."""
    return f"FASTNESS__{name.replace('.', '__').upper()}"


def _document(row: Explanation) -> dict[str, object]:
    return {
        "name": row.name,
        "value": row.value,
        "source": row.source,
        "default": row.default,
        "meaning": row.doc,
        "variable": variable(row.name),
    }


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else str(value)


def _explained(ctx: typer.Context, config: Path | None, talk: Talk) -> Mapping[str, Explanation]:
    """Read the settings as this shell has them; say so when what runs was started with others."""
    composition: Composition = ctx.obj
    settings, explained = composition.load_settings({}, config)
    if answers(run_path(settings) / "control.sock"):
        with management(composition, settings, must_run=True) as api:
            for row in api.get("/config")["settings"]:
                if row["name"] in explained and row["value"] != explained[row["name"]].value:
                    value = _toml(row["value"])
                    talk.say(f"What runs here was started with {row['name']} = {value} ({row['source']}).")
    return explained
