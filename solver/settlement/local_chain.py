"""The local chain of `keyfill up`: an Anvil whose chain survives whatever kills it.

We mine, not Anvil: a block when a transaction waits, then the two blocks that make it
final, and after each step the whole chain is saved before the next. So no block is ever
final that is not saved, and the market, which knows final blocks only, never knows more
than what comes back after a power cut. An idle chain hardly grows.
"""

import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Final, Self

import structlog

from contracts.anvil import Anvil, Options
from contracts.fault import AnvilFailed

STOP_SECONDS_MAX: Final = 20.0
POLL_SECONDS: Final = 0.05
IDLE_SECONDS: Final = 15.0
"""Without transactions a block comes this often, so that the chain's time goes on."""
FINALITY_BLOCKS: Final = "0x2"
"""With one slot an epoch, a block is final once two more are on top of it."""

_log = structlog.get_logger()


class LocalChain:
    """A running chain that saves itself to `folder/chain.state`. Blocking calls."""

    def __init__(self, anvil: Anvil, state: Path) -> None:
        self._anvil = anvil
        self._state = state
        self._open = state.exists()
        """Whether the newest block may hold a transaction, and is not final yet."""
        self._unsaved = False
        self._mined_at = time.monotonic()
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="local chain", daemon=True)
        self.url: Final = anvil.url

    @classmethod
    def start(cls, folder: Path) -> Self:
        """Start the folder's chain, or go on with it. Raises AnvilFault.

        The caller holds the folder's lock: whatever Anvil is still there has no owner.
        """
        note = folder / "anvil.pid"
        _stop_orphan(note)
        cache = folder / "anvil.cache"
        shutil.rmtree(cache, ignore_errors=True)
        anvil = Anvil.start(Options(manual=True, cache=cache))
        try:
            note.write_text(str(anvil.pid))
            state = folder / "chain.state"
            if state.exists():
                _load(anvil, state)
        except BaseException:
            anvil.stop()
            raise
        chain = cls(anvil, state)
        chain._keeper.start()
        return chain

    def stop(self) -> None:
        """Save what is not saved yet, and end it."""
        self._stopping.set()
        self._keeper.join(STOP_SECONDS_MAX)
        self._anvil.stop()

    def _keep(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            try:
                self._step()
            except (AnvilFailed, OSError) as fault:
                _log.warning("local_chain_waits", reason=str(fault))
                self._stopping.wait(1)

    def _step(self) -> None:
        if self._unsaved:
            self._save()
        if int(self._anvil.rpc("txpool_status")["pending"], 16):
            self._mine("0x1")
            self._open = True
        elif self._open:
            self._mine(FINALITY_BLOCKS)
            self._open = False
        elif time.monotonic() - self._mined_at > IDLE_SECONDS:
            self._mine("0x1")

    def _mine(self, blocks: str) -> None:
        self._unsaved = True
        self._anvil.rpc("anvil_mine", blocks)
        self._mined_at = time.monotonic()
        self._save()

    def _save(self) -> None:
        """Whole or not at all: written beside, synced, then put in place."""
        draft = self._state.with_suffix(".new")
        with draft.open("w") as file:
            file.write(self._anvil.rpc("anvil_dumpState"))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._state)
        self._unsaved = False


def _load(anvil: Anvil, state: Path) -> None:
    try:
        anvil.rpc("anvil_loadState", state.read_text())
    except (AnvilFailed, UnicodeDecodeError) as error:
        raise AnvilFailed(
            f"{state} is damaged, and with it the local chain: move the data folder away "
            f"and start anew ({error})"
        ) from error


def _stop_orphan(note: Path) -> None:
    """End the Anvil that a killed market left behind; what counts of it is saved."""
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
        time.sleep(POLL_SECONDS)


def _is_anvil(pid: int) -> bool:
    """Whether this process is there and is an Anvil: numbers are used again."""
    found = subprocess.run(  # noqa: S603
        ["ps", "-p", str(pid), "-o", "stat=,comm="],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return "anvil" in found and not found.startswith("Z")
