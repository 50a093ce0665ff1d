"""Which tests run which lines, and how long each takes: measured once, in a fork of its own."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import msgspec

from tests.mutation.scope import ROOT, folder_of, path_of

Line = tuple[str, int]


SLOW_SECONDS: Final = 0.3
"""A test that takes longer is not watched: it may run anything, and is asked last."""


class Reach(msgspec.Struct, frozen=True):
    """What was measured, and for which sources."""

    sources: str
    files: dict[str, str]
    """Hashes of the tests' files."""
    seconds: dict[str, float]
    tests: dict[str, dict[int, list[str]]]
    """By module and line: the tests that run it, the quickest first."""

    def is_watched(self, module: str, lines: range) -> bool:
        """Whether a quick test runs any of these lines, once everything is imported."""
        return any(self.tests.get(module, {}).get(line) for line in lines)

    def tests_of(self, module: str, lines: range) -> list[str]:
        """The tests that run any of these lines, the quickest first."""
        by_line = self.tests.get(module, {})
        names = {name for line in lines for name in by_line.get(line, ())}
        folder = folder_of(module) + "/"
        names |= {
            name
            for name, seconds in self.seconds.items()
            if seconds > SLOW_SECONDS and name.startswith(folder)
        }
        return sorted(names, key=lambda name: (self.seconds[name], name))


class Tracer:
    """Collects the lines of some modules that run, whoever calls them."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self._modules = {str(path_of(module)): module for module in modules}
        self._lines: set[Line] = set()
        self._missing: dict[CodeType, set[int]] = {}

    @contextmanager
    def watching(self) -> Iterator[set[Line]]:
        """The lines that run meanwhile."""
        lines = self._lines = set()
        self._missing = {}
        before = sys.gettrace()
        sys.settrace(self._on_call)
        try:
            yield lines
        finally:
            sys.settrace(before)

    def _on_call(self, frame: FrameType, _: str, __: Any) -> Callable[..., Any] | None:
        code = frame.f_code
        module = self._modules.get(code.co_filename)
        if module is None:
            return None
        missing = self._missing.get(code)
        if missing is None:
            lines = {line for _, _, line in code.co_lines() if line is not None}
            missing = self._missing[code] = lines - {code.co_firstlineno}
        if not missing:
            return None
        return self._on_line(module, missing)

    def _on_line(self, module: str, missing: set[int]) -> Callable[..., Any]:
        def trace(frame: FrameType, event: str, _: Any) -> Callable[..., Any]:
            if event == "line":
                line = frame.f_lineno
                missing.discard(line)
                self._lines.add((module, line))
            return trace

        return trace


def measure(
    names: list[str],
    passes: Callable[[str], bool],
    modules: tuple[str, ...],
    known: Reach | None = None,
) -> Reach:
    """Run every test for its time, and the quick ones again for their lines.

    One that fails can judge nothing: it is left out, and said so.

    What is known of a test is taken over while neither its file nor a module has changed; of a
    slow one, which is not watched, its time is.
    """
    reach = _carried_over(names, modules, known)
    tracer = Tracer(modules)
    for name in names:
        if name in reach.seconds:
            continue
        start = time.process_time()
        if not passes(name):
            sys.stderr.write(f"left out, as it fails without any mutation: {name}\n")
            continue
        seconds = reach.seconds[name] = time.process_time() - start
        if seconds > SLOW_SECONDS:
            continue
        with tracer.watching() as lines:
            passes(name)
        for module, line in lines:
            reach.tests.setdefault(module, {}).setdefault(line, []).append(name)
    return reach


def _carried_over(names: list[str], modules: tuple[str, ...], known: Reach | None) -> Reach:
    sources = _hash_of(*(path_of(module) for module in modules))
    files = {name.partition("::")[0] for name in names}
    reach = Reach(sources, {file: _hash_of(ROOT / file) for file in sorted(files)}, {}, {})
    if known is None:
        return reach
    old = [name for name in names if name in known.seconds]
    same = {name for name in old if _file_hash(known, name) == _file_hash(reach, name)}
    if known.sources != sources:
        same = {name for name in same if known.seconds[name] > SLOW_SECONDS}
    reach.seconds.update({name: known.seconds[name] for name in names if name in same})
    if known.sources != sources:
        return reach
    for module, by_line in known.tests.items():
        reach.tests[module] = {
            line: [name for name in tests if name in same] for line, tests in by_line.items()
        }
    return reach


def _file_hash(reach: Reach, name: str) -> str | None:
    return reach.files.get(name.partition("::")[0])


def _hash_of(*paths: Path) -> str:
    return blake2b(b"".join(path.read_bytes() for path in paths), digest_size=16).hexdigest()
