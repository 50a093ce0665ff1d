"""One verifier as the market holds it: a process, its socket, what it was asked last."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, cast

import msgspec

from intents.admission import Rules
from solver.verifier.batch import Verdict
from solver.verifier.frame import (
    Frames,
    FrameTooLarge,
    Start,
    Task,
    decode_answer,
    encode,
)

PLACE: Final = str(Path(__file__).parents[2])
"""Where our packages are, wherever this process was started."""
_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG")
"""All that a verifier is told of the market's environment."""
END_SECONDS_MAX: Final = 2.0
BUFFER_BYTES: Final = 512 * 1024
Taken = Callable[["Verifier", Sequence[Verdict | str]], None]


class VerifierFailed(Exception):
    """Verifying raised: a bug of ours, named by its exception's class."""


class Verifier(asyncio.Protocol):
    """A process that answers tasks in order. `lost` is set when it is gone."""

    def __init__(self, rules: Rules, taken: Taken) -> None:
        self.lost: Final = asyncio.Event()
        self.answered = 0
        self.silent_since = asyncio.get_running_loop().time()
        """When it last answered, or was given something after it had answered all."""
        self._start = Start(domain=rules.domain, assets=tuple(sorted(rules.assets)))
        self._taken = taken
        self._frames = Frames()
        self._asked = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the process; end it, and wait for its end, when the block is left."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        try:
            self._process = _spawn(theirs)
            theirs.close()
            ours.setblocking(False)
            await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)
            self._write(encode(self._start))
            yield
        finally:
            theirs.close()
            if self._transport is None:
                ours.close()
            else:
                self._transport.abort()
            if self._process is not None:
                # It begins at once: a task for it could be cancelled before its first step.
                loop = asyncio.get_running_loop()
                await asyncio.shield(loop.run_in_executor(None, _reap, self._process))

    def send(self, task: Task) -> None:
        """Ask it; `taken` is called with the answer, in the order of asking."""
        if self._asked == self.answered:
            self.silent_since = asyncio.get_running_loop().time()
        self._asked += 1
        self._write(encode(task))

    def kill(self) -> None:
        """End it now; `lost` follows."""
        assert self._process is not None
        self._process.kill()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ready."""
        # No assertion of the class: uvloop's transports only behave like asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answers, or parts of them. One that is no answer ends the process."""
        try:
            for frame in self._frames.feed(data):
                answer = decode_answer(frame)
                self.answered += 1
                self.silent_since = asyncio.get_running_loop().time()
                self._taken(self, answer.bodies)
        except (FrameTooLarge, msgspec.MsgspecError):
            self.kill()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  it is gone
        """Tell whoever keeps it."""
        self.lost.set()

    def _write(self, frame: bytes) -> None:
        assert self._transport is not None
        self._transport.write(frame)


def _spawn(end: socket.socket) -> subprocess.Popen[bytes]:
    """A verifier on this socket. Its process group is its own: Ctrl-C is for the market."""
    return subprocess.Popen(
        [sys.executable, "-m", "solver.verifier.worker"],
        stdin=end.fileno(),
        stdout=subprocess.DEVNULL,
        process_group=0,
        cwd=PLACE,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
    )


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process whose socket is closed; one that does not see it is killed."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS_MAX)
    process.kill()
    process.wait()
