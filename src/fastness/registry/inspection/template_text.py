"""The chat templates of an artefact: found wherever formats keep them, and joined into one text for review."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import Any, Final

from fastness.registry.inspection.port import ArtefactRefused
from fastness.registry.inspection.weights import Metadata

DEFAULT: Final = "default"
TEMPLATES_MAX: Final = 16
JINJA_FILE: Final = "chat_template.jinja"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
_KEY: Final = "tokenizer.chat_template"
_LIST_KEY: Final = "tokenizer.chat_templates"
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class NamedTemplate:
    """One template: `name` is `default`, or what the format calls a variant; `file` is where it was found."""

    name: str
    text: str
    file: str


class Templates:
    """The templates found so far, by name."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._found: dict[str, NamedTemplate] = {}

    def add_metadata(self, metadata: Metadata) -> None:
        """Take those that a GGUF header has; raises ArtefactRefused."""
        for key in metadata.fields:
            if key == _KEY:
                self._add(DEFAULT, metadata.text(key), metadata.file)
            elif key.startswith(_KEY + "."):
                self._add(key.removeprefix(_KEY + "."), metadata.text(key), metadata.file)
            elif key.startswith(_KEY) and key != _LIST_KEY:
                raise ArtefactRefused("template.ambiguous", f"{key[:80]} is no known key of a template", metadata.file)

    def add_config(self, config: Any) -> None:
        """Take those of a tokenizer_config.json: one text, or a list with names; raises ArtefactRefused."""
        came = config.get("chat_template") if isinstance(config, dict) else None
        if came is None:
            return
        rows = came if isinstance(came, list) else [{"name": DEFAULT, "template": came}]
        for row in rows:
            name, text = (row.get("name"), row.get("template")) if isinstance(row, dict) else (None, None)
            if not isinstance(name, str) or not isinstance(text, str):
                raise ArtefactRefused(
                    "template.ambiguous", "chat_template is a text, or a list of name and template", TOKENIZER_CONFIG
                )
            self._add(name, text, TOKENIZER_CONFIG)

    def add_file(self, content: bytes) -> None:
        """Take the file chat_template.jinja; raises ArtefactRefused."""
        try:
            self._add(DEFAULT, content.decode(), JINJA_FILE)
        except UnicodeDecodeError:
            raise ArtefactRefused("file.text", "is not UTF-8", JINJA_FILE) from None

    def _add(self, name: str, text: str, file: str) -> None:
        if (size_bytes := len(text.encode(errors="surrogatepass"))) > self._bytes_max:
            raise ArtefactRefused("template.size", f"has {size_bytes:,} bytes; {self._bytes_max:,} are allowed", file)
        if not name.isidentifier() or len(name) > 64 or not name.isascii():
            raise ArtefactRefused("template.ambiguous", f"{name[:64]!a} is no name for a template", file)
        for at, letter in enumerate(text):
            if letter not in "\n\r\t" and unicodedata.category(letter) in _INVISIBLE:
                raise ArtefactRefused(
                    "template.construct", f"has U+{ord(letter):04X}, which nobody can see, at character {at}", file
                )
        known = self._found.get(name)
        if known is not None and known.text != text:
            raise ArtefactRefused("template.ambiguous", f"there are two texts of {name!r}; {known.file} has one", file)
        self._found.setdefault(name, NamedTemplate(name, text, file))
        if len(self._found) > TEMPLATES_MAX:
            raise ArtefactRefused("template.ambiguous", f"up to {TEMPLATES_MAX} templates are allowed", file)

    @property
    def all(self) -> tuple[NamedTemplate, ...]:
        """All templates, sorted by name."""
        return tuple(self._found[name] for name in sorted(self._found))

    def whole(self) -> str | None:
        """Return the one text that stands for all: the template itself, or several under headings; None for none."""
        if len(self._found) <= 1:
            return next((each.text for each in self.all), None)
        return "\n".join(f"{{# template {each.name} #}}\n{each.text}" for each in self.all)


def digest(text: str) -> str:
    """Return the SHA-256 of a template's text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()
