#!/usr/bin/env python3
"""Write artifact/*.json from the sources: what Python deploys and binds to.

They are committed, so that only those who change a contract need a compiler. `--check`
compiles and fails if a committed file has drifted.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CONTRACTS: Final = (
    "BreachBond",
    "SessionAccount",
    "SessionAccountFactory",
    "SessionRelay",
    "SessionModule",
    "GuardianSet",
    "SessionLens",
    "Settlement",
    "SettlementDesk",
    "SolverBonds",
    "TestUSDC",
)


def artifact_of(name: str) -> str:
    """The artifact as JSON text, from what forge built."""
    built = json.loads((ROOT / "out" / f"{name}.sol" / f"{name}.json").read_text())
    if built["bytecode"]["linkReferences"]:
        raise SystemExit(f"{name} has unlinked libraries")
    artifact = {
        "contractName": name,
        "abi": built["abi"],
        "bytecode": built["bytecode"]["object"],
    }
    return json.dumps(artifact, indent=1) + "\n"


def build(*options: str) -> None:
    """Compile what has changed, or with `--force` all."""
    subprocess.run(  # noqa: S603  our own tool, by path
        [ROOT / "tool" / "forge", "build", "--skip", "test", *options],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def drifted() -> list[Path]:
    """The files that are not what was built."""
    paths = {name: ROOT / "artifact" / f"{name}.json" for name in CONTRACTS}
    return [
        path
        for name, path in paths.items()
        if not path.exists() or path.read_text() != artifact_of(name)
    ]


def main(arguments: list[str]) -> int:
    """Write or check all artifacts."""
    build()
    if drifted():
        # Of a part of the sources the compiler makes other bytecode than of all, now and then.
        build("--force")
    paths = drifted()
    for path in paths:
        if "--check" in arguments:
            sys.stderr.write(f"{path.name} is not what the sources give: run `make artifacts`\n")
        else:
            path.write_text(artifact_of(path.stem))
            sys.stdout.write(f"wrote {path.name}\n")
    return 1 if paths and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
