"""The journal's format: a header that says what it is for, then records, each bound to all before.

header   magic(16) secret(16) length(4) genesis(JSON) sha256 of these(32)
record   secret(16) seq(8) commands(4) outcome length(4) payload length(4) chain(32) outcome payload

Numbers are big-endian. The secret is the journal's own: what somebody has written into a command
never looks like a record. A record holds a group of commands; or, without commands, the state's
hash after all before it, noted at a clean stop. Nothing that is written is changed again, but for
zeros behind the last record: space for the next ones.
"""

from collections.abc import Iterator
from hashlib import sha256
from struct import Struct
from typing import Final

import msgspec

from solver.core.command import Command
from solver.engine.group import Group
from solver.engine.payload import PayloadUnreadable, decode
from solver.journal.disk import Readable
from solver.journal.fault import JournalCorrupt, JournalForeign

FORMAT_VERSION: Final = 5
PAYLOAD_BYTES_MAX: Final = 512 * 1024 * 1024
"""A group of the longest commands there are is shorter."""

OUTCOME_BYTES_MAX: Final = 64
SECRET_BYTES: Final = 16

_MAGIC: Final = b"keyfill journal\n"
_LENGTH_BYTES: Final = 4
_CHECK_BYTES: Final = 32
_GENESIS_BYTES_MAX: Final = 4_096
_HEAD: Final = Struct(">16sQIII32s")
_STEP_BYTES: Final = 1024 * 1024
"""What is read at once."""


class Genesis(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal is for. Recovery refuses any other."""

    format_version: int = FORMAT_VERSION
    chain_id: int
    settlement: str
    usdc: str


class End(msgspec.Struct, frozen=True, kw_only=True):
    """Where a journal ends, or some part of it that begins with its beginning."""

    place: int
    """In bytes: the next record begins here."""
    last: int = 0
    """Where the last record begins; 0 if there is none."""
    seq: int = 0
    """Number of the last command; 0 if there is none."""
    chain: bytes
    """Commits to everything before."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One record as it stands at `place`; `seq` is the number of its first command.

    Without `commands` its payload is the state's hash, and `seq` is the next command's number.
    """

    place: int
    seq: int
    commands: int
    payload: bytes
    outcome: bytes
    chain: bytes

    @property
    def last(self) -> int:
        """The number of its last command, or of the last before it."""
        return self.seq + self.commands - 1

    @property
    def end(self) -> End:
        """The journal's end, as long as this is its last record."""
        length = _HEAD.size + len(self.outcome) + len(self.payload)
        return End(place=self.place + length, last=self.place, seq=self.last, chain=self.chain)

    def decoded(self) -> list[Command]:
        """Its commands. Raises JournalCorrupt."""
        if not self.commands:
            return []
        try:
            return decode(self.payload)
        except PayloadUnreadable as error:
            raise JournalCorrupt(self.seq, str(error)) from error


def header(genesis: Genesis, secret: bytes) -> bytes:
    """What a journal begins with."""
    body = msgspec.json.encode(genesis)
    said = _MAGIC + secret + len(body).to_bytes(_LENGTH_BYTES, "big") + body
    return said + sha256(said).digest()


def genesis_of(body: bytes) -> Genesis:
    """What a journal says it is for. Raises JournalForeign for a newer format, JournalCorrupt."""
    try:
        version = msgspec.json.decode(body, type=_Version).format_version
        if version > FORMAT_VERSION:
            raise JournalForeign(
                f"this journal has format {version}, and this keyfill reads up to "
                f"{FORMAT_VERSION}: install the version that wrote it, or a newer one"
            )
        return msgspec.json.decode(body, type=Genesis)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JournalCorrupt(0, str(error)) from error


def first_link(genesis: Genesis) -> bytes:
    """The chain before the first record."""
    return sha256(msgspec.msgpack.encode(genesis)).digest()


def link(chain: bytes, seq: int, group: Group) -> bytes:
    """The chain after one more record, whose first command is number `seq`."""
    head = chain + seq.to_bytes(8, "big") + group.commands.to_bytes(8, "big")
    lengths = len(group.outcome).to_bytes(8, "big")
    # Processors have SHA-256 built in: it takes half as long as BLAKE2b.
    hashed = sha256(head + lengths + group.outcome)
    hashed.update(group.payload)
    return hashed.digest()


def record_after(end: End, group: Group) -> Record:
    """What is written where a journal ends."""
    return Record(
        place=end.place,
        seq=end.seq + 1,
        commands=group.commands,
        payload=group.payload,
        outcome=group.outcome,
        chain=link(end.chain, end.seq + 1, group),
    )


def packed(record: Record, secret: bytes) -> bytes:
    """A record's bytes."""
    lengths = (len(record.outcome), len(record.payload))
    head = _HEAD.pack(secret, record.seq, record.commands, *lengths, record.chain)
    return b"".join((head, record.outcome, record.payload))


class Log:
    """A journal's file, and what its header says.

    Raises JournalForeign for another format, JournalCorrupt for what cannot be read; so do its
    methods.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        fixed = len(_MAGIC) + SECRET_BYTES + _LENGTH_BYTES
        begins = _read(file, 0, fixed + _GENESIS_BYTES_MAX + _CHECK_BYTES, 0)
        if not begins.startswith(_MAGIC):
            raise JournalCorrupt(0, "it does not begin as a journal does")
        length = fixed + int.from_bytes(begins[fixed - _LENGTH_BYTES : fixed], "big")
        said, check = begins[:length], begins[length : length + _CHECK_BYTES]
        if sha256(said).digest() != check:
            raise JournalCorrupt(0, "what it is for does not match its hash")
        self.genesis: Final = genesis_of(said[fixed:])
        self.secret: Final = said[len(_MAGIC) : len(_MAGIC) + SECRET_BYTES]
        self.start: Final = End(place=length + _CHECK_BYTES, chain=first_link(self.genesis))
        """Its end, if nothing was written yet."""

    def size(self) -> int:
        """Bytes in the file now."""
        return self._file.size()

    def record_at(self, place: int) -> Record | None:
        """The record that begins at a place, as it stands there; None if none does."""
        return self._window(self.size()).record(place)

    def follow(self, start: End, size: int) -> Iterator[Record]:
        """One whole record after the other, each verified; ends where none is, or at `size`."""
        window, end = self._window(size), start
        while (found := window.record(end.place, end.seq + 1)) is not None and _follows(found, end):
            yield found
            end = found.end

    def is_followed(self, end: End, size: int) -> bool:
        """Whether a later record begins behind what should follow `end`, and is not whole.

        One is written when the one before is on the disk. So what stands before it was whole. One
        that says nothing later, as a clean stop after the same command, tells of no loss.
        """
        window, sought = self._window(size), end.seq + 1
        place = window.find(self.secret, end.place + 1, sought)
        while place >= 0:
            found = window.record(place, sought)
            if found is not None and found.last >= sought:
                return True
            place = window.find(self.secret, place + 1, sought)
        return False

    def _window(self, size: int) -> "_Window":
        return _Window(self._file, size, self.secret)


def _follows(record: Record, end: End) -> bool:
    if record.seq != end.seq + 1:
        return False
    group = Group(commands=record.commands, payload=record.payload, outcome=record.outcome)
    return link(end.chain, record.seq, group) == record.chain


class _Window:
    """A file that is read in long steps, up to `size`.

    Whoever asks says which command is `sought`: of that one a failure is told.
    """

    def __init__(self, file: Readable, size: int, secret: bytes) -> None:
        self._file = file
        self._size = size
        self._secret = secret
        self._place = 0
        self._bytes = b""

    def record(self, place: int, sought: int = 0) -> Record | None:
        """What stands at a place; None if it is no record, or not all of one."""
        head = self._at(place, _HEAD.size, sought)
        if len(head) < _HEAD.size:
            return None
        secret, seq, commands, outcome_bytes, payload_bytes, chain = _HEAD.unpack(head)
        body = outcome_bytes + payload_bytes
        if (
            secret != self._secret
            or outcome_bytes > OUTCOME_BYTES_MAX
            or payload_bytes > PAYLOAD_BYTES_MAX
            or body > self._size - place - _HEAD.size
        ):
            return None
        read = self._at(place + _HEAD.size, body, sought)
        return Record(
            place=place,
            seq=seq,
            commands=commands,
            payload=read[outcome_bytes:],
            outcome=read[:outcome_bytes],
            chain=chain,
        )

    def find(self, words: bytes, place: int, sought: int) -> int:
        """Where these bytes stand next; -1 if nowhere."""
        while place < self._size:
            read = self._at(place, min(_STEP_BYTES, self._size - place), sought)
            found = read.find(words)
            if found >= 0:
                return place + found
            if len(read) < len(words):
                break
            place += len(read) - len(words) + 1
        return -1

    def _at(self, place: int, length: int, sought: int) -> bytes:
        """So many bytes; fewer at the end."""
        offset = place - self._place
        if offset < 0 or offset + length > len(self._bytes):
            step = min(max(length, _STEP_BYTES), self._size - place)
            self._bytes = _read(self._file, place, step, sought) if step > 0 else b""
            self._place, offset = place, 0
        return self._bytes[offset : offset + length]


def _read(file: Readable, place: int, length: int, sought: int) -> bytes:
    try:
        return file.read(place, length)
    except OSError as error:
        raise JournalCorrupt(sought, str(error)) from error


class _Version(msgspec.Struct, frozen=True):
    format_version: int
