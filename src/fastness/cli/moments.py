"""Times as people give them: a day, or a day and a time, of UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

From = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Not before: 2026-11-01, or 2026-11-01T09:30; UTC.")
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Before: a day or a time, likewise.")]


def milliseconds(text: str | None, option: str) -> int | None:
    """Read a time; raises typer.BadParameter."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no day and no time, such as 2026-11-01T09:30", param_hint=option
        ) from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1_000)
