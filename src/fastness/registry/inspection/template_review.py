"""The review of an artefact's chat templates: checked, rendered, compared, and put before whoever approves."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from jinja2 import nodes

from fastness.config import RegistrySettings
from fastness.registry.inspection.conversations import conversations
from fastness.registry.inspection.port import ArtefactRefused, ContentCondition, Rendering, TemplateReview, Wish
from fastness.registry.inspection.template_flow import CONDITIONS_MAX, conditions
from fastness.registry.inspection.template_kinds import is_delimiter
from fastness.registry.inspection.template_render import Failed, Renderer, Sandbox
from fastness.registry.inspection.template_syntax import constructs, parse, strings
from fastness.registry.inspection.template_text import NamedTemplate, Templates, digest

SHOWN_MAX: Final = 2_000
"""Characters of a rendering that an approver is shown."""
WORDS_MAX: Final = 64
PROBES_MAX: Final = 128
PROBE_LENGTH_MAX: Final = 200

_NEUTRAL: Final = ("zqalphaqz", "zqomegaqz")
_OTHERS: Final = ("zqanswerqz", "zqsystemqz")
"""What the others in a conversation say when it is compared: words that no template has."""
_COMPARED: Final = ("one question", "three turns", "several turns", "tools")
_MARKUP: Final = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Z_]{1,24}\]")
_WORD: Final = re.compile(r"[^\W\d_]{2,}")


def review(templates: Templates, wish: Wish, settings: RegistrySettings, *, alone: bool) -> TemplateReview | None:
    """Review all templates of an artefact; None when it has none.

    Raises ArtefactRefused, also when they are suspicious and the wish does not accept them by digest.
    """
    whole = templates.whole()
    if whole is None:
        return None
    each = [_review_one(template, settings, alone=alone) for template in templates.all]
    sha256 = digest(whole)
    found = [condition for one in each for condition in one.conditions]
    known = sha256 in wish.known_templates
    suspects = [condition for condition in found if condition.suspicious]
    if suspects and not known and wish.accept_template_sha256 != sha256:
        first = suspects[0]
        raise ArtefactRefused(
            "template.content_conditional",
            f"line {first.line}: depends on what is written ({first.what}"
            + (f"; adds {first.adds!r}" if first.adds else "")
            + f"). Read the template; whoever accepts it names its digest {sha256}",
            templates.all[0].file,
        )
    return TemplateReview(
        sha256=sha256,
        known=known,
        suspicious=bool(suspects) and not known,
        renderings=tuple(rendering for one in each for rendering in one.renderings),
        conditions=tuple(found[:CONDITIONS_MAX]),
        constructs=tuple(sorted({word for one in each for word in one.constructs})),
        words=tuple(dict.fromkeys(word for one in each for word in one.words))[:WORDS_MAX],
    )


def _review_one(template: NamedTemplate, settings: RegistrySettings, *, alone: bool) -> TemplateReview:
    sandbox = Sandbox()
    tree = parse(sandbox, template.text, template.file)
    try:
        renderer = Renderer(sandbox, tree, template.file, settings.template_timeout_s, alone=alone)
    except Failed as error:
        raise ArtefactRefused("template.syntax", f"cannot be compiled: {error}", template.file) from None
    renderings = tuple(
        _render(renderer, name, each) for name, each in conversations("A question?", "An answer.", "Be brief.")
    )
    if all(rendering.failure for rendering in renderings):
        raise ArtefactRefused(
            "template.fails", f"renders no standard conversation: {renderings[0].failure}", template.file
        )
    found = (*conditions(tree), *_differences(tree, renderer))
    words = (text.strip()[:PROBE_LENGTH_MAX] for text, _ in strings(tree) if _words(text))
    return TemplateReview(
        sha256=digest(template.text),
        known=False,
        suspicious=any(condition.suspicious for condition in found),
        renderings=renderings,
        conditions=found,
        constructs=constructs(tree),
        words=tuple(dict.fromkeys(words)),
    )


def _render(renderer: Renderer, name: str, conversation: Mapping[str, Any]) -> Rendering:
    try:
        text = renderer.render(conversation)
    except Failed as error:
        return Rendering(name, 0, "", str(error))
    return Rendering(name, len(text.encode(errors="replace")), text[:SHOWN_MAX])


def _differences(tree: nodes.Template, renderer: Renderer) -> tuple[ContentCondition, ...]:
    """Render with each text of the template put into people's mouths, and find what else that changes.

    The template's own words are compared, without those that people said: they may be moved, cut or repeated.
    """
    found = list(_many_turns(renderer))
    probes = {text.strip(): line for text, line in strings(tree) if text.strip() and len(text) <= PROBE_LENGTH_MAX}
    for probe, line in list(probes.items())[:PROBES_MAX]:
        if not _WORD.search(probe):
            continue
        for said in (probe, f"{_NEUTRAL[0]} {probe} {_NEUTRAL[1]}"):
            changed = _changed(renderer, said, probe)
            if changed is not None:
                found.append(ContentCondition(line, f"somebody says {probe[:60]!a}", changed, suspicious=True))
                break
    return tuple(found)


def _changed(renderer: Renderer, said: str, probe: str) -> str | None:
    """Return the own words that appear or vanish when people say `said`; None when nothing changes."""
    neutral, other = dict(conversations(" ".join(_NEUTRAL), *_OTHERS)), dict(conversations(said, *_OTHERS))
    for name in _COMPARED:
        before, after = (_own_words(renderer, each[name], probe) for each in (neutral, other))
        if before != after:
            appeared, vanished = after - before, before - after
            return " ".join((appeared or vanished).elements())[:SHOWN_MAX]
    return None


def _own_words(renderer: Renderer, conversation: Mapping[str, Any], probe: str) -> Counter[str]:
    try:
        rest = renderer.render(conversation).casefold()
    except Failed as error:
        rest = str(error).casefold()
    for said in (*_NEUTRAL, *_OTHERS, *sorted(_WORD.findall(probe.casefold()), key=len, reverse=True)):
        rest = rest.replace(said, " ")
    return Counter(_words(rest))


def _many_turns(renderer: Renderer) -> Iterator[ContentCondition]:
    """Find words that come up only in a long conversation."""
    named = dict(conversations(" ".join(_NEUTRAL), *_OTHERS))
    few = {word for name in _COMPARED for word in _own_words(renderer, named[name], "")}
    late = sorted(set(_own_words(renderer, named["many turns"], "")) - few)
    if late:
        yield ContentCondition(1, "a long conversation", " ".join(late)[:SHOWN_MAX], suspicious=True)


def _words(text: str) -> list[str]:
    """Return the words of a text that are no delimiters."""
    return [] if is_delimiter(text) else _WORD.findall(_MARKUP.sub(" ", text))
