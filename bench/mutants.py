"""What `bench/mutation.py` changes in a module: one operator, constant, condition, call or statement at a time.

A change is written over the text of its node, so that a mutant differs from the module in a line or two.
"""

import ast
import copy
import difflib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OPERATORS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
OPERATORS |= {ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or}
OPERATORS |= {ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
OPERATORS |= {ast.FloorDiv: ast.Div, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr}
TWINS = ("min max", "any all", "find rfind", "lstrip rstrip", "index rindex", "partition rpartition", "sorted list")
NAMES = {one: other for pair in map(str.split, TWINS) for one, other in (pair, pair[::-1]) if one != "list"}
MESSAGES = ("print", "warn", "warning", "info", "debug")


@dataclass(frozen=True)
class Mutant:
    """A module with one change."""

    module: str
    line: int
    diff: str
    source: str

    @property
    def key(self) -> str:
        """What recognises it in the results, as long as the module stays what it is."""
        return hashlib.sha256(f"{self.module}\n{self.source}".encode()).hexdigest()[:16]


def with_(node: ast.AST, **fields: object) -> ast.AST:
    """A copy of a node with other fields."""
    changed = copy.copy(node)
    vars(changed).update(fields)
    return changed


def changes(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """What can be changed at a node: a node, and what takes its place."""
    match node:
        case ast.Compare():
            for i, op in enumerate(node.ops):
                yield node, with_(node, ops=[*node.ops[:i], OPERATORS[type(op)](), *node.ops[i + 1 :]])
        case ast.BinOp(op=ast.BitOr()):
            yield from ((node, node.left), (node, node.right))
        case ast.BinOp() | ast.BoolOp() | ast.AugAssign() if type(node.op) in OPERATORS:
            yield node, with_(node, op=OPERATORS[type(node.op)]())
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node, node.operand
        case ast.Constant(value=bool()):
            yield node, ast.Constant(not node.value)
        case ast.Constant(value=int()):
            yield from ((node, ast.Constant(node.value + step)) for step in (1, -1))
        case ast.Constant(value=float()):
            yield node, ast.Constant(node.value * 2 or 1.0)
        case ast.IfExp():
            yield node, with_(node, body=node.orelse, orelse=node.body)
        case ast.If() | ast.While():
            yield node.test, ast.UnaryOp(ast.Not(), node.test)
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            for i, loop in enumerate(node.generators):
                if loop.ifs:
                    loops = [*node.generators[:i], with_(loop, ifs=[]), *node.generators[i + 1 :]]
                    yield node, with_(node, generators=loops)
        case ast.Slice():
            yield from ((node, with_(node, **{end: None})) for end in ("lower", "upper") if getattr(node, end))
        case ast.Return(value=ast.expr()) if ast.unparse(node.value) != "None":
            yield node, ast.Return(ast.Constant(None))
        case ast.Raise() | ast.Continue() | ast.Break() | ast.Expr(value=ast.Call() | ast.Await()):
            yield node, ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield node, ast.Pass()
        case ast.Call():
            yield from ((node, other) for other in calls(node))


def calls(node: ast.Call) -> Iterator[ast.AST]:
    """A call of the opposite function, with swapped arguments, and without one of its named ones."""
    match node.func:
        case ast.Name(id=name) if name in NAMES:
            yield with_(node, func=ast.Name(NAMES[name]))
        case ast.Attribute(attr=name) if name in NAMES:
            yield with_(node, func=with_(node.func, attr=NAMES[name]))
    orderless = isinstance(node.func, ast.Name) and node.func.id in ("min", "max", "isinstance")
    if len(node.args) > 1 and not orderless and not any(isinstance(one, ast.Starred) for one in node.args[:2]):
        yield with_(node, args=[node.args[1], node.args[0], *node.args[2:]])
    for i in range(len(node.keywords)):
        yield with_(node, keywords=node.keywords[:i] + node.keywords[i + 1 :])


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but annotations, decorators, messages, and what only a type checker runs."""
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.Assign(targets=[ast.Name(id="__all__")]):
            return
        case ast.Expr(value=ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name))) if name in MESSAGES:
            return
    yield node
    if isinstance(node, ast.Raise | ast.JoinedStr):
        return
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from walk(child)


def mutants(root: Path, path: Path) -> Iterator[Mutant]:
    """All mutants of a module of the tree at `root`."""
    source = path.read_bytes()
    starts = [0, *(match.end() for match in re.finditer(rb"\n", source))]
    module, seen = str(path.relative_to(root)), {source}
    for node in walk(ast.parse(source)):
        for old, new in changes(node):
            begin, end = starts[old.lineno - 1] + old.col_offset, starts[old.end_lineno - 1] + old.end_col_offset
            text = ast.unparse(ast.fix_missing_locations(new))
            bare = isinstance(old, ast.stmt | ast.Slice | ast.Constant | ast.GeneratorExp)
            changed = source[:begin] + (text if bare else f"({text})").encode() + source[end:]
            if changed not in seen:
                seen.add(changed)
                both = [one.decode().splitlines() for one in (source, changed)]
                diff = list(difflib.unified_diff(*both, n=0, lineterm=""))[3:]
                yield Mutant(module, old.lineno, "\n".join(diff), changed.decode())
