"""What an answer must keep to: `ttft<2s,tpot<100ms,95%`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_UNITS: Final = {"ms": 1e-3, "s": 1.0}
_BOUND: Final = re.compile(r"(ttft|tpot)\s*<\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s)")
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")


class SloError(ValueError):
    """A service level that cannot be read; the message says what was needed."""


@dataclass(frozen=True, slots=True)
class Slo:
    """`part` of the requests have their first token within `ttft_s`, and the others `tpot_s` apart on average."""

    ttft_s: float = 2.0
    tpot_s: float = 0.1
    part: float = 0.95

    @classmethod
    def of(cls, text: str) -> Slo:
        """Read it; what is not said is as by default. Raises SloError."""
        found: dict[str, float] = {}
        for word in text.split(","):
            if bound := _BOUND.fullmatch(word.strip().lower()):
                name, value = bound[1] + "_s", float(bound[2]) * _UNITS[bound[3]]
            elif part := _PART.fullmatch(word.strip()):
                name, value = "part", float(part[1]) / 100
            else:
                raise SloError(
                    f"needed a service level such as 'ttft<2s,tpot<100ms,95%'; {word.strip()!r} is no part of one"
                )
            if name in found or not 0 < value <= (1 if name == "part" else 3_600):
                raise SloError(f"{word.strip()!r} is given twice, or out of bounds: above 0, to 3,600 s or 100%")
            found[name] = value
        return cls(**found)

    def __str__(self) -> str:
        return f"ttft<{self.ttft_s:g}s,tpot<{self.tpot_s * 1e3:g}ms,{self.part:.3%}".replace(".000%", "%")
