"""A real data set that every machine with Python has: the standard library's docstrings."""

import ast
import sqlite3
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PAGES_MAX: Final = 3_000
SKIPPED: Final = frozenset({"test", "tests", "idlelib", "lib2to3", "site-packages", "turtledemo"})

_SCHEMA: Final = """
CREATE TABLE pages (id INTEGER PRIMARY KEY, name TEXT, kind TEXT, text TEXT);
CREATE VIRTUAL TABLE pages_fts USING fts5 (name, text, content="pages", content_rowid="id");
"""
_INDEX: Final = "INSERT INTO pages_fts (rowid, name, text) SELECT id, name, text FROM pages"


def build_corpus(path: Path) -> int:
    """Write a SQLite database with one full-text indexed row a docstring; returns the count."""
    connection = sqlite3.connect(path)
    with connection:
        connection.executescript(_SCHEMA)
        connection.executemany("INSERT INTO pages (name, kind, text) VALUES (?, ?, ?)", _pages())
        connection.execute(_INDEX)
        count = connection.execute("SELECT count(*) FROM pages").fetchone()[0]
    connection.close()
    return int(count)


def _pages() -> Iterator[tuple[str, str, str]]:
    count = 0
    root = Path(sysconfig.get_paths()["stdlib"])
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        if SKIPPED & set(parts) or count >= PAGES_MAX:
            continue
        for page in _docstrings(file, ".".join(parts)):
            count += 1
            yield page


def _docstrings(file: Path, module: str) -> Iterator[tuple[str, str, str]]:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                name = module if isinstance(node, ast.Module) else f"{module}.{node.name}"
                yield name, type(node).__name__.removesuffix("Def").lower(), text
