"""docs/reference/cli.md, written from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, Final

import typer

from fastness.cli.outcome import MEANINGS

EVERYWHERE: Final = ("--json", "--quiet", "--help", "--version")
"""Options that the page's opening describes once."""
_OPENING: Final = """\
# The command line

<!-- Written by `make docs` from the verbs themselves: edit src/fastness/cli, not this page. -->

`fastness VERB` works on the installation whose state is in `FASTNESS_HOME` (default: `~/.local/share/fastness`). While
it runs, verbs speak to it over its control socket. While nothing runs, those that only need its state (`tenants`,
`keys`, `policy`, `models`, `ledger`, `logs`, `config`, `doctor`) work all the same; the others say so and exit with 5.

Verbs act as the local operator, whom the socket's permission proves. With an API key in `FASTNESS_KEY` they act as that
key's principal: policy decides what it may do, and the ledger names it. `FASTNESS_API_KEY` is for asking models.

- Data goes to stdout, talk to stderr. With `--json`, which every verb takes, the data is one JSON document on one line
  (`logs`: one record a line); without it, text for people, which may change between releases.
- `--quiet` leaves out the talk, but no error. Off a terminal nothing is asked: give `--yes` where something is.
- Colour and moving progress appear on a terminal only, and not when `NO_COLOR` is set. Off a terminal no line is folded
  or shortened.
- An error says what is wrong on a line that begins with `error`, and what would help on one that begins with `try`.
- `fastness VERB --help` begins with two examples; `fastness --version` names the release.

## Exit codes

| code | meaning |
|---|---|
"""


def cli_reference(app: typer.Typer) -> str:
    """Return the reference page: what all verbs share, the exit codes, then each verb."""
    codes = "".join(f"| {int(code)} | {meaning} |\n" for code, meaning in MEANINGS.items())
    return _OPENING + codes + "".join(_verbs(typer.main.get_command(app), "fastness"))


def _verbs(group: Any, path: str) -> Iterator[str]:
    for name in group.list_commands(None):
        verb = group.commands[name]
        if verb.hidden:
            continue
        if hasattr(verb, "commands"):
            alone = f"`{path} {name}` alone means `{path} {name} {next(iter(verb.commands))}`."
            yield f"\n## `{path} {name}`\n\n{verb.help}\n{alone}\n"
            yield from _verbs(verb, f"{path} {name}")
        else:
            yield _verb(verb, f"{path} {name}")


def _verb(verb: Any, path: str) -> str:
    arguments = [param for param in verb.params if param.param_type_name == "argument"]
    usage = " ".join([path, *(param.metavar if param.required else f"[{param.metavar}]" for param in arguments)])
    depth = "#" * len(path.split())
    examples = "".join(f"$ {line}\n" for line in verb.epilog.splitlines())
    rows = [row for param in verb.params if (row := _row(param))]
    table = "\n| | |\n|---|---|\n" + "".join(rows) if rows else ""
    return f"\n{depth} `{usage}`\n\n{verb.help}\n\n```console\n{examples}```\n{table}"


def _row(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"| `{param.metavar}` | {param.help} |\n"
    if set(param.opts) & set(EVERYWHERE):
        return ""
    names = ", ".join(f"`{option}`" for option in param.opts)
    if param.is_flag:
        return f"| {names} | {param.help} |\n"
    default = param.default.value if isinstance(param.default, Enum) else param.default
    told = "" if default is None else f" Default: `{default}`."
    return f"| {names} `{param.metavar}` | {param.help}{told} |\n"
