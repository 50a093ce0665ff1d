"""A verifier: `python -m solver.verifier.worker`, its socket as standard input.

It imports what admission needs and nothing else, knows no secret, and ends when the socket
does, so it never outlives the market, however that ends. Whatever a document says, it goes
on: an exception of ours is told by its name, and the market decides.
"""

import ctypes
import gc
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from intents.admission import Rules
from solver.verifier.batch import Kind, Verdict, answer, answer_together
from solver.verifier.frame import Answer, Frames, Task, decode_start, decode_task, encode

CHUNK_BYTES: Final = 256 * 1024
NICER: Final = 5
"""Than the market. By ten we would get a tenth where a third process wants all that there is."""
TURN_NS: Final = 10_000_000
"""Of the processor: some seven times as long as Linux gives by itself."""
_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
"""The number of this system call, by architecture."""
_SCHED_ATTR: Final = "=IIQiIQQQ"
"""Its size, policy, flags, niceness, priority, turn, and two times that are for others."""
COLLECT_AFTER: Final = 50_000
"""New containers between collections."""


def main() -> None:
    """Answer tasks until the market closes the socket."""
    _give_way()
    with socket.socket(fileno=sys.stdin.fileno()) as market:
        frames = _received(market)
        start = next(frames, None)
        if start is None:
            return
        rules = decode_start(start).rules()
        # Nothing that was imported is ever garbage: do not look at it again, and seldom at
        # anything else, as verifying makes no cycles.
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER)
        for frame in frames:
            market.sendall(encode(_carry_out(decode_task(frame), rules)))


def _give_way() -> None:
    """Have Linux not take the processor from the market each time it hands us a task.

    Otherwise a write to our socket may cost the market some milliseconds, until our time slice
    is over. Where both want one processor, the market gets three quarters of it: it feeds us.
    """
    with suppress(OSError):
        os.nice(NICER)
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        _take_long_turns()


def _take_long_turns() -> None:
    """Have Linux end our turn for whoever has shorter ones, as the market has.

    From 6.12 on a process can say how long its turns are to be; others ignore it, or refuse. Python
    and older C libraries have no name for this call.
    """
    call = _SCHED_SETATTR.get(os.uname().machine)
    if call is not None:
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        wanted = struct.pack(
            _SCHED_ATTR, struct.calcsize(_SCHED_ATTR), os.SCHED_BATCH, 0, nice, 0, TURN_NS, 0, 0
        )
        ctypes.CDLL(None).syscall(call, 0, wanted, 0)


def _received(market: socket.socket) -> Iterator[bytes]:
    frames = Frames()
    chunk = memoryview(bytearray(CHUNK_BYTES))
    # Always the same memory: to have the system find so much anew takes as long as a recovery.
    while size := market.recv_into(chunk):
        yield from frames.feed(chunk[:size])


def _carry_out(task: Task, rules: Rules) -> Answer:
    """A Verdict for each body; one for all if they are single intents, as they mostly are."""
    if all(kind == Kind.INTENT for kind, _ in task.bodies):
        with suppress(Exception):  # one by one tells which of them it was
            return Answer([answer_together([raw for _, raw in task.bodies], rules, task.now_s)])
    return Answer([_answer(kind, raw, rules, task.now_s) for kind, raw in task.bodies])


def _answer(kind: int, raw: bytes, rules: Rules, now_s: int) -> Verdict | str:
    try:
        return answer(Kind(kind), raw, rules, now_s)
    except Exception as error:  # noqa: BLE001  told to the market, which says so in its log
        return type(error).__name__


if __name__ == "__main__":
    # The market is gone, and so are we.
    with suppress(BrokenPipeError, ConnectionResetError):
        main()
