"""Where a template's behaviour depends on what people wrote: found by following values through it, without rendering.

Values are clean, or hold messages, or are content (taken from a message, or from the clock), or were made of content
(its length, a dictionary with it). Who speaks, and what kind of part it is, is clean: a template is there to depend on
that. What is not understood counts as content.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from jinja2 import nodes

from fastness.registry.inspection.port import ContentCondition
from fastness.registry.inspection.template_kinds import (
    ARITHMETIC,
    CLEAN_KEYS,
    KEEPING,
    NUMBER_MAX,
    ORDERING,
    PLACES,
    QUESTIONS,
    SHAPE_TESTS,
    Kind,
    are_delimiters,
    called,
    is_delimiter,
    is_filter,
    is_large,
    is_plain,
    is_shape,
    of_key,
    texts,
)

CONDITIONS_MAX: Final = 64
PASSES_MAX: Final = 12


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
        if len(pair) == 2 and (called(node.iter) == "items" or is_filter(node.iter, "items")):
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
        if isinstance(value, nodes.Call) and isinstance(target, nodes.Name) and called(value) == "namespace":
            for keyword in value.kwargs:
                self.learn_name(f"{target.name}.{keyword.key}", self.kind(keyword.value))
        kind = self.kind(value)
        # What is counted in a loop through content is a length of content.
        counted = self.over >= Kind.CONTENT and isinstance(value, ARITHMETIC)
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
            if self.largest([node.node, *node.args]) and node.name not in SHAPE_TESTS:
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
        hides = isinstance(node, ARITHMETIC) and (kind is Kind.MADE or not isinstance(node, nodes.Add))
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
        return base if base is Kind.CLEAN else of_key(base, key)

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
        return Kind.MADE if key in PLACES and self.over >= Kind.CONTENT else Kind.CLEAN

    def call(self, node: nodes.Call) -> Kind:
        given = [*node.args, *(keyword.value for keyword in node.kwargs)]
        arguments = self.largest(given)
        if not isinstance(node.node, nodes.Getattr):
            if called(node) == "strftime_now":
                return Kind.CONTENT  # a day may be a trigger, as a word may
            for name, value in self.macro_names(node):
                self.learn_name(name, self.kind(value))
            if called(node) == "range" and arguments >= Kind.CONTENT:
                self.note(node, "range", [])
            return Kind.MADE if called(node) == "dict" and arguments else arguments
        method, base = node.node.attr, self.kind(node.node.node)
        if method == "get" and base and node.args and isinstance(node.args[0], nodes.Const):
            return max(of_key(base, node.args[0].value), self.largest(node.args[1:]))
        if base is Kind.CLEAN:
            if arguments >= Kind.CONTENT:
                self.note(node, f"method {method} with content", [])
            return arguments
        if method in QUESTIONS or not are_delimiters(given):
            self.note(node, f"method {method}", given)
        if method in QUESTIONS:
            return Kind.MADE if method in ("find", "rfind", "index", "count") else Kind.CLEAN
        return max(base, arguments)

    def macro_names(self, node: nodes.Call) -> Iterable[tuple[str, nodes.Node]]:
        """Pair the names that a macro gives its arguments with what it is called with; scopes are not told apart."""
        targets = self.macros.get(called(node))
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
            if first not in CLEAN_KEYS and len(node.args) != 1:
                self.note(node, f"filter {node.name}", node.args[1:])
            return base
        if node.name == "map":
            named = next((keyword.value for keyword in node.kwargs if keyword.key == "attribute"), None)
            return of_key(base, named.value) if isinstance(named, nodes.Const) else Kind.CONTENT
        orders = node.name in ORDERING or (node.name in ("select", "reject") and given)
        if orders or (node.name not in ("default", "d", "tojson", "join") and not are_delimiters(given)):
            self.note(node, f"filter {node.name}", given)
        if node.name in KEEPING:
            return max(base, arguments)
        return Kind.MADE if node.name in ("int", "float", "round", "abs") else Kind.CONTENT

    def compare(self, node: nodes.Compare) -> Kind:
        sides = [node.expr, *(operand.expr for operand in node.ops)]
        kinds = [self.kind(side) for side in sides]
        if any(kinds):
            others = [side for side, kind in zip(sides, kinds, strict=True) if kind is Kind.CLEAN]
            # Whole messages may be held against each other: no word of the template is in that.
            same = not others and max(kinds) is Kind.MESSAGES
            if not same and not (others and all(is_shape(side) for side in others)):
                self.note(node, " ".join(operand.op for operand in node.ops), others)
        elif any(is_large(side) for side in sides):
            self.note(node, "a large number", [])
        return Kind.CLEAN

    def note(self, node: nodes.Node, what: str, given: list[nodes.Expr] | list[nodes.Node]) -> None:
        """Note a question asked of content. It is harmless when all it is held against is delimiters."""
        written = list(texts(given))
        plain = bool(written) and all(is_plain(each) for each in given) and all(map(is_delimiter, written))
        shown = ", ".join(ascii(text[:60]) for text in written[:8])
        self.found[node.lineno, what + shown] = ContentCondition(
            node.lineno, f"{what} {shown}".strip()[:300], "", not plain
        )
