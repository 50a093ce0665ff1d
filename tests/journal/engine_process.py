"""A market's engine in processes of its own, over pipes: sequencer, journal and core, no HTTP.

`python -m tests.journal.engine_process <socket> [bug]` waits on a socket for folders, and
forks an engine for each: a process that can be killed, up in milliseconds. The engine reads
frames of commands from one pipe, has each applied as one batch, and says on the other which
were accepted, once that is durable. When its pipe ends it stops cleanly.
"""

import asyncio
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from solver.core.command import Command
from solver.engine.collector import settle
from solver.engine.group import Group
from solver.engine.payload import decode
from solver.engine.sequencer import Applied, Sequencer
from solver.engine.writer import QuickWriter
from solver.journal import Journal
from solver.journal.recovery import JOURNAL, SNAPSHOTS, restore
from solver.runtime.clock import SystemClock
from tests.journal.history import GENESIS

LENGTH_BYTES: Final = 4
OUTSTANDING_MAX: Final = 64


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the engine's: that it is up, what became of a frame, or that it stopped."""

    frame: int = -1
    accepted: list[bool] = []
    seq: int = 0
    snapshot_seq: int = 0
    state_hash: str = ""


class Engine:
    """One life on a folder."""

    def __init__(self, folder: Path, commands: int, answers: int) -> None:
        self._journal = Journal.open(folder / JOURNAL, GENESIS)
        restored = restore(self._journal, folder / SNAPSHOTS)
        found = restored.recovered
        self._sequencer = Sequencer(
            found.market,
            self._journal,
            SystemClock(),
            found.feed,
            found.outcome,
            writer=QuickWriter(),
        )
        self._commands = commands
        self._answers = answers
        self._tell(
            Told(
                seq=found.seq,
                snapshot_seq=restored.snapshot_seq,
                state_hash=found.market.state.hash(),
            )
        )

    async def run(self) -> None:
        """Carry out frames until there are no more; then stop cleanly."""
        core = [
            asyncio.create_task(work)
            for work in (self._sequencer.run(), self._sequencer.run_timer())
        ]
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        pipe = os.fdopen(self._commands, "rb")
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        await self._carry_out_all(reader)
        for task in core:
            task.cancel()
        for task in core:
            with suppress(asyncio.CancelledError):
                await task
        state_hash = self._sequencer.market.state.hash()
        self._tell(Told(seq=self._journal.seq, state_hash=state_hash))
        self._journal.close()

    async def _carry_out_all(self, reader: asyncio.StreamReader) -> None:
        slots = asyncio.Semaphore(OUTSTANDING_MAX)
        async with asyncio.TaskGroup() as tasks:
            frame = 0
            with suppress(asyncio.IncompleteReadError):
                while True:
                    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
                    commands = decode(await reader.readexactly(length))
                    await slots.acquire()
                    tasks.create_task(self._carry_out(frame, commands, slots))
                    frame += 1

    async def _carry_out(
        self, frame: int, commands: list[Command], slots: asyncio.Semaphore
    ) -> None:
        results = await self._sequencer.submit_many(commands)
        accepted = [isinstance(result, Applied) for result in results]
        self._tell(Told(frame=frame, accepted=accepted))
        slots.release()

    def _tell(self, told: Told) -> None:
        os.write(self._answers, msgspec.json.encode(told) + b"\n")


def acknowledge_early() -> None:
    """A planted bug: `append` returns at once, and the disk has it a little later."""
    write = Journal.append
    lock = threading.Lock()

    def append(journal: Journal, group: Group) -> int:
        def later() -> None:
            with lock:
                write(journal, group)

        threading.Timer(0.005, later).start()
        return 0

    Journal.append = append  # type: ignore[method-assign, assignment]


def repeat_the_last() -> None:
    """A planted bug: a restart that does not trust the last group to be there, and repeats it."""
    run = Engine.run

    async def repeating(engine: Engine) -> None:
        *_, last = [None, *engine._journal.read()]
        if last is not None:
            group = Group(commands=last.commands, payload=last.payload, outcome=last.outcome)
            engine._journal.append(group)
        await run(engine)

    Engine.run = repeating  # type: ignore[method-assign, assignment]


BUGS: Final = {"acknowledge_early": acknowledge_early, "repeat_the_last": repeat_the_last}


def main(handle: int, bug: str = "") -> None:
    """Fork an engine for each folder that comes over the socket; answer with its process."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if bug:
        BUGS[bug]()
    with socket.socket(fileno=handle) as requests:
        while True:
            folder, pipes, _, _ = socket.recv_fds(requests, 4_096, 2)
            if not folder:
                return
            process = os.fork()
            if not process:
                requests.close()
                settle()
                asyncio.run(Engine(Path(folder.decode()), *pipes).run())
                os._exit(0)
            for pipe in pipes:
                os.close(pipe)
            requests.send(process.to_bytes(8, "big"))


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
