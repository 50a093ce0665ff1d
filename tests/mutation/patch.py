"""How a mutant gets into a process: into live functions, or in the place of a module's source."""

import gc
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator
from functools import _lru_cache_wrapper
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import CodeType, FunctionType
from typing import Any

from tests.mutation.scope import path_of

Functions = dict[tuple[str, int], list[FunctionType]]
"""Live functions by the qualified name and first line of their code."""


def live_functions(module: str) -> Functions:
    """All functions of a module that exist now, wherever they were imported or stored."""
    path = str(path_of(module))
    found: Functions = {}
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and one.__code__.co_filename == path:
            code = one.__code__
            found.setdefault((code.co_qualname, code.co_firstlineno), []).append(one)
    return found


def put_into(functions: Functions, code: CodeType, function: str) -> bool:
    """Give the function, and those made in it, their code of a mutated module.

    False where there is none that lives, or where it does not fit.
    """
    found = False
    for one in _codes(code):
        name = one.co_qualname
        if name != function and not name.startswith(f"{function}.<locals>."):
            continue
        for live in functions.get((name, one.co_firstlineno), ()):
            if live.__code__.co_freevars != one.co_freevars:
                return False
            live.__code__ = one
            found = True
    return found


def caches() -> list[Any]:
    """What remembers a function's answers: one from before a mutation would hide it."""
    return [
        one
        for one in gc.get_objects()
        if isinstance(one, _lru_cache_wrapper)
        and str(one.__module__).startswith(("intents", "solver.core"))
    ]


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _codes(one)


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads one module from code that was compiled before."""

    def __init__(self, name: str, code: CodeType) -> None:
        super().__init__(name, code.co_filename)
        self._mutated = code

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002  there is one
        return self._mutated


class Finder(importlib.abc.MetaPathFinder):
    """Finds one module's mutant before anything finds the module."""

    def __init__(self, module: str, code: CodeType) -> None:
        self._module = module
        self._code = code

    def install(self) -> None:
        """From now on; the module must not be imported yet."""
        if self._module in sys.modules:
            raise RuntimeError(f"{self._module} is imported already")
        sys.meta_path.insert(0, self)

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != self._module:
            return None
        loader = _Loader(fullname, self._code)
        return spec_from_file_location(fullname, self._code.co_filename, loader=loader)
