"""A chat template is parsed, and held to what chat templates need. Nothing is rendered here.

A closed list of constructs is what keeps a template from reaching Python, other templates, or numbers without end; the
sandbox that renders it is a second wall, not the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from jinja2 import Environment, TemplateError, nodes

from fastness.registry.inspection.port import ArtefactRefused

NODES_MAX: Final = 20_000
DEPTH_MAX: Final = 128
LOOPS_MAX: Final = 4
"""Loops within loops: messages, their parts, their calls, the arguments of these."""
NUMBER_MAX: Final = 100_000

FUNCTIONS: Final = frozenset({"namespace", "range", "dict", "raise_exception", "strftime_now"})
_METHODS = """
split rsplit strip lstrip rstrip splitlines startswith endswith upper lower title capitalize replace removeprefix
removesuffix find rfind index count partition rpartition isdigit isalpha isspace isupper islower items keys values get
join cycle
"""
_FILTERS = """
trim tojson length count string join default d first last items list map select reject selectattr rejectattr lower upper
title capitalize replace int float round abs safe escape e dictsort sort unique reverse indent min max sum
"""
_TESTS = """
defined undefined none string mapping iterable sequence number integer float boolean true false equalto eq == ne != in
sameas odd even divisibleby gt greaterthan lt lessthan ge le > >= < <= lower upper
"""
METHODS: Final = frozenset(_METHODS.split())
FILTERS: Final = frozenset(_FILTERS.split())
TESTS: Final = frozenset(_TESTS.split())
_ESCAPES: Final = frozenset({"attr", "format", "format_map", "xmlattr", "pprint", "mro", "func_globals", "gi_frame"})
_ESCAPE_NAMES: Final = frozenset(
    {"self", "lipsum", "cycler", "joiner", "super", "caller", "varargs", "kwargs", "config", "request", "url_for"}
    | {"get_flashed_messages", "g", "session", "application"}
)
_LOADING: Final = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)
_ALLOWED: Final = frozenset(
    {"Template", "Output", "TemplateData", "If", "For", "Assign", "AssignBlock", "Macro", "ExprStmt", "Call", "Filter"}
    | {"Test", "Name", "NSRef", "Const", "List", "Tuple", "Dict", "Pair", "Keyword", "Getattr", "Getitem", "Slice"}
    | {"Concat", "Compare", "Operand", "And", "Or", "Not", "Neg", "Pos", "CondExpr", "Add", "Sub", "Mul", "Div"}
    | {"FloorDiv", "Mod", "Break", "Continue"}
)


def parse(environment: Environment, text: str, file: str) -> nodes.Template:
    """Parse a template and check every construct in it; raises ArtefactRefused."""
    try:
        tree = environment.parse(text)
    except TemplateError as error:
        rule = "template.construct" if "unknown tag" in str(error) else "template.syntax"
        raise ArtefactRefused(rule, f"cannot be parsed: {str(error)[:200]}", file) from None
    except (RecursionError, ValueError, OverflowError) as error:
        raise ArtefactRefused("template.syntax", f"cannot be parsed: {str(error)[:200]}", file) from None
    macros = frozenset(macro.name for macro in tree.find_all(nodes.Macro))
    for seen, (node, depth, loops) in enumerate(_walk(tree)):
        if seen > NODES_MAX or depth > DEPTH_MAX:
            raise ArtefactRefused("template.syntax", f"up to {NODES_MAX} parts, nested up to {DEPTH_MAX}", file)
        if loops > LOOPS_MAX:
            raise ArtefactRefused("template.range", f"{LOOPS_MAX} loops within each other are allowed", file)
        _check(node, macros, file)
    _check_macros(tree, macros, file)
    return tree


def constructs(tree: nodes.Template) -> tuple[str, ...]:
    """Return what a template uses, sorted: `filter trim`, `function range`, `loop`, `macro`, `method split` ..."""
    found = set()
    for node in tree.find_all((nodes.Filter, nodes.Test, nodes.Call, nodes.For, nodes.Macro)):
        if isinstance(node, nodes.Filter | nodes.Test):
            found.add(f"{type(node).__name__.lower()} {node.name}")
        elif isinstance(node, nodes.Call):
            called = node.node
            word, name = ("method", called.attr) if isinstance(called, nodes.Getattr) else ("function", _name(called))
            found.add(f"{word} {name}")
        else:
            found.add("loop" if isinstance(node, nodes.For) else "macro")
    return tuple(sorted(found))


def strings(tree: nodes.Template) -> Iterator[tuple[str, int]]:
    """Yield each text in a template with its line: constants of expressions, and what stands between them."""
    for const in tree.find_all(nodes.Const):
        if isinstance(const.value, str):
            yield const.value, const.lineno
    for data in tree.find_all(nodes.TemplateData):
        yield data.data, data.lineno


def _walk(tree: nodes.Node) -> Iterator[tuple[nodes.Node, int, int]]:
    """Yield every node with its depth and how many loops it is in; a stack of ours, so that none overflows."""
    stack = [(tree, 0, 0)]
    while stack:
        node, depth, loops = stack.pop()
        loops += isinstance(node, nodes.For)
        yield node, depth, loops
        stack += [(child, depth + 1, loops) for child in node.iter_child_nodes()]


def _check(node: nodes.Node, macros: frozenset[str], file: str) -> None:
    where = f"line {node.lineno}"
    if isinstance(node, _LOADING):
        raise ArtefactRefused("template.include", f"{where}: a template stands alone", file)
    if isinstance(node, nodes.Pow):
        raise ArtefactRefused("template.range", f"{where}: powers have no bound", file)
    if isinstance(node, nodes.Getattr | nodes.Getitem | nodes.NSRef):
        _check_attribute(node, where, file)
    elif isinstance(node, nodes.Name) and (node.name in _ESCAPE_NAMES or node.name.startswith("__")):
        raise ArtefactRefused("template.escape", f"{where}: {node.name} leads to Python", file)
    elif isinstance(node, nodes.Const):
        _check_constant(node, where, file)
    elif isinstance(node, nodes.Filter | nodes.Test):
        _check_word(node, where, file)
    elif isinstance(node, nodes.Call):
        _check_call(node, macros, where, file)
    elif isinstance(node, nodes.For) and node.recursive:
        raise ArtefactRefused("template.range", f"{where}: a loop that calls itself has no bound", file)
    if type(node).__name__ not in _ALLOWED:
        raise ArtefactRefused("template.construct", f"{where}: {type(node).__name__} is not needed", file)


def _check_attribute(node: nodes.Getattr | nodes.Getitem | nodes.NSRef, where: str, file: str) -> None:
    name: object = node.attr if isinstance(node, nodes.Getattr | nodes.NSRef) else None
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        name = node.arg.value
    if isinstance(name, str) and (name.startswith("_") or name in _ESCAPES):
        raise ArtefactRefused("template.escape", f"{where}: {name[:80]} leads to Python", file)


def _check_constant(node: nodes.Const, where: str, file: str) -> None:
    value = node.value
    if isinstance(value, str) and "__" in value and value.replace("_", "").isalpha() and value.startswith("_"):
        raise ArtefactRefused("template.escape", f"{where}: {value[:80]!r} leads to Python", file)
    if isinstance(value, int | float) and not abs(value) <= NUMBER_MAX:
        raise ArtefactRefused("template.range", f"{where}: numbers up to {NUMBER_MAX:,} are allowed", file)


def _check_word(node: nodes.Filter | nodes.Test, where: str, file: str) -> None:
    kind, allowed = ("filter", FILTERS) if isinstance(node, nodes.Filter) else ("test", TESTS)
    if node.name in _ESCAPES:
        raise ArtefactRefused("template.escape", f"{where}: {kind} {node.name} leads to Python", file)
    if node.name not in allowed or node.dyn_args is not None or node.dyn_kwargs is not None:
        raise ArtefactRefused("template.construct", f"{where}: {kind} {node.name[:80]} is not needed", file)


def _check_call(node: nodes.Call, macros: frozenset[str], where: str, file: str) -> None:
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        raise ArtefactRefused("template.construct", f"{where}: a call with * is not needed", file)
    called = node.node
    if isinstance(called, nodes.Getattr) and called.attr not in METHODS:
        rule = "template.escape" if called.attr in _ESCAPES or called.attr.startswith("_") else "template.construct"
        raise ArtefactRefused(rule, f"{where}: method {called.attr[:80]} is not needed", file)
    if not isinstance(called, nodes.Getattr) and _name(called) not in FUNCTIONS | macros:
        rule = "template.escape" if _name(called) in _ESCAPE_NAMES else "template.construct"
        raise ArtefactRefused(rule, f"{where}: function {_name(called)[:80]} is not needed", file)


def _check_macros(tree: nodes.Template, macros: frozenset[str], file: str) -> None:
    """Refuse macros that call themselves, and chains of them: each link may double the work."""
    calls = {
        macro.name: {_name(call.node) for call in macro.find_all(nodes.Call)} & macros
        for macro in tree.find_all(nodes.Macro)
    }
    for name, called in calls.items():
        if name in called or any(calls[other] for other in called):
            raise ArtefactRefused("template.range", f"macro {name} calls macros that call macros", file)


def _name(node: nodes.Node) -> str:
    return node.name if isinstance(node, nodes.Name) else type(node).__name__
