"""The inspection port: what is asked, what was found, and the refusal that names a rule."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fastness.core.admission import Artefact, ArtefactFile, ArtefactKind
from fastness.registry.inspection.rules import RULES


class ArtefactRefused(Exception):  # noqa: N818 - an outcome of the product
    """An artefact that breaks a rule. `rule` is an id of `RULES`, `file` the path within the artefact (or its name).

    Raises KeyError for a rule outside the table.
    """

    def __init__(self, rule: str, message: str, file: str) -> None:
        super().__init__(f"{file}: {message} (rule {RULES[rule].id})")
        self.rule = rule
        self.message = message
        self.file = file


class InspectionUnavailable(Exception):  # noqa: N818 - a state of the machine
    """No sealed process could be started, so nothing was inspected; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class TensorOutline:
    """A tensor's name, as its file spells it, and its shape, outermost dimension first."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Base:
    """The model that an adapter is held to.

    `digest` names its weights: the SHA-256 of the one file, or of the manifest where there are several. `names` are
    those it goes by. `format` is `gguf` or `safetensors`, and says how `tensors` are named.
    """

    digest: str
    format: str
    architecture: str
    names: tuple[str, ...]
    tensors: tuple[TensorOutline, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the importer says of an artefact. `base` is needed for an adapter.

    `accept_template_sha256` is given by whoever has read the template: one that is `suspicious` is refused otherwise.
    `known_templates` are digests of templates that were reviewed before; they are not suspicious.
    """

    name: str
    kind: ArtefactKind
    licence: str
    provenance: str
    base: Base | None = None
    accept_template_sha256: str | None = None
    known_templates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rendering:
    """How a standard conversation came out. `text` is cut; `failure` says why there is none, in one line."""

    conversation: str
    size_bytes: int
    text: str
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class ContentCondition:
    """A place where the template looks at what people wrote, and not only at who wrote it.

    `line` is the line of the template, `what` says what is looked at, in one line. `adds` is the text that appears when
    it holds (empty when unknown). `suspicious` is false for delimiters, such as a reasoning block that is cut out.
    """

    line: int
    what: str
    adds: str
    suspicious: bool


@dataclass(frozen=True, slots=True)
class TemplateReview:
    """What an approver should look at. `sha256` is the digest of `Inspected.template`; `known`, that it is listed.

    `constructs` are the filters, tests, functions and methods it uses. `words` are the texts of its own that are not
    delimiters. `suspicious` holds when a template that is not known behaves differently for other words.
    """

    sha256: str
    known: bool
    suspicious: bool
    renderings: tuple[Rendering, ...]
    conditions: tuple[ContentCondition, ...]
    constructs: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was found. `artefact` has the wish's name, licence and provenance, and no signer.

    `signatures` are detached signatures beside the files; they are no part of the artefact's manifest. `template` is
    the chat template's text (several: joined, each under a heading), and `template_review` belongs to it. `header` has
    a few lines for an approver. `tensors` are those of the weights.
    """

    artefact: Artefact
    signatures: tuple[ArtefactFile, ...]
    template: str | None
    template_review: TemplateReview | None
    header: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    tensors: tuple[TensorOutline, ...]

    def as_base(self) -> Base:
        """Return what adapters for this model are held to."""
        weights = [file for file in self.artefact.files if file.path.endswith((".gguf", ".safetensors"))]
        is_file = len(weights) == 1 and weights[0].path.endswith(".gguf")  # else it is served as a folder
        digest = weights[0].digest if is_file else self.artefact.digest
        return Base(digest, self.artefact.format, self.artefact.architecture, self.names, self.tensors)


class Inspector(Protocol):
    """Reads artefacts."""

    def inspect(self, path: Path, wish: Wish) -> Inspected:
        """Read the file or directory at `path` and return what it is; it blocks, for a second or so per gigabyte.

        Raises ArtefactRefused naming the rule; InspectionUnavailable when nothing could be inspected.
        """
        ...
