"""A mutant: one edit of one module, with a name that lasts as long as its function does."""

import ast
from collections import Counter
from hashlib import blake2b
from types import CodeType

import msgspec

from tests.mutation.edit import Edit, edits
from tests.mutation.scope import path_of

_TEXT_MAX = 160


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """What is changed where. `key` names it in the file of results."""

    key: str
    module: str
    operator: str
    function: str
    line: int
    lines: range
    """Of the source: a test that runs none of them cannot notice."""
    before: str
    after: str
    tree: ast.Module
    edit: Edit

    def code(self) -> CodeType:
        """The whole module with the edit in it, compiled."""
        self.edit.apply()
        try:
            return compile(self.tree, str(path_of(self.module)), "exec")
        finally:
            self.edit.undo()

    @property
    def name(self) -> str:
        """How `accepted.toml` names it: what it changes, without a line's number."""
        return f"{self.module} {self.function}: {self.before} => {self.after}"

    def __str__(self) -> str:
        place = f"{self.module}:{self.line} {self.function}".rstrip()
        return f"{place}\n    - {self.before}\n    + {self.after}"


def mutants_of(module: str) -> list[Mutant]:
    """All of a module, in order of its source."""
    tree = ast.parse(path_of(module).read_text())
    seen: Counter[tuple[str, str]] = Counter()
    segments = _segments(tree)
    found = []
    for edit in edits(tree):
        before, after = _texts(edit)
        if before == after:
            continue
        text = segments.get(edit.function) or ast.unparse(edit.statement)
        identity = (edit.function, f"{edit.operator}|{before}|{after}|{text}")
        seen[identity] += 1
        name = f"{module}|{edit.function}|{identity[1]}|{seen[identity]}"
        found.append(
            Mutant(
                key=blake2b(name.encode(), digest_size=10).hexdigest(),
                module=module,
                operator=edit.operator,
                function=edit.function,
                line=getattr(edit.old, "lineno", getattr(edit.parent, "lineno", 0)),
                lines=_lines(edit.statement),
                before=before,
                after=after,
                tree=tree,
                edit=edit,
            )
        )
    return found


def _segments(tree: ast.Module) -> dict[str, str]:
    """The text of each function of the module and of its classes."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = ast.unparse(node)
        elif isinstance(node, ast.ClassDef):
            for one in node.body:
                if isinstance(one, ast.FunctionDef):
                    found[f"{node.name}.{one.name}"] = ast.unparse(one)
    return found


def _lines(statement: ast.stmt) -> range:
    """The lines of a statement, without those of the statements in it."""
    last = statement.end_lineno or statement.lineno
    inner = [one.lineno for one in ast.walk(statement) if isinstance(one, ast.stmt)]
    below = [line for line in inner if line > statement.lineno]
    return range(statement.lineno, min([last + 1, *below]))


def _texts(edit: Edit) -> tuple[str, str]:
    """The statement's own text before and after, cut to where they differ."""
    before = _head(edit.statement)
    edit.apply()
    try:
        changed = edit.new if edit.old is edit.statement else edit.statement
        after = _head(changed)
    finally:
        edit.undo()
    start = next(
        (place for place, (one, two) in enumerate(zip(before, after, strict=False)) if one != two),
        min(len(before), len(after)),
    )
    cut = max(0, start - _TEXT_MAX // 2)
    return before[cut : cut + _TEXT_MAX], after[cut : cut + _TEXT_MAX]


def _head(node: ast.AST) -> str:
    """A statement on one line; of one that has others in it, what stands before them."""
    if isinstance(node, ast.If | ast.While):
        return f"{'if' if isinstance(node, ast.If) else 'while'} {ast.unparse(node.test)}:"
    if isinstance(node, ast.For):
        return f"for {ast.unparse(node.target)} in {ast.unparse(node.iter)}:"
    if isinstance(node, ast.FunctionDef):
        return f"def {node.name}({ast.unparse(node.args)}):"
    if isinstance(node, ast.ClassDef):
        words = ", ".join(ast.unparse(one) for one in [*node.bases, *node.keywords])
        return f"class {node.name}({words}):"
    return " ".join(ast.unparse(node).split())
