"""A chat template under which the text of messages is text.

Engines read control tokens out of messages too: `<|im_end|>` sent by a user would end the user's turn. So every message
passes through this first, which parts such a text with a space after its first character. Standard library only: it
runs inside the seal.
"""

from __future__ import annotations


def literal_template(template: str, controls: tuple[str, ...]) -> str:
    """Return a template under which control tokens in the text of messages are text."""
    parts = "".join(f" | replace({_quoted(c)}, {_quoted(f'{c[0]} {c[1:]}')})" for c in controls if len(c) > 1)
    return (
        "{%- set kept = namespace(messages=[]) -%}{%- for one in messages -%}"
        f"{{%- set kept.messages = kept.messages + [{{'role': one.role, 'content': one.content{parts}}}] -%}}"
        "{%- endfor -%}{%- set messages = kept.messages -%}" + template
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"
