"""Snapshots: the whole market after some command, in files beside the journal.

`<seq>.snapshot` is a magic word, a header with its own hash, and the state. A file is
written aside, synced and renamed, so that it is there whole or not at all; the newest two
are kept. Nothing depends on a snapshot: one that is damaged, or does not fit the journal,
is passed over.
"""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from solver.journal.disk import sync_folder, write_durably
from solver.journal.fault import SnapshotUnusable

FORMAT_VERSION: Final = 2
KEPT_MAX: Final = 2
_MAGIC: Final = b"keyfill snapshot"
_HEADER_BYTES_MAX: Final = 4_096
_HASH_BYTES: Final = 32


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a snapshot is of: a journal up to its record at `place`.

    That one has this `chain`, and command `seq` is its last.
    """

    format_version: int = FORMAT_VERSION
    seq: int
    place: int
    chain: bytes
    outcome: bytes
    feed_seq: int
    state_hash: str
    length: int
    body_hash: bytes


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A header and the state's bytes."""

    header: Header
    body: bytes


def newest_first(folder: Path) -> Sequence[Path]:
    """The snapshots in a folder."""
    found = [path for path in folder.glob("*.snapshot") if path.stem.isdecimal()]
    return sorted(found, key=lambda path: int(path.stem), reverse=True)


def write(folder: Path, snapshot: Snapshot) -> Path:
    """Keep a snapshot, and let go of the oldest. Raises OSError."""
    folder.mkdir(exist_ok=True, mode=0o700)
    path = folder / f"{snapshot.header.seq:015}.snapshot"
    draft = path.with_suffix(".new")
    header = msgspec.msgpack.encode(snapshot.header)
    parts = (_MAGIC, len(header).to_bytes(4, "big"), header, _hash(header), snapshot.body)
    write_durably(draft, b"".join(parts))
    draft.replace(path)
    sync_folder(folder)
    for old in newest_first(folder)[KEPT_MAX:]:
        old.unlink(missing_ok=True)
    return path


def read(path: Path) -> Snapshot:
    """A snapshot whose bytes are what was written. Raises SnapshotUnusable."""
    try:
        with path.open("rb") as file:
            header = _read_header(file.read(len(_MAGIC) + 4 + _HEADER_BYTES_MAX), path)
            file.seek(len(_MAGIC) + 4 + len(msgspec.msgpack.encode(header)) + _HASH_BYTES)
            body = file.read(header.length + 1)
    except OSError as error:
        raise SnapshotUnusable(f"{path.name}: {error.strerror}") from error
    if len(body) != header.length or _hash(body) != header.body_hash:
        raise SnapshotUnusable(f"{path.name}: its bytes do not match their hash")
    return Snapshot(header=header, body=body)


def body_hash(body: bytes) -> bytes:
    """What a header says of its body."""
    return _hash(body)


def _read_header(start: bytes, path: Path) -> Header:
    if not start.startswith(_MAGIC):
        raise SnapshotUnusable(f"{path.name}: no snapshot of ours")
    place = len(_MAGIC) + 4
    end = place + int.from_bytes(start[len(_MAGIC) : place], "big")
    encoded, noted = start[place:end], start[end : end + _HASH_BYTES]
    if _hash(encoded) != noted:
        raise SnapshotUnusable(f"{path.name}: its header does not match its hash")
    try:
        header = msgspec.msgpack.decode(encoded, type=Header)
    except msgspec.DecodeError as error:
        raise SnapshotUnusable(f"{path.name}: {error}") from error
    if header.format_version != FORMAT_VERSION:
        raise SnapshotUnusable(f"{path.name}: format {header.format_version}")
    return header


def _hash(content: bytes) -> bytes:
    return blake2b(content, digest_size=_HASH_BYTES).digest()
