"""Where a template's behaviour depends on what people wrote: found by following values through it, without rendering.

Values are clean, or hold messages, or are content (taken from a message, or from the clock), or were made of content
(its length, a dictionary with it). Who speaks, and what kind of part it is, is clean: a template is there to depend on
that. What is not understood counts as content.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from jinja2 import nodes

from fastness.registry.inspection.port import ContentCondition

CONDITIONS_MAX: Final = 64
PASSES_MAX: Final = 12


class Kind(IntEnum):
    """What a value may hold; the larger wins where two meet."""

    CLEAN = 0
    MESSAGES = 1
    CONTENT = 2
    MADE = 3


NUMBER_MAX: Final = 100
"""A comparison with a larger number, or an item beyond it, is about how long a conversation is."""
_CLEAN_KEYS: Final = frozenset({"role", "type", "id", "tool_call_id"})
_MESSAGE_KEYS: Final = frozenset({"tool_calls", "function", "previtem", "nextitem"})
_SHAPE_TESTS: Final = frozenset(
    {"defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "integer", "float"}
    | {"boolean", "true", "false"}
)
_QUESTIONS: Final = frozenset(
    {"startswith", "endswith", "find", "rfind", "index", "count", "isdigit", "isalpha", "isspace", "isupper", "islower"}
)
_ORDERING: Final = frozenset({"sort", "unique", "min", "max", "sum", "dictsort"})
_PLACES: Final = frozenset({"index", "index0", "revindex", "revindex0", "length"})
_KEEPING: Final = frozenset({"first", "last", "list", "reverse", "select", "reject", "default", "d"})
_ARITHMETIC: Final = (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg)
_DELIMITER: Final = re.compile(
    r"[^\w]*|\s*(?:</?[\w|:.\-\uff5c\u2581]{1,40}/?>|<[|\uff5c][^<>]{1,40}[|\uff5c]>|\[/?[A-Z_]{1,24}\])\s*"
)


def is_delimiter(text: str) -> bool:
    """Say whether a text is a delimiter, such as `</think>` or `[INST]`, or has no letter or digit at all."""
    return _DELIMITER.fullmatch(text) is not None


def conditions(tree: nodes.Template) -> tuple[ContentCondition, ...]:
    """Return the places where content is looked at, in order of lines."""
    flow = _Flow({macro.name: [target.name for target in macro.args] for macro in tree.find_all(nodes.Macro)})
    for _ in range(PASSES_MAX):  # until nothing more is learned of any name
        before = dict(flow.names)
        flow.found.clear()
        flow.body(tree.body)
        if flow.names == before:
            break
    ordered = sorted(flow.found.values(), key=lambda each: (not each.suspicious, each.line))
    return tuple(ordered[:CONDITIONS_MAX])


class _Flow:
    def __init__(self, macros: dict[str, list[str]]) -> None:
        self.macros = macros
        self.names = dict.fromkeys(("messages", "message", "tools", "documents"), Kind.MESSAGES)
        self.over = Kind.CLEAN  # what the innermost loop goes through
        self.found: dict[tuple[int, str], ContentCondition] = {}

    # --- statements -------------------------------------------------------------------------------------------------

    def body(self, statements: Iterable[nodes.Node]) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Output):
            self.largest(node.nodes)
        elif isinstance(node, nodes.If):
            self.kind(node.test)
            self.body([*node.body, *node.elif_, *node.else_])
        elif isinstance(node, nodes.For):
            self.loop(node)
        elif isinstance(node, nodes.Assign):
            self.assign(node.target, node.node)
        elif isinstance(node, nodes.AssignBlock):
            self.body(node.body)
            self.learn(node.target, self.largest(list(node.find_all(nodes.Output))))
        elif isinstance(node, nodes.Macro):
            self.largest(node.defaults)
            self.body(node.body)
        elif isinstance(node, nodes.ExprStmt):
            self.kind(node.node)

    def loop(self, node: nodes.For) -> None:
        kind, outer = self.kind(node.iter), self.over
        pair = node.target.items if isinstance(node.target, nodes.Tuple) else []
        if len(pair) == 2 and (_called(node.iter) == "items" or _is_filter(node.iter, "items")):
            self.learn(pair[1], kind)  # the first is the name of a field
        else:
            self.learn(node.target, kind)
        self.over = kind
        if node.test is not None:
            self.kind(node.test)
        self.body(node.body)
        self.over = outer
        self.body(node.else_)

    def assign(self, target: nodes.Node, value: nodes.Node) -> None:
        if isinstance(value, nodes.Call) and isinstance(target, nodes.Name) and _called(value) == "namespace":
            for keyword in value.kwargs:
                self.learn_name(f"{target.name}.{keyword.key}", self.kind(keyword.value))
        kind = self.kind(value)
        # What is counted in a loop through content is a length of content.
        counted = self.over >= Kind.CONTENT and isinstance(value, _ARITHMETIC)
        self.learn(target, Kind.MADE if counted else kind)

    def learn(self, target: nodes.Node, kind: Kind) -> None:
        if isinstance(target, nodes.Name):
            self.learn_name(target.name, kind)
        elif isinstance(target, nodes.NSRef):
            self.learn_name(f"{target.name}.{target.attr}", kind)
            self.learn_name(target.name, kind)
        else:
            for child in target.iter_child_nodes():
                self.learn(child, kind)

    def learn_name(self, name: str, kind: Kind) -> None:
        self.names[name] = max(kind, self.names.get(name, Kind.CLEAN))

    # --- expressions ------------------------------------------------------------------------------------------------

    def kind(self, node: nodes.Node) -> Kind:
        """Return what an expression may hold, and note what it asks of content on the way."""
        if isinstance(node, nodes.Name):
            return self.names.get(node.name, Kind.CLEAN)
        if isinstance(node, nodes.Getattr | nodes.Getitem):
            return self.member(node)
        if isinstance(node, nodes.Call):
            return self.call(node)
        if isinstance(node, nodes.Filter):
            return self.filter(node)
        if isinstance(node, nodes.Test):
            if self.largest([node.node, *node.args]) and node.name not in _SHAPE_TESTS:
                self.note(node, f"test {node.name}", [part for part in (node.node, *node.args) if not self.kind(part)])
            return Kind.CLEAN
        if isinstance(node, nodes.Compare):
            return self.compare(node)
        if isinstance(node, nodes.Not):
            self.kind(node.node)
            return Kind.CLEAN
        if isinstance(node, nodes.CondExpr):
            self.kind(node.test)
            return self.largest([node.expr1, *([node.expr2] if node.expr2 else [])])
        return self.made(node, self.largest(node.iter_child_nodes()))

    def made(self, node: nodes.Node, kind: Kind) -> Kind:
        """Return what becomes of parts that hold `kind` in a node that puts them together."""
        if isinstance(node, nodes.Dict) and kind:
            if any(self.kind(pair.key) for pair in node.items):
                self.note(node, "content as a name", [])
            return Kind.MADE
        # Texts are put together with +, numbers are not, unless to hide what they are compared with.
        hides = isinstance(node, _ARITHMETIC) and (kind is Kind.MADE or not isinstance(node, nodes.Add))
        if hides and kind >= Kind.CONTENT:
            self.note(node, "arithmetic", [])
        return kind

    def largest(self, parts: Iterable[nodes.Node]) -> Kind:
        return max([self.kind(part) for part in parts], default=Kind.CLEAN)

    def member(self, node: nodes.Getattr | nodes.Getitem) -> Kind:
        base = self.kind(node.node)
        key: object = node.attr if isinstance(node, nodes.Getattr) else None
        if isinstance(node, nodes.Getitem):
            key = node.arg.value if isinstance(node.arg, nodes.Const) else None
            self.place(node, node.arg, base)
        if isinstance(node.node, nodes.Name) and isinstance(key, str):
            if (own := self.names.get(f"{node.node.name}.{key}")) is not None:
                return own
            if node.node.name == "loop":
                return self.of_loop(key)
        return base if base is Kind.CLEAN else _of_key(base, key)

    def place(self, node: nodes.Node, place: nodes.Node, base: Kind) -> None:
        """Look at where something is taken from: a far place in a text, or in a conversation, is a length of it."""
        if self.kind(place) >= Kind.CONTENT:
            self.note(node, "content chooses what is taken", [])
        numbers = [place] if isinstance(place, nodes.Const) else list(place.find_all(nodes.Const))
        far = any(isinstance(each.value, int) and each.value > (1 if base >= 2 else NUMBER_MAX) for each in numbers)
        computed = base >= Kind.CONTENT and not isinstance(place, nodes.Const) and list(place.find_all(nodes.Name))
        if base and (far or computed):
            self.note(node, "a place far within", [])

    def of_loop(self, key: str) -> Kind:
        if key in ("previtem", "nextitem"):
            return max(self.over, Kind.MESSAGES)
        return Kind.MADE if key in _PLACES and self.over >= Kind.CONTENT else Kind.CLEAN

    def call(self, node: nodes.Call) -> Kind:
        given = [*node.args, *(keyword.value for keyword in node.kwargs)]
        arguments = self.largest(given)
        if not isinstance(node.node, nodes.Getattr):
            if _called(node) == "strftime_now":
                return Kind.CONTENT  # a day may be a trigger, as a word may
            for name, value in self.macro_names(node):
                self.learn_name(name, self.kind(value))
            if _called(node) == "range" and arguments >= Kind.CONTENT:
                self.note(node, "range", [])
            return Kind.MADE if _called(node) == "dict" and arguments else arguments
        method, base = node.node.attr, self.kind(node.node.node)
        if method == "get" and base and node.args and isinstance(node.args[0], nodes.Const):
            return max(_of_key(base, node.args[0].value), self.largest(node.args[1:]))
        if base is Kind.CLEAN:
            if arguments >= Kind.CONTENT:
                self.note(node, f"method {method} with content", [])
            return arguments
        if method in _QUESTIONS or not _are_delimiters(given):
            self.note(node, f"method {method}", given)
        if method in _QUESTIONS:
            return Kind.MADE if method in ("find", "rfind", "index", "count") else Kind.CLEAN
        return max(base, arguments)

    def macro_names(self, node: nodes.Call) -> Iterable[tuple[str, nodes.Node]]:
        """Pair the names that a macro gives its arguments with what it is called with; scopes are not told apart."""
        targets = self.macros.get(_called(node))
        if targets is not None:
            yield from zip(targets, node.args, strict=False)
            yield from ((keyword.key, keyword.value) for keyword in node.kwargs)

    def filter(self, node: nodes.Filter) -> Kind:
        base = Kind.CLEAN if node.node is None else self.kind(node.node)
        given = [*node.args, *(keyword.value for keyword in node.kwargs)]
        arguments = self.largest(given)
        if base is Kind.CLEAN:
            if arguments >= Kind.CONTENT and node.name not in ("default", "d"):
                self.note(node, f"filter {node.name} with content", [])
            return arguments
        first = node.args[0].value if node.args and isinstance(node.args[0], nodes.Const) else None
        if node.name in ("length", "count"):
            return Kind.CLEAN if base is Kind.MESSAGES else Kind.MADE
        if node.name in ("selectattr", "rejectattr"):
            if first not in _CLEAN_KEYS and len(node.args) != 1:
                self.note(node, f"filter {node.name}", node.args[1:])
            return base
        if node.name == "map":
            named = next((keyword.value for keyword in node.kwargs if keyword.key == "attribute"), None)
            return _of_key(base, named.value) if isinstance(named, nodes.Const) else Kind.CONTENT
        orders = node.name in _ORDERING or (node.name in ("select", "reject") and given)
        if orders or (node.name not in ("default", "d", "tojson", "join") and not _are_delimiters(given)):
            self.note(node, f"filter {node.name}", given)
        if node.name in _KEEPING:
            return max(base, arguments)
        return Kind.MADE if node.name in ("int", "float", "round", "abs") else Kind.CONTENT

    def compare(self, node: nodes.Compare) -> Kind:
        sides = [node.expr, *(operand.expr for operand in node.ops)]
        kinds = [self.kind(side) for side in sides]
        if any(kinds):
            others = [side for side, kind in zip(sides, kinds, strict=True) if kind is Kind.CLEAN]
            # Whole messages may be held against each other: no word of the template is in that.
            same = not others and max(kinds) is Kind.MESSAGES
            if not same and not (others and all(_is_shape(side) for side in others)):
                self.note(node, " ".join(operand.op for operand in node.ops), others)
        elif any(_is_large(side) for side in sides):
            self.note(node, "a large number", [])
        return Kind.CLEAN

    def note(self, node: nodes.Node, what: str, given: list[nodes.Expr] | list[nodes.Node]) -> None:
        """Note a question asked of content. It is harmless when all it is held against is delimiters."""
        texts = list(_texts(given))
        plain = bool(texts) and all(_is_plain(each) for each in given) and all(map(is_delimiter, texts))
        shown = ", ".join(ascii(text[:60]) for text in texts[:8])
        self.found[node.lineno, what + shown] = ContentCondition(
            node.lineno, f"{what} {shown}".strip()[:300], "", not plain
        )


def _of_key(base: Kind, key: object) -> Kind:
    if not isinstance(key, str) or base is Kind.MADE:  # an index, a slice, or something computed
        return base
    if key in _CLEAN_KEYS:
        return Kind.CLEAN
    return Kind.MESSAGES if key in _MESSAGE_KEYS else Kind.CONTENT


def _called(node: nodes.Node) -> str:
    """Return the name of the function or method that a node calls."""
    called = node.node if isinstance(node, nodes.Call) else None
    if isinstance(called, nodes.Getattr):
        return called.attr
    return called.name if isinstance(called, nodes.Name) else ""


def _is_filter(node: nodes.Node, name: str) -> bool:
    return isinstance(node, nodes.Filter) and node.name == name


def _are_delimiters(given: Iterable[nodes.Node]) -> bool:
    """Say whether all that is given is written out there, and no text in it has a word."""
    given = list(given)
    return all(map(_is_plain, given)) and all(map(is_delimiter, _texts(given)))


def _is_large(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Const) and isinstance(node.value, int) and node.value > NUMBER_MAX


def _texts(parts: Iterable[nodes.Node]) -> Iterable[str]:
    for part in parts:
        for const in [part] if isinstance(part, nodes.Const) else part.find_all(nodes.Const):
            if isinstance(const.value, str):
                yield const.value


def _is_plain(node: nodes.Node) -> bool:
    """Say whether a value is written out where it is used, so that what it is held against can be seen."""
    if isinstance(node, nodes.List | nodes.Tuple):
        return all(_is_plain(item) for item in node.items)
    return isinstance(node, nodes.Const)


def _is_shape(node: nodes.Node) -> bool:
    """Say whether a comparison with this asks only whether something is there: nothing, empty, 0 or 1."""
    if isinstance(node, nodes.List | nodes.Tuple | nodes.Dict):
        return not node.items
    return isinstance(node, nodes.Const) and (node.value is None or node.value in ("", 0, 1, True, False))
