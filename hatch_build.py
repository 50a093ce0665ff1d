"""Build hook of the wheel: compiles the core with mypyc.

An editable install stays plain Python. `KEYFILL_PURE=1` builds a plain wheel, for machines
without a C compiler. `KEYFILL_BENCH=1` also compiles what drives the core in the benchmark:
no wheel for anybody to install. Which modules are compiled stands in pyproject.toml.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.command.build_ext import build_ext

_COMPILER_FLAGS: Final = ["-fvisibility=hidden"] if os.name == "posix" else []
"""Nobody calls our functions by name from outside, so that those within are called at once, or
become part of who calls them: a fortieth off a replay."""


class CompiledCore(BuildHookInterface[Any]):
    """Puts an extension beside each compiled module's source."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and have the wheel take what came out."""
        if version == "editable" or os.environ.get("KEYFILL_PURE") == "1":
            return
        modules = list(self.config["modules"])
        if os.environ.get("KEYFILL_BENCH") == "1":
            build_data["force_include"] |= {name: name for name in self.config["bench_modules"]}
            modules += self.config["bench_modules"]
        self._folder = Path(tempfile.mkdtemp(prefix="keyfill-"))
        for built in _compile(Path(self.root), modules, self._folder):
            place = built.relative_to(self._folder / "lib").as_posix()
            build_data["force_include"][str(built)] = place
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Leave nothing behind."""
        if hasattr(self, "_folder"):
            shutil.rmtree(self._folder)


def _compile(root: Path, modules: list[str], folder: Path) -> list[Path]:
    """The extensions, as a tree of packages below `folder`/lib."""
    before = Path.cwd()
    os.chdir(root)
    try:
        arguments = ["--config-file=", "--ignore-missing-imports", *modules]
        extensions = mypycify(arguments, opt_level="3", target_dir=str(folder / "c"))
        for extension in extensions:
            extension.extra_compile_args += _COMPILER_FLAGS
        command = build_ext(Distribution({"name": "keyfill", "ext_modules": extensions}))
        command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "temp")
        command.finalize_options()
        command.run()
    finally:
        os.chdir(before)
    return sorted(path for path in (folder / "lib").rglob("*") if path.is_file())
