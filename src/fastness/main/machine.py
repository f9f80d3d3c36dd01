"""What `doctor` needs of the other rooms."""

from __future__ import annotations

from fastness.cli.composition import Finding
from fastness.config import Settings


def machine_facts(_settings: Settings) -> list[Finding]:
    """What `doctor` needs of the other rooms: the seal's proof."""
    from fastness.cli.composition import Verdict
    from fastness.perimeter.local import LocalPerimeter
    from fastness.perimeter.port import SealUnavailable

    why = "An engine that is not sealed could send what it reads anywhere."
    try:
        report = LocalPerimeter().check()
        return [Finding("seal", Verdict.OK, f"proved: {report.summary()}", why)]
    except SealUnavailable as error:
        return [Finding("seal", Verdict.FAIL, str(error), why, "enable what is named; --unsealed is for trials only")]
