"""Numbers of a JSON schema, and the values of `enum` and `const`, as the engine's grammar enforces them."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Final

INTEGER_MAX: Final = 2**53 - 1
"""Integers beyond it do not survive every reader of JSON."""
NUMBER_MAX: Final = 10**15
"""Largest bound of a `number`; the other bound, where only one is given."""
DECIMALS_MAX: Final = 6
"""Decimal places of a bound."""
MULTIPLES_MAX: Final = 1_000
STEP_MAX: Final = 1_000
_FINE_MAX: Final = 10**9
_TICK: Final = Decimal("0.000001")


def integer(node: dict[str, Any]) -> dict[str, Any]:
    """Write the bounds of an `integer`; raises ValueError with a sentence.

    All bounds become inclusive and whole, and each integer has at most 16 digits.
    """
    low, high = _bounds(node, whole=True)
    first = -INTEGER_MAX if low is None else int(low.to_integral_value(ROUND_CEILING))
    last = INTEGER_MAX if high is None else int(high.to_integral_value(ROUND_FLOOR))
    first, last = max(first, -INTEGER_MAX), min(last, INTEGER_MAX)
    step = _step(node)
    first = -(-first // step) * step
    if first > last:
        raise ValueError("no integer is within its bounds")
    if step == 1:
        return {"type": "integer", "minimum": first, "maximum": last}
    if (last - first) // step < MULTIPLES_MAX:
        return {"enum": list(range(first, last + 1, step))}
    if first >= 0 and step <= STEP_MAX:  # the engine knows no negative multiples, and outgrows large steps
        return {"type": "integer", "minimum": first, "maximum": last, "multipleOf": step}
    raise ValueError(
        f"within its bounds are more than {MULTIPLES_MAX} multiples, which is supported for steps up to {STEP_MAX} "
        "and a `minimum` of 0 or more"
    )


def number(node: dict[str, Any]) -> dict[str, Any]:
    """Write the bounds of a `number`; raises ValueError with a sentence.

    The engine reads an exclusive bound wrongly in places (it lets 0 through `exclusiveMinimum` 0), so bounds become
    inclusive. A number that must be a multiple becomes an integer.
    """
    if "multipleOf" in node:
        return integer(node)
    low, high = _bounds(node, whole=False)
    if low is None and high is None:
        return {"type": "number"}
    low = Decimal(-NUMBER_MAX) if low is None else low
    high = Decimal(NUMBER_MAX) if high is None else high
    if low > high:
        raise ValueError("no number is within its bounds")
    return {"type": "number", "minimum": _plain(low), "maximum": _plain(high)}


def is_of_type(value: object, name: str) -> bool:
    """Tell whether a JSON value is of a JSON schema type."""
    if name in ("integer", "number"):
        whole = not isinstance(value, float) or value.is_integer()
        return isinstance(value, int | float) and not isinstance(value, bool) and (whole or name == "number")
    kinds = {"string": str, "boolean": bool, "null": type(None), "array": list, "object": dict}
    return isinstance(value, kinds[name])


def check_value(value: object) -> None:
    """Raise ValueError, with a sentence, for a value of `enum` or `const` that cannot be written exactly."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            check_value(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _exact(value, INTEGER_MAX)


def _bounds(node: dict[str, Any], *, whole: bool) -> tuple[Decimal | None, Decimal | None]:
    """Return inclusive bounds: an exclusive one moves to the next integer (`whole`), or by a millionth (1 if large)."""
    found = {
        name: _exact(node[name], INTEGER_MAX if whole else NUMBER_MAX)
        for name in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
        if name in node
    }
    lows, highs = [found.get("minimum")], [found.get("maximum")]
    if (edge := found.get("exclusiveMinimum")) is not None:
        lows.append(edge.to_integral_value(ROUND_FLOOR) + 1 if whole else edge + _tick(edge))
    if (edge := found.get("exclusiveMaximum")) is not None:
        highs.append(edge.to_integral_value(ROUND_CEILING) - 1 if whole else edge - _tick(edge))
    low = max((bound for bound in lows if bound is not None), default=None)
    return low, min((bound for bound in highs if bound is not None), default=None)


def _tick(edge: Decimal) -> Decimal:
    return _TICK if abs(edge) < _FINE_MAX else Decimal(1)


def _exact(value: object, limit: int) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a number is needed")
    exact = Decimal(repr(value))
    digits = exact.normalize().as_tuple()
    places = -int(digits.exponent) if int(digits.exponent) < 0 else 0
    if abs(exact) > limit or places > DECIMALS_MAX or (places and len(digits.digits) > 15):
        raise ValueError(f"numbers up to {limit} with up to {DECIMALS_MAX} decimal places are supported")
    return exact


def _step(node: dict[str, Any]) -> int:
    step = node.get("multipleOf", 1)
    if isinstance(step, float) and step.is_integer():
        step = int(step)
    if isinstance(step, bool) or not isinstance(step, int) or not 1 <= step < 2**31:
        raise ValueError(
            "only whole numbers from 1 to 2147483647 are supported; fractions are not exact in floating point, "
            "so ask for an integer number of the smallest unit"
        )
    return step


def _plain(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)
