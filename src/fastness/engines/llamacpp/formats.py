"""The values of JSON schema's `format` that can be enforced, and how each is written for the engine."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

_LEAP_YEAR: Final = (
    "(?:[0-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"  # the year 0000 is none
)
_YEAR: Final = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_DATE: Final = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_TIME: Final = (
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+\x{2D}](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)

FORMATS: Final = MappingProxyType(
    {
        # The engine's own dates include 29 February of every year, and its times a sixtieth second.
        "date": {"pattern": f"^{_DATE}$"},
        "time": {"pattern": f"^{_TIME}$"},
        "date-time": {"pattern": f"^{_DATE}T{_TIME}$"},
        "duration": {"format": "duration"},
        "email": {"format": "email"},
        "hostname": {"format": "hostname"},
        "ipv4": {"format": "ipv4"},
        "ipv6": {"format": "ipv6"},
        "uuid": {"format": "uuid"},
    }
)
