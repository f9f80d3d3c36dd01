"""What `store.url` may be: a PostgreSQL on a Unix socket, and never a password, so that it may be shown anywhere."""

from __future__ import annotations

import re
from typing import Final

_VALUE: Final = r"[\w./+-]+"
_OPTION: Final = rf"(?:host=/{_VALUE}|port=\d{{1,5}}|passfile=/{_VALUE})"
_URL: Final = re.compile(rf"postgresql://(?:[\w.-]+@)?/[\w.-]+\?{_OPTION}(?:&{_OPTION})*", re.ASCII)
STORE_URL_NEEDS: Final = (
    "postgresql://[USER@]/DATABASE?host=/DIRECTORY[&port=PORT][&passfile=/FILE], where DIRECTORY has the Unix socket; "
    "a password stands in a file that libpq reads, passfile or ~/.pgpass. What came is not shown: it may hold one"
)


def is_store_url(text: str) -> bool:
    """Tell whether this names SQLite in the home (the empty text) or a PostgreSQL that our processes can reach."""
    return not text or (_URL.fullmatch(text) is not None and len(re.findall("[?&]host=", text)) == 1)
