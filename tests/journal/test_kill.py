"""P1, P6: real processes, really killed, under load: nothing acknowledged lost, nothing twice."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

import msgspec
import pytest

from intents.document import Intent, Offer
from solver.core.command import (
    ApplyBlocks,
    Authority,
    CancelDocument,
    Command,
    IssueCredits,
    OpenResource,
    PoolKey,
    SubmitIntent,
    SubmitOffer,
)
from solver.core.fact import Deposited
from solver.engine.payload import encode
from solver.journal.reader import JournalReader
from solver.journal.recovery import JOURNAL, restore, take_snapshot
from tests.builder import SEARCH, USDC, alice, bob, key_of
from tests.journal.engine_process import LENGTH_BYTES, Told

KILLS: Final = int(os.environ.get("KEYFILL_KILLS", "200"))
FOLDERS: Final = 8
BATCH_MAX: Final = 6
OUTSTANDING_MAX: Final = 32
PIPE_BYTES: Final = 1 << 16
ANSWER_SECONDS_MAX: Final = 60
ANSWERS_MAX: Final = 20
"""That a life is given at least, now and then none."""
FOREVER_S: Final = 2**33


class Nursery:
    """Has engines forked, one at a time."""

    def __init__(self, bug: str = "") -> None:
        self._socket, theirs = socket.socketpair()
        words = [sys.executable, "-m", "tests.journal.engine_process", str(theirs.fileno())]
        self._process = subprocess.Popen(
            [*words, bug] if bug else words, pass_fds=[theirs.fileno()]
        )
        theirs.close()

    def engine(self, folder: Path) -> tuple[int, int, int]:
        """A new engine on a folder: its process, the pipe to it and the one from it."""
        commands, to_engine = os.pipe()
        from_engine, answers = os.pipe()
        socket.send_fds(self._socket, [str(folder).encode()], [commands, answers])
        os.close(commands)
        os.close(answers)
        process = int.from_bytes(self._socket.recv(8), "big")
        return process, to_engine, from_engine

    def close(self) -> None:
        """Nothing is forked any more."""
        self._socket.close()
        self._process.wait(30)


@contextmanager
def a_nursery(bug: str = "") -> Iterator[Nursery]:
    nursery = Nursery(bug)
    try:
        yield nursery
    finally:
        nursery.close()


class Load:
    """Commands without end, each of which can be told from every other."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311  test data
        self._number = 0
        self._documents: deque[CancelDocument] = deque(maxlen=50)

    def opening(self) -> list[Command]:
        """A listing, a key, money."""
        deposited = Deposited(account=alice.address, amount=10**15)
        return [
            OpenResource(resource=SEARCH),
            PoolKey(
                key=key_of(bob), owner=bob.address, provider="any", resources=(SEARCH,), limits=()
            ),
            ApplyBlocks(number=1, block_hash="0x01", facts=(deposited,)),
        ]

    def batch(self) -> list[Command]:
        """A few commands, some of which depend on those before."""
        return [self._next() for _ in range(self._random.randint(1, BATCH_MAX))]

    def _next(self) -> Command:
        self._number += 1
        match self._number % 4:
            case 0:
                return IssueCredits(account=alice.address, amount=1, reason=str(self._number))
            case 1:
                return self._offer()
            case 2:
                return self._intent()
            case _:
                return self._documents[self._random.randrange(len(self._documents))]

    def _intent(self) -> SubmitIntent:
        units = self._random.randint(1, 4)
        intent = Intent(
            account=alice.address,
            resource=SEARCH,
            asset=USDC,
            units=units,
            limit=units * self._random.randint(90, 110),
            valid_until=FOREVER_S,
            nonce=self._number,
        )
        digest = self._digest(alice.address)
        return SubmitIntent(
            intent=intent,
            digest=digest,
            signer=alice.address,
            authority=Authority.KEY,
            signature="0x" + "5a" * 64,
        )

    def _offer(self) -> SubmitOffer:
        units = self._random.randint(1, 4)
        offer = Offer(
            account=bob.address,
            resource=SEARCH,
            asset=USDC,
            key=key_of(bob),
            units=units,
            limit=units * self._random.randint(90, 110),
            valid_until=FOREVER_S,
            nonce=self._number,
        )
        digest = self._digest(bob.address)
        return SubmitOffer(
            offer=offer,
            digest=digest,
            signer=bob.address,
            authority=Authority.KEY,
            signature="0x" + "5a" * 64,
        )

    def _digest(self, account: str) -> str:
        digest = f"0x{self._number:064x}"
        self._documents.append(CancelDocument(account=account, digest=digest))
        return digest


def name_of(command: Command) -> str | None:
    """What tells a command of the load from all others; None for ticks and the opening."""
    match command:
        case IssueCredits():
            return f"issue {command.reason}"
        case SubmitIntent() | SubmitOffer():
            return f"submit {command.digest}"
        case CancelDocument():
            return f"cancel {command.digest}"
        case _:
            return None


class Life:
    """One engine from its birth to its end, and what it acknowledged meanwhile."""

    def __init__(self, nursery: Nursery, folder: Path) -> None:
        self._process, self._to_engine, self._from_engine = nursery.engine(folder)
        os.set_blocking(self._to_engine, False)
        self._unread = b""
        self._unsent = b""
        self.frames: list[list[Command]] = []
        self.answered: dict[int, list[bool]] = {}
        self.born = self._line()

    def send(self, commands: list[Command]) -> None:
        """Send a batch, or what of it goes through now."""
        payload = encode(commands)
        self.frames.append(commands)
        self._unsent += len(payload).to_bytes(LENGTH_BYTES, "big") + payload

    def work(self, load: Load, seconds: float, answers: int = 0) -> None:
        """Keep it busy for a while, and until so much is answered, however slow the machine."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 or len(self.answered) < answers:
            assert left > -ANSWER_SECONDS_MAX, "the engine does not answer"
            if len(self.frames) - len(self.answered) < OUTSTANDING_MAX and not self._unsent:
                self.send(load.batch())
            self._exchange(max(left, 0.01))

    def kill(self) -> None:
        """Kill it with -9, then read what it still said before."""
        os.kill(self._process, signal.SIGKILL)
        os.close(self._to_engine)
        while more := os.read(self._from_engine, PIPE_BYTES):
            self._unread += more
        for line in self._unread.split(b"\n")[:-1]:
            self._answer(line)
        os.close(self._from_engine)

    def stop(self) -> Told:
        """Have it stop cleanly; its last words."""
        while self._unsent:
            self._exchange(1)
        os.close(self._to_engine)
        while len(self.answered) < len(self.frames):
            self._answer(self._read_line())
        last = self._line()
        os.close(self._from_engine)
        return last

    def _exchange(self, seconds: float) -> None:
        waiting = [self._to_engine] if self._unsent else []
        readable, writable, _ = select.select([self._from_engine], waiting, [], seconds)
        if writable:
            with _while_it_lives():
                self._unsent = self._unsent[os.write(self._to_engine, self._unsent) :]
        if readable:
            more = os.read(self._from_engine, PIPE_BYTES)
            assert more, "the engine ended"
            self._unread += more
            *lines, self._unread = self._unread.split(b"\n")
            for line in lines:
                self._answer(line)

    def _answer(self, line: bytes) -> None:
        told = msgspec.json.decode(line, type=Told)
        assert told.frame not in self.answered
        self.answered[told.frame] = told.accepted

    def _line(self) -> Told:
        return msgspec.json.decode(self._read_line(), type=Told)

    def _read_line(self) -> bytes:
        end = time.monotonic() + ANSWER_SECONDS_MAX
        while b"\n" not in self._unread:
            more = os.read(self._from_engine, PIPE_BYTES)
            assert more, "the engine ended"
            assert time.monotonic() < end, "the engine does not answer"
            self._unread += more
        line, self._unread = self._unread.split(b"\n", 1)
        return line


@contextmanager
def _while_it_lives() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise AssertionError("the engine ended") from None


class Ledger:
    """What a folder's engines acknowledged, held against its journal after each life."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._accepted: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._journaled: Counter[str] = Counter()
        self.seq = 0
        self._last = 0
        self._chain = b""
        self.acknowledged = 0

    def close(self, life: Life) -> None:
        """Compare: all that was accepted is there, once; nothing of what was refused is."""
        for frame, accepted in life.answered.items():
            for command, good in zip(life.frames[frame], accepted, strict=True):
                name = name_of(command)
                if name is not None:
                    (self._accepted if good else self._refused)[name] += 1
                    self.acknowledged += 1
        self._read_on()
        for name, times in self._accepted.items():
            assert times == 1, f"{name} was accepted twice"
            assert self._journaled[name] == 1, f"{name} was acknowledged and is lost"
        assert max(self._journaled.values(), default=0) <= 1, "something is there twice"

    def _read_on(self) -> None:
        reader = JournalReader.open(self._folder / JOURNAL)
        try:
            if self.seq:
                ending = reader.at(self._last)
                assert ending is not None
                assert (ending.last, ending.chain) == (self.seq, self._chain), "history changed"
            for record in reader.read():
                if record.seq > self.seq:
                    self._journaled.update(filter(None, map(name_of, record.decoded())))
            self.seq, self._last, self._chain = reader.seq, reader.last, reader.chain
        finally:
            reader.close()


def kill_again_and_again(nursery: Nursery, folder: Path, kills: int, seed: int) -> Ledger:
    """Load, kill, restart and compare; in the end stop cleanly and compare everything."""
    random, load, ledger = Random(seed), Load(seed), Ledger(folder)  # noqa: S311  test data
    folder.mkdir()
    for kill in range(kills):
        life = Life(nursery, folder)
        assert life.born.seq == ledger.seq, "recovery has what the journal has"
        if not ledger.seq:
            life.send(load.opening())
        life.work(load, random.uniform(0.005, 0.12), random.randint(0, ANSWERS_MAX))
        life.kill()
        ledger.close(life)
        if kill % 7 == 3 and ledger.seq:
            take_snapshot(folder)
    life = Life(nursery, folder)
    life.work(load, 0.05)
    last = life.stop()
    ledger.close(life)
    _check_every_way_back(folder, last)
    return ledger


def _check_every_way_back(folder: Path, last: Told) -> None:
    """The live hash, that of a replay, and that of a snapshot with its tail are one."""
    reader = JournalReader.open(folder / JOURNAL)
    try:
        for snapshots in (None, folder / "snapshots"):
            restored = restore(reader, snapshots)
            assert restored.recovered.seq == last.seq
            assert restored.recovered.market.state.hash() == last.state_hash
    finally:
        reader.close()


@pytest.mark.parametrize("number", range(FOLDERS))
def test_p1_p6_killed_under_load(tmp_path: Path, number: int) -> None:
    """After every kill -9 of an engine: nothing acknowledged is lost, nothing is there twice.

    What was there before is unchanged, recovery has it all, and in the end the live hash,
    a replay's and a snapshot's with its tail are equal.
    """
    kills = max(KILLS // FOLDERS, 1)
    with a_nursery() as nursery:
        ledger = kill_again_and_again(nursery, tmp_path / "engine", kills, seed=number)
    print(f"{kills} kills, {ledger.acknowledged} acknowledged")  # noqa: T201
    assert ledger.acknowledged > 10 * kills


@pytest.mark.parametrize(
    ("bug", "found"),
    [
        ("acknowledge_early", "is lost|the engine ended|recovery has"),
        ("repeat_the_last", "there twice|the engine ended|recovery has|is lost"),
    ],
)
def test_the_kills_find_a_planted_bug(tmp_path: Path, bug: str, found: str) -> None:
    """An engine that answers before the disk has it, or writes a group twice, is found."""
    with a_nursery(bug) as nursery, pytest.raises(AssertionError, match=found):
        kill_again_and_again(nursery, tmp_path / "engine", 25, seed=1)
