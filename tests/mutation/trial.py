"""One mutant, one forked process: whatever it does to memory ends with it."""

import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NoReturn

import msgspec

MEMORY_MAX: Final = 6 << 30
"""Address space of a trial: a mutant may append for ever."""
WALL_SECONDS_MAX: Final = 180
SECONDS_SPARE: Final = 0.7
SECONDS_FACTOR: Final = 8
"""A test may take this much more CPU than without a mutation, and a bit."""
_MESSAGE_BYTES_MAX: Final = 65_536


class Fate(StrEnum):
    """What becomes of a mutant."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"
    POSTPONED = "postponed"
    """No quick test runs its line, as it runs at import, or it does not fit what lives: to be
    tried in a process of its own."""


class Verdict(msgspec.Struct, frozen=True):
    """And by which test."""

    fate: Fate
    killer: str = ""


def judged(work: Callable[[Callable[[Verdict], NoReturn]], None]) -> Verdict:
    """What `work` says in a fork; it survives if it ends without a word."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _judge(work, writer)
    os.close(writer)
    message = _read(reader)
    os.close(reader)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if not message:
        return Verdict(Fate.TIMED_OUT, "the process ended")
    fate, killer = json.loads(message)
    return Verdict(Fate(fate), killer)


def _judge(work: Callable[[Callable[[Verdict], NoReturn]], None], writer: int) -> NoReturn:
    def say(verdict: Verdict) -> NoReturn:
        os.write(writer, json.dumps([verdict.fate, verdict.killer]).encode())
        os._exit(0)

    _be_quiet()
    if sys.platform == "linux":  # elsewhere the system does not hold a process to it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    try:
        work(say)
    except MemoryError:
        say(Verdict(Fate.TIMED_OUT, "memory"))
    except BaseException as error:  # noqa: BLE001  a mutant may raise anything, anywhere
        say(Verdict(Fate.KILLED, f"raised {type(error).__name__}"))
    say(Verdict(Fate.SURVIVED))


def within(seconds: float, out_of_time: Callable[[], NoReturn]) -> None:
    """From now on so much CPU may be used; then `out_of_time` ends the process."""
    signal.signal(signal.SIGPROF, lambda *_: out_of_time())
    signal.setitimer(signal.ITIMER_PROF, SECONDS_SPARE + SECONDS_FACTOR * seconds)


def _be_quiet() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    sys.setrecursionlimit(2_000)


def _read(reader: int) -> bytes:
    """What the trial says, or nothing if it takes too long."""
    end = time.monotonic() + WALL_SECONDS_MAX
    ready, _, _ = select.select([reader], [], [], max(0.0, end - time.monotonic()))
    return os.read(reader, _MESSAGE_BYTES_MAX) if ready else b""
