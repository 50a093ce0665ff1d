"""The operators: every small change of a syntax tree that could change what it does."""

import ast
from collections.abc import Iterator
from typing import Final

import msgspec

from tests.mutation.scope import (
    CLASS_KEYWORDS_LEFT_OUT,
    MESSAGE_CALLS,
    MESSAGE_KEYWORDS_KEPT,
    NAMES_LEFT_OUT,
)

_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_TWINS: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
_FUNCTION: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_DELETED: Final = (ast.AugAssign, ast.Delete, ast.Break, ast.Continue, ast.Raise)


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """One place of a tree and what could stand there instead."""

    operator: str
    parent: ast.AST
    name: str
    place: int | None
    """Where in the parent's field, if that is a list."""
    old: ast.AST
    new: ast.AST
    function: str
    """The outermost function whose body it is in, as a qualified name; empty outside."""
    statement: ast.stmt
    """The innermost statement around it."""

    def apply(self) -> None:
        """Change the tree."""
        self._put(self.new)

    def undo(self) -> None:
        """Change it back."""
        self._put(self.old)

    def _put(self, node: ast.AST) -> None:
        if self.place is None:
            setattr(self.parent, self.name, node)
        else:
            getattr(self.parent, self.name)[self.place] = node


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the walk is."""

    parent: ast.AST
    name: str
    place: int | None
    function: str
    path: str
    statement: ast.stmt


def edits(tree: ast.Module) -> Iterator[Edit]:
    """All edits of a module, in order of the source."""
    for place, statement in enumerate(tree.body):
        where = _Place(
            parent=tree, name="body", place=place, function="", path="", statement=statement
        )
        yield from _walk(statement, where)


def _walk(node: ast.AST, where: _Place) -> Iterator[Edit]:
    if _is_left_out(node):
        return
    for operator, new in _changes(node, where):
        ast.fix_missing_locations(ast.copy_location(new, node))
        yield Edit(
            operator=operator,
            parent=where.parent,
            name=where.name,
            place=where.place,
            old=node,
            new=new,
            function=where.function,
            statement=where.statement,
        )
    for name, place, child in _children(node):
        yield from _walk(child, _inside(node, where, name, place, child))


def _inside(node: ast.AST, where: _Place, name: str, place: int | None, child: ast.AST) -> _Place:
    path, function = where.path, where.function
    if isinstance(node, ast.ClassDef | ast.FunctionDef) and name == "body":
        path = f"{path}.{node.name}" if path else node.name
        if isinstance(node, _FUNCTION) and not function:
            function = path
    return _Place(
        parent=node,
        name=name,
        place=place,
        function=function,
        path=path,
        statement=child if isinstance(child, ast.stmt) else where.statement,
    )


def _is_left_out(node: ast.AST) -> bool:
    """What no mutation is made in: imports, texts about the code, and narrowing of types."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.Pass():
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]) if name in NAMES_LEFT_OUT:
            return True
        case ast.AnnAssign(target=ast.Name(id=name)) if name in NAMES_LEFT_OUT:
            return True
        case ast.Call(func=ast.Name(id="TypeVar")):
            return True
    return False


def _children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    """Fields that hold code that runs, less what is text for people."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "bases", "exc", "ctx"}:
            continue
        if isinstance(value, ast.AST):
            yield name, None, value
        elif isinstance(value, list):
            for place, child in enumerate(value):
                if isinstance(child, ast.AST) and _counts(node, name, place, child):
                    yield name, place, child


def _counts(node: ast.AST, name: str, place: int, child: ast.AST) -> bool:
    if isinstance(node, ast.ClassDef) and isinstance(child, ast.keyword):
        return child.arg not in CLASS_KEYWORDS_LEFT_OUT
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return True
    if node.func.id not in MESSAGE_CALLS:
        return True
    if isinstance(child, ast.keyword):
        return child.arg in MESSAGE_KEYWORDS_KEPT
    return name != "args" or place < MESSAGE_CALLS[node.func.id]


def _changes(node: ast.AST, where: _Place) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.stmt):
        yield from _of_statement(node, where)
    elif isinstance(node, ast.operator | ast.cmpop | ast.boolop):
        yield from _of_operator(node)
    elif isinstance(node, ast.Constant):
        yield from _of_constant(node)
    elif isinstance(node, ast.expr):
        yield from _of_expression(node)
    elif isinstance(node, ast.keyword) and node.arg and where.function:
        yield "drop value", ast.keyword(arg=node.arg, value=ast.Constant(value=None))
    if where.name == "test" or (where.name == "ifs" and isinstance(node, ast.expr)):
        yield from _of_condition(node, where)


def _of_statement(node: ast.stmt, where: _Place) -> Iterator[tuple[str, ast.AST]]:
    if not where.function:
        return
    match node:
        case ast.Return(value=value) if value is not None and not _is_none(value):
            yield "return nothing", ast.Return(value=ast.Constant(value=None))
        case ast.Expr(value=ast.Call()):
            yield "delete call", ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            yield "delete assignment", ast.Pass()
        case ast.AnnAssign(target=ast.Attribute(), value=ast.expr()):
            yield "delete assignment", ast.Pass()
    if isinstance(node, _DELETED):
        yield "delete statement", ast.Pass()


def _of_operator(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    kind: type[ast.AST] = type(node)
    if isinstance(node, ast.cmpop) and type(node) in _COMPARISONS:
        yield "swap comparison", _COMPARISONS[type(node)]()
    elif isinstance(node, ast.operator) and type(node) in _ARITHMETIC:
        yield "swap arithmetic", _ARITHMETIC[type(node)]()
    elif kind is ast.And or kind is ast.Or:
        yield "swap logic", ast.Or() if kind is ast.And else ast.And()


def _of_constant(node: ast.Constant) -> Iterator[tuple[str, ast.AST]]:
    value = node.value
    if isinstance(value, bool):
        yield "swap truth", ast.Constant(value=not value)
    elif isinstance(value, int):
        yield "one more", ast.Constant(value=value + 1)
        yield "one less", ast.Constant(value=value - 1)
    elif isinstance(value, str):
        yield "change text", ast.Constant(value="" if value else "x")
    elif isinstance(value, bytes):
        yield "change text", ast.Constant(value=b"" if value else b"x")


def _of_expression(node: ast.expr) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield "drop sign", operand
        case ast.Call(func=ast.Name(id=name)) if name in _TWINS:
            twin = ast.Name(id=_TWINS[name], ctx=ast.Load())
            yield "swap twin", ast.Call(func=twin, args=node.args, keywords=node.keywords)


def _of_condition(node: ast.AST, where: _Place) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(where.parent, ast.Assert) or isinstance(node, ast.Constant):
        return
    if not isinstance(where.parent, ast.While):
        yield "always", ast.Constant(value=True)
    yield "never", ast.Constant(value=False)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
