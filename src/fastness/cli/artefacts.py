"""`fastness models import | inspect | admit | revoke | export`: how something becomes a model here, and leaves."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from fastness.cli import render
from fastness.cli.client import management_of
from fastness.cli.keys import lifetime_s
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.review import print_review
from fastness.cli.talk import Json, Quiet, Talk, Yes
from fastness.core.admission import ArtefactKind

PATIENCE_S: Final = 86_400.0
"""Large models are copied and hashed more than once; the answer comes when that is done."""
NAME_CHARS: Final = 63

IMPORT_EXAMPLES = """\
fastness models import /media/stick/qwen3-8b.gguf --licence Apache-2.0 --provenance "vendor's disc of 2026-11-20"
fastness models import /media/stick/monday.bundle"""
INSPECT_EXAMPLES = """\
fastness models inspect qwen3-8b
fastness models inspect /media/stick/qwen3-8b.gguf"""
ADMIT_EXAMPLES = """\
fastness models admit qwen3-8b --ceiling OFFICIAL
FASTNESS_KEY=$SECOND_APPROVER fastness models admit qwen3-8b --ceiling OFFICIAL-SENSITIVE"""
REVOKE_EXAMPLES = """\
fastness models revoke qwen3-8b
fastness models revoke qwen3-8b --yes"""
EXPORT_EXAMPLES = """\
fastness models export --output /media/stick/monday.bundle
fastness models export qwen3-8b --output /media/stick/monday --directory --no-policy"""

Name = Annotated[str, typer.Argument(metavar="NAME", help="As fastness models lists it.")]
Kind = Annotated[ArtefactKind, typer.Option(metavar="KIND", help="model or adapter.")]
BaseName = Annotated[str | None, typer.Option("--base", metavar="NAME", help="The model that an adapter is for.")]
Signature = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Its OpenSSF signature, when it does not lie beside the files; must be trusted."),
]
AcceptTemplate = Annotated[
    str | None,
    typer.Option(
        "--accept-template", metavar="SHA256", help="Digest of a chat template that is refused unless somebody read it."
    ),
]


def import_(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A GGUF file, a directory, or a bundle.")],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to call it here (default: after the file).")
    ] = None,
    kind: Kind = ArtefactKind.MODEL,
    licence: Annotated[str, typer.Option(metavar="SPDX", help="Identifier of its licence.")] = "NOASSERTION",
    provenance: Annotated[str, typer.Option(metavar="TEXT", help="Where it came from, in your words.")] = "not said",
    base: BaseName = None,
    signature: Signature = None,
    accept_template: AcceptTemplate = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take a model, an adapter or a bundle into quarantine.

    It is copied, then the copy is read in a sealed process. Nothing of it may be loaded before it is admitted.
    """
    talk = Talk(as_json, quiet)
    from fastness.registry.bundle.archive import is_bundle

    talk.say(f"Copying {path} into quarantine and inspecting the copy.")
    with management_of(ctx) as api:
        if is_bundle(path):
            if name or base or signature:
                raise Failure(ExitCode.USAGE, f"{path} is a bundle: it says itself what is in it.", "only the path")
            wish = {"path": str(path.absolute()), "accept_template_sha256": accept_template}
            answer = api.post("/bundles/import", wish, timeout_s=PATIENCE_S)
        else:
            wish = _wish(path, name, kind, licence, provenance, base, signature, accept_template)
            answer = api.post("/artefacts", wish, timeout_s=PATIENCE_S)
    if as_json:
        talk.document(answer)
    elif "bundle" in answer:
        _say_taken(talk, answer)
    else:
        print_review(talk, answer, template=False)
        shown = answer["artefact"]["name"]
        talk.say(
            f"In quarantine. Next: fastness models inspect {shown}; fastness models admit {shown} --ceiling MARKING"
        )


def inspect(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME|PATH", help="Something imported, or a file or directory anywhere.")
    ],
    kind: Kind = ArtefactKind.MODEL,
    base: BaseName = None,
    signature: Signature = None,
    accept_template: AcceptTemplate = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what an approver should see.

    The files with their digests, the licence, who signed, the header, and the chat template with what is odd in it.
    """
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        if "/" in name or Path(name).exists():
            wish = _wish(Path(name), None, kind, "NOASSERTION", "not said", base, signature, accept_template)
            answer = api.post("/artefacts/inspect", wish, timeout_s=PATIENCE_S)
        else:
            answer = api.get(f"/artefacts/{quote(name, safe='')}")
    if as_json:
        talk.document(answer)
    else:
        print_review(talk, answer, template=True)


def admit(
    ctx: typer.Context,
    name: Name,
    ceiling: Annotated[
        str, typer.Option(metavar="MARKING", help='The most that it may be used for: "OFFICIAL-SENSITIVE; CAVEAT".')
    ],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Agree to something imported, up to a marking.

    It is admitted when enough approvers have agreed. You are the principal of the key in FASTNESS_KEY; without it, the
    local operator.
    """
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.post(f"/artefacts/{quote(name, safe='')}/admit", {"ceiling": ceiling}, timeout_s=PATIENCE_S)
    if as_json:
        talk.document(answer)
        return
    found, by = answer["artefact"], ", ".join(answer["approvers"])
    if found["ceiling"] is not None:
        talk.text(f"{name} is admitted for {found['ceiling']}; agreed: {by}")
    if len(answer["approvers"]) < answer["needed"]:
        talk.text(f"{name} has {len(answer['approvers'])} of {answer['needed']} approvers for {answer['asked']}: {by}")
        talk.say(f'Another principal: FASTNESS_KEY=… fastness models admit {name} --ceiling "{answer["asked"]}"')
    elif found["kind"] == "model":
        talk.say(f"{_how_to_serve(found)}")


def revoke(ctx: typer.Context, name: Name, as_json: Json = False, quiet: Quiet = False, yes: Yes = False) -> None:
    """Take an admission back, for good.

    Engines that have it loaded are ended at once. These bytes are never loaded, or imported, again.
    """
    talk = Talk(as_json, quiet, yes)
    talk.confirm(f"Revoke {name}, for good?")
    with management_of(ctx) as api:
        answer = api.post(f"/artefacts/{quote(name, safe='')}/revoke")
    if as_json:
        talk.document(answer)
    talk.say(f"{name} is revoked: engines that have it loaded end now, and start again without it if it is an adapter.")


def export(
    ctx: typer.Context,
    output: Annotated[Path, typer.Option(metavar="PATH", help="The bundle to write; nothing is overwritten.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]…", help="What to carry (default: all that is admitted).")
    ] = None,
    directory: Annotated[bool, typer.Option("--directory", help="Write a directory, not one file.")] = False,
    policy: Annotated[bool, typer.Option(help="Carry the policy in force too.")] = True,
    expires: Annotated[
        int | None, typer.Option(parser=lifetime_s, metavar="SPAN", help="To be used within this: 30d (default: 90d).")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write what is admitted here to a signed bundle.

    It is carried across an air gap, and imported there.
    """
    talk = Talk(as_json, quiet)
    wish = {"output": str(output.absolute()), "names": names or [], "directory": directory, "policy": policy}
    with management_of(ctx) as api:
        answer = api.post("/bundles", wish | ({"lifetime_s": expires} if expires else {}), timeout_s=PATIENCE_S)
    if as_json:
        talk.document(answer)
        return
    facts = (
        ("bundle", f"{output}  version {answer['version']} of {answer['bundle'][:8]}…"),
        ("carries", ", ".join(answer["artefacts"]) or "no model or adapter"),
        ("policy", f"sha256 {answer['policy']}" if answer["policy"] else "none"),
        ("expires", render.moment(answer["expires_s"])),
        ("signed by", answer["signer"]),
    )
    talk.text(render.pairs(facts, talk.width))
    talk.say(f"Where it goes, {answer['public_key']} belongs into FASTNESS_HOME/trust, brought by another way.")


def _wish(
    path: Path,
    name: str | None,
    kind: ArtefactKind,
    licence: str,
    provenance: str,
    base: str | None,
    signature: Path | None,
    accept_template: str | None,
) -> dict[str, Any]:
    return {
        "path": str(path.absolute()),
        "name": name or name_after(path),
        "kind": kind.value,
        "licence": licence,
        "provenance": provenance,
        "base": base,
        "signature": str(signature.absolute()) if signature else None,
        "accept_template_sha256": accept_template,
    }


def name_after(path: Path) -> str:
    """Make a name out of a file's: `Qwen3-8B.Q4_K_M.gguf` becomes `qwen3-8b-q4-k-m`."""
    stem = path.stem if path.suffix == ".gguf" else path.name
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:NAME_CHARS].strip("-") or "model"


def _how_to_serve(found: dict[str, Any]) -> str:
    if not found["served_by"].startswith("the embedded engine"):
        return f"It is for {found['served_by']}."
    setting = "ENGINE__CHAT_MODEL"
    return f"Serve it: FASTNESS__{setting}={found['name']} fastness up"


def _say_taken(talk: Talk, answer: dict[str, Any]) -> None:
    new = ", ".join(one["name"] for one in answer["new"])
    facts = [
        ("bundle", f"version {answer['version']} of {answer['bundle'][:8]}…"),
        ("signed by", answer["signer"]),
        ("new", new or "nothing"),
        ("known", ", ".join(f"{one['name']} ({one['state']})" for one in answer["known"]) or "nothing"),
        ("policy", answer["policy"] or "none"),
    ]
    talk.text(render.pairs(facts, talk.width))
    if answer["new"]:
        talk.say("In quarantine, whoever admitted them elsewhere. Next: fastness models inspect NAME")
    if answer["policy"]:
        talk.say("The policy is not in force. Look at what it would change before applying it: fastness policy diff")


ACTS: Final[dict[str, tuple[Callable[..., None], str]]] = {
    "import": (import_, IMPORT_EXAMPLES),
    "inspect": (inspect, INSPECT_EXAMPLES),
    "admit": (admit, ADMIT_EXAMPLES),
    "revoke": (revoke, REVOKE_EXAMPLES),
    "export": (export, EXPORT_EXAMPLES),
}
"""The acts of this file, below `fastness models`."""
