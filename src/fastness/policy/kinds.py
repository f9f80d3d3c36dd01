"""Which parameters a policy can tell apart, so that a decision remembered for one request serves the next.

Requests differ in `max_tokens` and the like without end, and rules compare those with a few numbers. Two values on the
same side of every number are of one kind: no rule sees a difference. It is read off the rules themselves; a parameter
that is used in any other way than compared with a number keeps its exact value.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable
from typing import Any, Final

from fastness.core.policy import Parameters

NUMBERS: Final = ("choices", "tools", "max_output_tokens", "temperature_milli", "top_p_milli")

_LONG_MIN: Final = -(2**63)
_LONG_MAX: Final = 2**63 - 1
_COMPARING: Final = ("==", "!=", "<", "<=", ">", ">=")
_EXACT: Final = None


class Kinds:
    """The kinds of parameters that a set of rules tells apart; `forms` are rules in Cedar's JSON form."""

    def __init__(self, forms: Iterable[dict[str, Any]]) -> None:
        self._uses = False
        # What Cedar cannot count is told apart always: there the engine denies, whatever the rules say.
        self._bounds: dict[str, set[int] | None] = {name: {_LONG_MIN, _LONG_MAX} for name in NUMBERS}
        for form in forms:
            self._walk(form.get("conditions", []))
        self._steps = [(name, None if bounds is _EXACT else sorted(bounds)) for name, bounds in self._bounds.items()]

    def of(self, parameters: Parameters) -> Hashable:
        """Return the kind: equal for parameters that are permitted alike, and told apart by no rule."""
        kind: list[Hashable] = [parameters.uses] if self._uses else []
        for name, bounds in self._steps:
            value = getattr(parameters, name)
            if bounds is None or value is None:
                kind.append((value,))
            else:
                place = bisect_left(bounds, value)
                kind.append(2 * place + (place < len(bounds) and bounds[place] == value))
        return tuple(kind)

    @property
    def numbers(self) -> dict[str, tuple[int, ...]]:
        """The numbers that each parameter is compared with, sorted; none for one that keeps its exact value."""
        return {name: tuple(bounds[1:-1]) for name, bounds in self._steps if bounds is not None}

    def _walk(self, form: Any) -> None:
        """Look through an expression for every mention of `context.parameters`."""
        if isinstance(form, list):
            for one in form:
                self._walk(one)
        elif isinstance(form, dict):
            self._look(form)

    def _look(self, form: dict[str, Any]) -> None:
        if form == {"Var": "context"} or _is_parameters(form):
            self._tell_everything()
        elif (found := _comparison(form)) is not None:
            name, number = found
            bounds = self._bounds.get(name)
            if bounds is not None:
                bounds.add(number)
        elif (mentioned := _attribute(form)) is not None:
            self._tell(mentioned)
        elif not _harmless(form):
            for one in form.values():
                self._walk(one)

    def _tell(self, name: str) -> None:
        if name in self._bounds:
            self._bounds[name] = _EXACT
        else:
            self._uses = True

    def _tell_everything(self) -> None:
        for name in (*NUMBERS, "uses"):
            self._tell(name)


def _is_parameters(form: Any) -> bool:
    return bool(form == {".": {"left": {"Var": "context"}, "attr": "parameters"}})


def _attribute(form: Any) -> str | None:
    """Return X for `context.parameters.X`."""
    access = form.get(".") if isinstance(form, dict) and len(form) == 1 else None
    if isinstance(access, dict) and _is_parameters(access.get("left")):
        return str(access.get("attr"))
    return None


def _comparison(form: dict[str, Any]) -> tuple[str, int] | None:
    """Return X and n for `context.parameters.X < n` and its like, either way round."""
    operator, sides = next(iter(form.items())) if len(form) == 1 else ("", None)
    if operator not in _COMPARING or not isinstance(sides, dict):
        return None
    for one, other in ((sides.get("left"), sides.get("right")), (sides.get("right"), sides.get("left"))):
        name = _attribute(one)
        number = other.get("Value") if isinstance(other, dict) and len(other) == 1 else None
        if name in NUMBERS and isinstance(number, int) and not isinstance(number, bool):
            return name, number
    return None


def _harmless(form: dict[str, Any]) -> bool:
    """Tell whether this is another attribute of the context, or whether a parameter is set: told apart always."""
    if len(form) != 1:
        return False
    operator, inner = next(iter(form.items()))
    left = inner.get("left") if isinstance(inner, dict) else None
    if operator == ".":
        return bool(left == {"Var": "context"})
    return operator == "has" and (left == {"Var": "context"} or _is_parameters(left))
