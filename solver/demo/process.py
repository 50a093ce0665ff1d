"""Child processes and ports of the demo."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import aiohttp

_STOP_SECONDS_MAX: Final = 30
_PORTS: Final = range(20_000, 30_000)
"""Below those that systems give to whoever asks for any."""
_PORTS_TRIED_MAX: Final = 100


class StartFailed(Exception):
    """A child process did not come up; the message names its log."""


def free_port() -> int:
    """A loopback port that is free now, and that nobody gets by chance before it is used."""
    for port in secrets.SystemRandom().sample(_PORTS, _PORTS_TRIED_MAX):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise StartFailed(f"no port from {_PORTS[0]} to {_PORTS[-1]} is free")


class Subprocess:
    """A child process whose output goes to a file."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @classmethod
    async def start(
        cls, command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> "Subprocess":
        """Start a command with standard output and error in `log`."""
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
            )
        return cls(process, log)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self._process.returncode is not None

    async def until_answers(self, url: str, seconds_max: float) -> None:
        """Wait until `url` answers anything at all. Raises StartFailed."""
        try:
            async with asyncio.timeout(seconds_max), aiohttp.ClientSession() as session:
                while not await _answers(session, url):
                    if self._process.returncode is not None:
                        raise StartFailed(f"it ended at once; see {self._log}")
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            await self.stop()
            raise StartFailed(f"no answer within {seconds_max} s; see {self._log}") from error

    async def wait(self) -> int:
        """Wait for the end; returns the exit code."""
        return await self._process.wait()

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    async def kill(self) -> None:
        """End the child at once, whatever it is doing."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """Ask the child to end, then make it. Stopping twice does nothing."""
        if self._process.returncode is not None:
            return
        self._process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS_MAX)
            return
        self._process.kill()
        await self._process.wait()


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url):
            return True
    except aiohttp.ClientError:
        return False
