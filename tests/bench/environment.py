"""The Python environments that engines run in: ours, and one for the peers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).parents[2]
WORK: Final = ROOT / ".keyfill" / "bench"
LOCK: Final = Path(__file__).with_name("peers.lock")
COMPILED: Final = ROOT / "build" / "compiled"
"""Where the build puts the compiled modules, laid out as in the source."""
PARTS: Final = ("intents", "solver", "tests/bench/ours.py")
"""What a run of ours is made of."""
INSTALL_SECONDS_MAX: Final = 600


class EnvironmentFault(Exception):
    """The benchmark cannot run here; the message says what is missing."""


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """An interpreter, and where it finds modules first."""

    python: str
    path: tuple[Path, ...]

    def command(self, module: str, *arguments: str) -> list[str]:
        """How to run a module in it; the working directory is not on its path."""
        return [self.python, "-P", "-m", module, *arguments]

    def variables(self) -> dict[str, str]:
        """The environment variables of a run."""
        path = os.pathsep.join(str(folder) for folder in self.path)
        return os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "0"}


def pure() -> Environment:
    """Our source as it stands."""
    return Environment(python=sys.executable, path=(ROOT,))


def compiled() -> Environment:
    """Our compiled modules before the source, if they are of this source."""
    if not COMPILED.is_dir():
        raise EnvironmentFault("nothing is compiled: run `make compile` first")
    for source in _sources():
        built = COMPILED / source.relative_to(ROOT)
        if not built.exists() or built.read_bytes() != source.read_bytes():
            raise EnvironmentFault(f"{source.name} has changed: run `make compile` again")
    return Environment(python=sys.executable, path=(COMPILED, ROOT))


def _sources() -> Iterator[Path]:
    for part in PARTS:
        place = ROOT / part
        yield from place.rglob("*.py") if place.is_dir() else (place,)


def peers() -> Environment:
    """The peers, installed from their lock on first use."""
    name = f"{sys.version_info.major}.{sys.version_info.minor}-{_digest(LOCK)}"
    folder = ROOT / ".keyfill" / "bench-peers" / name
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if not ready.exists():
        _say("installing the peers (once)")
        _call(sys.executable, "-m", "venv", "--clear", str(folder))
        _call(str(python), *_INSTALL, str(LOCK))
        ready.touch()
    return Environment(python=str(python), path=(ROOT,))


_INSTALL: Final = (
    *("-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
    *("--require-hashes", "--only-binary", ":all:", "--no-deps", "-r"),
)


def _call(*command: str) -> None:
    result = subprocess.run(  # every argument is ours
        command, capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX, check=False
    )
    if result.returncode:
        raise EnvironmentFault(f"the peers cannot be installed here:\n{result.stderr.strip()}")


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()[:12]


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
