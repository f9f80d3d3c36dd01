"""The command `fastness`: its verbs, and help that leads with examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from fastness import __version__
from fastness.cli import (
    apply,
    artefacts,
    batches,
    cluster,
    config,
    deploy,
    doctor,
    events,
    evidence,
    explain,
    join,
    keys,
    ledger,
    ledger_proof,
    limits,
    logs,
    models,
    nodes,
    perimeter,
    plan,
    policy,
    processes,
    ps,
    retention,
    roll,
    run,
    sbom,
    scale,
    shares,
    simulate,
    stop,
    tenants,
    trust,
    undeploy,
    up,
    verify,
    why,
    witness,
)
from fastness.cli.composition import Composition
from fastness.cli.outcome import spoken
from fastness.cli.talk import tell_failure

Act = Callable[..., None]

EXAMPLES = """\
fastness up
fastness run smollm2-135m-instruct "What is a fastness?\""""


ORDER = (
    "up",
    "run",
    "ps",
    "models",
    "apply",
    "deploy",
    "scale",
    "roll",
    "undeploy",
    "why",
    "events",
    "plan",
    "nodes",
    "init",
    "node",
    "shares",
    "tenants",
    "keys",
    "limits",
    "usage",
    "retention",
    "batches",
    "files",
    "policy",
    "logs",
    "explain",
    "ledger",
    "verify",
    "witness",
    "perimeter",
    "evidence",
    "simulate",
    "sbom",
    "doctor",
    "config",
    "stop",
)
"""How help lists the verbs: as one meets them."""


class Verb(TyperCommand):
    """A verb whose help begins with its examples (given as `epilog`, one a line)."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write examples, usage, what it does, options."""
        _format_help(self, ctx, formatter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Name required arguments without braces around them."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


class Noun(TyperGroup):
    """A noun with acts below it; the noun alone means its first act (`fastness keys` lists keys)."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write examples, usage, what it is, acts."""
        _format_help(self, ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the first act in when none is named."""
        asks_help = bool({"-h", "--help"} & set(args))
        if not asks_help and (not args or args[0].startswith("-")):
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)


class Fastness(TyperGroup):
    """The root: turns what verbs raise into words on stderr and an exit code."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write examples, usage, what it is, verbs."""
        _format_help(self, ctx, formatter)

    def list_commands(self, ctx: Any) -> list[str]:
        """List the verbs as one meets them, the hidden ones last."""
        return sorted(super().list_commands(ctx), key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; a failure is told and becomes its exit code."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # typer ends quietly: whoever read our output has seen enough
        except Exception as error:
            failure = spoken(error)
            if failure is None:
                raise
            tell_failure(failure)
            raise typer.Exit(failure.exit_code) from None


def build_app(composition: Composition) -> typer.Typer:
    """Return the command line, with `composition` behind its verbs."""
    app = typer.Typer(
        cls=Fastness,
        epilog=EXAMPLES,
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "obj": composition, "max_content_width": 100},
    )
    app.callback()(fastness)
    _verb(app, "up", up.up, up.EXAMPLES)
    _verb(app, "run", run.run, run.EXAMPLES)
    _verb(app, "ps", ps.ps, ps.EXAMPLES)
    shown: dict[str, tuple[Act, str]] = {"list": (models.models, models.EXAMPLES)}
    _noun(app, "models", "Models and adapters: served, imported, admitted.", shown | artefacts.ACTS)
    _fleet(app)
    _noun(app, "tenants", "The departments that are served and charged.", tenants.ACTS)
    _noun(app, "keys", "Credentials of tenants, each shown once.", keys.ACTS)
    _noun(app, "limits", "What tenants, keys and models may use.", limits.ACTS)
    _noun(app, "retention", "What departments have kept, sealed; opened by two people.", retention.ACTS)
    _verb(app, "usage", limits.usage, limits.USAGE_EXAMPLES)
    _noun(app, "batches", "Many requests that can wait, of all tenants.", batches.ACTS)
    _noun(app, "files", "Files that tenants keep for batches.", batches.FILE_ACTS)
    _noun(app, "policy", "Who may do what, shown, tried, compared and changed.", {
        "show": (policy.show, policy.SHOW_EXAMPLES),
        "history": (policy.history, policy.HISTORY_EXAMPLES),
        "test": (policy.hold, policy.TEST_EXAMPLES),
        "explain": (policy.explain, policy.EXPLAIN_EXAMPLES),
        "diff": (policy.diff, policy.DIFF_EXAMPLES),
        "apply": (policy.apply, policy.APPLY_EXAMPLES),
    })  # fmt: skip
    _verb(app, "logs", logs.logs, logs.EXAMPLES)
    _verb(app, "explain", explain.explain, explain.EXAMPLES)
    _proof(app)
    _verb(app, "simulate", simulate.simulate, simulate.EXAMPLES)
    _verb(app, "sbom", sbom.sbom, sbom.EXAMPLES)
    _verb(app, "doctor", doctor.doctor, doctor.EXAMPLES)
    _noun(app, "config", "The settings in force, and where each came from.", {
        "show": (config.show, config.SHOW_EXAMPLES),
        "explain": (config.explain, config.EXPLAIN_EXAMPLES),
    })  # fmt: skip
    _verb(app, "stop", stop.stop, stop.EXAMPLES)
    app.command("gateway", hidden=True)(processes.gateway)
    app.command("control", hidden=True)(processes.control)
    app.command("door", hidden=True)(processes.door)
    return app


def _proof(app: typer.Typer) -> None:
    _noun(app, "ledger", "The record behind every answer, read and verified.", {
        "tail": (ledger.tail, ledger.TAIL_EXAMPLES),
        "show": (ledger.show, ledger.SHOW_EXAMPLES),
        "find": (ledger.find, ledger.FIND_EXAMPLES),
        "verify": (ledger_proof.verify, ledger_proof.VERIFY_EXAMPLES),
        "checkpoint": (ledger_proof.checkpoint, ledger_proof.CHECKPOINT_EXAMPLES),
        "trust": (trust.trust, trust.EXAMPLES),
    })  # fmt: skip
    _verb(app, "verify", verify.verify, verify.EXAMPLES)
    _noun(app, "witness", "Another department's eye on the ledger.", {
        "serve": (witness.serve, witness.SERVE_EXAMPLES),
        "init": (witness.init, witness.INIT_EXAMPLES),
        "show": (witness.show, witness.SHOW_EXAMPLES),
    })  # fmt: skip
    _noun(app, "perimeter", "The proof that nothing leaves this machine.", {
        "prove": (perimeter.prove, perimeter.PROVE_EXAMPLES),
        "verify": (perimeter.verify, perimeter.VERIFY_EXAMPLES),
    })  # fmt: skip
    _noun(app, "evidence", "What an auditor gets, to verify alone.", evidence.ACTS)


def _fleet(app: typer.Typer) -> None:
    _verb(app, "apply", apply.apply, apply.EXAMPLES)
    _verb(app, "deploy", deploy.deploy, deploy.EXAMPLES)
    _verb(app, "scale", scale.scale, scale.EXAMPLES)
    _verb(app, "roll", roll.roll, roll.EXAMPLES)
    _verb(app, "undeploy", undeploy.undeploy, undeploy.EXAMPLES)
    _verb(app, "why", why.why, why.EXAMPLES)
    _verb(app, "events", events.events, events.EXAMPLES)
    _noun(app, "plan", "What would happen, and what would be needed.", plan.ACTS)
    _noun(app, "nodes", "The machines that replicas run on.", nodes.ACTS)
    _noun(app, "init", "What is made once for an installation.", cluster.INIT_ACTS)
    _noun(
        app,
        "node",
        "Hosts of a cluster: certified, invited, revoked.",
        cluster.NODE_ACTS | {"join": (join.join, join.EXAMPLES)},
    )
    _noun(app, "shares", "What departments are guaranteed of the devices.", shares.ACTS)


def fastness(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=lambda asked: _tell_version(asked), help="Say which this is."
        ),
    ] = False,
) -> None:
    """Large language models inside your own perimeter, behind the OpenAI API.

    All state lives in FASTNESS_HOME (default: ~/.local/share/fastness).
    """


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fastness {__version__}")
        raise typer.Exit


def _verb(app: typer.Typer, name: str, act: Act, examples: str) -> None:
    app.command(name, cls=Verb, epilog=examples)(act)


def _noun(app: typer.Typer, name: str, meaning: str, acts: dict[str, tuple[Act, str]]) -> None:
    noun = typer.Typer(cls=Noun, rich_markup_mode=None)
    for act_name, (act, examples) in acts.items():
        _verb(noun, act_name, act, examples)
    leading = [examples.splitlines()[0] for _, examples in acts.values()][:2]
    app.add_typer(noun, name=name, help=meaning, epilog="\n".join(leading))


def _format_help(command: Any, ctx: Any, formatter: Any) -> None:
    with formatter.section("Examples"):
        for line in (command.epilog or "").splitlines():
            formatter.write(f"{'':{formatter.current_indent}}{line}\n")
    formatter.write_paragraph()
    command.format_usage(ctx, formatter)
    command.format_help_text(ctx, formatter)
    command.format_options(ctx, formatter)
