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


def main(arguments: list[str]) -> int:
    """Write or check all artifacts."""
    subprocess.run(  # noqa: S603  our own tool, by path
        [ROOT / "tool" / "forge", "build", "--skip", "test"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    drifted = 0
    for name in CONTRACTS:
        path = ROOT / "artifact" / f"{name}.json"
        text = artifact_of(name)
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in arguments:
            sys.stderr.write(f"{path.name} is not what the sources give: run `make artifacts`\n")
            drifted += 1
        else:
            path.write_text(text)
            sys.stdout.write(f"wrote {path.name}\n")
    return 1 if drifted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
