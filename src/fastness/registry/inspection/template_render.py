"""A chat template is rendered: in a sandbox, with little to call, and with a bound on time, memory and text.

The bound on time is on the processor time of this process, by a timer: a soft one ends what Python executes, a hard one
the process, for whatever Python cannot interrupt (only where the process is there for this alone).
"""

from __future__ import annotations

import datetime
import json
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from jinja2 import TemplateError, TemplateRuntimeError, Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from fastness.registry.inspection.port import ArtefactRefused
from fastness.registry.inspection.template_syntax import FILTERS, TESTS

OUTPUT_BYTES_MAX: Final = 1 << 20
RANGE_MAX: Final = 10_000
TEXT_MAX: Final = 1 << 20
"""Characters or items that an operation may make."""
NUMBER_BITS_MAX: Final = 128
_FORMAT: Final = re.compile(r"(?:%-?[A-Za-z]|[^%]){1,64}")
_TODAY: Final = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


class Beyond(Exception):  # noqa: N818 - an outcome
    """A template went beyond a bound; `rule` says which."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


class OutOfTime(BaseException):
    """Rendering took too long. Not an Exception, so that nothing in between takes it for one of its own."""


class Failed(Exception):  # noqa: N818 - an outcome
    """The template itself gave up on a conversation; the message is one line."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Where chat templates run: operators that could make much from little are weighed first."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, optimized=False, cache_size=0)
        self.add_extension("jinja2.ext.loopcontrols")
        self.filters = {name: self.filters[name] for name in FILTERS} | {"tojson": _to_json}
        self.tests = {name: self.tests[name] for name in TESTS}
        self.globals = {
            "namespace": Namespace,
            "range": _range,
            "dict": dict,
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Weigh, then do."""
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise Beyond("template.construct", f"the operator {operator} is not needed here")
        if operator in "+*":
            _weigh(operator, left, right)
        return super().call_binop(context, operator, left, right)


class Renderer:
    """Compiles a checked tree once and renders it. `alone` says that this process may be ended by the hard timer."""

    def __init__(self, sandbox: Sandbox, tree: nodes.Template, file: str, timeout_s: float, *, alone: bool) -> None:
        self._file = file
        self._timeout_s = timeout_s
        self._alone = alone
        with self._bounded():
            self._template = sandbox.from_string(tree)

    def render(self, conversation: Mapping[str, Any]) -> str:
        """Render a conversation; raises Failed when the template gives up on it, ArtefactRefused beyond a bound."""
        parts, size_bytes = [], 0
        with self._bounded():
            for part in self._template.generate(**conversation):
                parts.append(part)
                size_bytes += len(part)
                if size_bytes > OUTPUT_BYTES_MAX:
                    raise Beyond("template.memory", f"makes more than {OUTPUT_BYTES_MAX:,} characters")
        return "".join(parts)

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        try:
            with _timed(self._timeout_s, alone=self._alone):
                yield
        except Beyond as error:
            raise ArtefactRefused(error.rule, str(error), self._file) from None
        except SecurityError as error:
            raise ArtefactRefused("template.escape", str(error)[:200], self._file) from None
        except OutOfTime:
            raise ArtefactRefused("template.time", f"takes more than {self._timeout_s:g} s", self._file) from None
        except MemoryError:
            raise ArtefactRefused("template.memory", "takes too much memory", self._file) from None
        except (RecursionError, SyntaxError, OverflowError) as error:
            raise ArtefactRefused("template.construct", f"cannot be run: {str(error)[:200]}", self._file) from None
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise Failed(f"{type(error).__name__}: {error}".splitlines()[0][:200]) from None


@contextmanager
def _timed(timeout_s: float, *, alone: bool) -> Iterator[None]:
    def end(_number: int, _frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, timeout_s)
    if alone:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, 2 * timeout_s + 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if alone:
            signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGVTALRM, before)


def _weigh(operator: str, left: Any, right: Any) -> None:
    sizes = [len(side) if isinstance(side, str | list | tuple) else None for side in (left, right)]
    if operator == "+":
        made = sum(size or 0 for size in sizes)
    elif sizes == [None, None]:
        bits = sum(side.bit_length() if isinstance(side, int) else 0 for side in (left, right))
        if bits > NUMBER_BITS_MAX:
            raise Beyond("template.range", f"makes a number of more than {NUMBER_BITS_MAX} bits")
        return
    else:
        times = next((side for side in (left, right) if isinstance(side, int)), 0)
        made = (sizes[0] or sizes[1] or 0) * times
    if made > TEXT_MAX:
        raise Beyond("template.range", f"makes more than {TEXT_MAX:,} characters or items at once")


def _range(*bounds: int) -> range:
    counted = range(*bounds)
    if len(counted) > RANGE_MAX:
        raise Beyond("template.range", f"counts more than {RANGE_MAX:,}")
    return counted


def _to_json(value: Any, indent: int | None = None, **_options: Any) -> str:
    if indent is not None and not 0 <= indent <= 8:
        raise Beyond("template.range", "indents JSON by more than 8")
    if isinstance(value, Undefined):
        raise Failed("tojson of what is not defined")
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: object) -> None:
    raise TemplateRuntimeError(str(message))


def _strftime_now(wanted: object) -> str:
    if not isinstance(wanted, str) or not _FORMAT.fullmatch(wanted):
        raise Beyond("template.construct", "strftime_now takes plain fields only")
    return _TODAY.strftime(wanted)
