"""The local chain of `keyfill up`: an Anvil that keeps its chain in the data folder.

Anvil writes its chain when it is stopped, and every second while it runs. A market that
was killed leaves its Anvil behind: it is stopped here first, so that it writes what it
has, and the chain goes on where it was.
"""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

from contracts.anvil import Anvil, Options
from contracts.fault import AnvilFailed

STOP_SECONDS_MAX: Final = 20.0
_POLL_SECONDS: Final = 0.05


def start_local_chain(folder: Path, block_ms: int) -> Anvil:
    """Start the folder's chain, or go on with it. Blocking. Raises AnvilFault.

    The caller holds the folder's lock: whatever Anvil is still there has no owner.
    """
    note = folder / "anvil.pid"
    _stop_orphan(note)
    anvil = Anvil.start(Options(block_time_ms=block_ms, state=folder / "anvil.json"))
    note.write_text(str(anvil.pid))
    return anvil


def _stop_orphan(note: Path) -> None:
    try:
        pid = int(note.read_text())
    except (OSError, ValueError):
        return
    if _is_anvil(pid):
        os.kill(pid, signal.SIGTERM)
        _await_end(pid)
    note.unlink(missing_ok=True)


def _await_end(pid: int) -> None:
    deadline = time.monotonic() + STOP_SECONDS_MAX
    while _is_anvil(pid):
        if time.monotonic() > deadline:
            raise AnvilFailed(f"an older anvil (process {pid}) does not stop; end it by hand")
        time.sleep(_POLL_SECONDS)


def _is_anvil(pid: int) -> bool:
    """Whether this process is there and is an Anvil: numbers are used again."""
    found = subprocess.run(  # noqa: S603
        ["ps", "-p", str(pid), "-o", "stat=,comm="],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return "anvil" in found and not found.startswith("Z")
