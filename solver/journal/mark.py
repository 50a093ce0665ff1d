"""How far the journal was acknowledged, kept outside the database.

SQLite takes a log whose end is damaged for one that ends earlier, as it cannot know what
was promised. The mark knows: it is written after each sync, and never waits for a disk.
After a kill it is exact; after a power cut it may lag, and never leads. A journal that
ends before its mark has lost what was acknowledged, and halts.

Two places are written in turn, so that one torn write leaves the other.
"""

from hashlib import blake2b
from typing import Final

from solver.journal.disk import Page

_SECTOR: Final = 512
PAGE_BYTES: Final = 2 * _SECTOR
_SEQ: Final = slice(0, 8)
_CHAIN: Final = slice(8, 40)
_CHECK: Final = slice(40, 56)


class Mark:
    """The last acknowledged command's number and the chain after it; 0 if there is none."""

    def __init__(self, page: Page) -> None:
        self._page = page
        place, self.seq, self.chain = _newest(page.read())
        self._next = _SECTOR - place

    def move(self, seq: int, chain: bytes) -> None:
        """Note that everything up to `seq` is on disk."""
        head = seq.to_bytes(8, "big") + chain
        self._page.write(self._next, head + _check(head))
        self._next = _SECTOR - self._next
        self.seq, self.chain = seq, chain

    def close(self) -> None:
        """Have the disk take it, and let go."""
        self._page.sync()
        self._page.close()


def read_mark(content: bytes) -> tuple[int, bytes]:
    """What a mark's page says: the last acknowledged command, and the chain after it."""
    _, seq, chain = _newest(content)
    return seq, chain


def _newest(content: bytes) -> tuple[int, int, bytes]:
    """The newer of the two places, its number and its chain."""
    newest = (_SECTOR, 0, b"")
    for place in (0, _SECTOR):
        found = _read(content[place : place + _SECTOR])
        if found is not None and found[0] > newest[1]:
            newest = (place, *found)
    return newest


def _read(sector: bytes) -> tuple[int, bytes] | None:
    if sector[_CHECK] != _check(sector[: _CHAIN.stop]):
        return None
    return int.from_bytes(sector[_SEQ], "big"), sector[_CHAIN]


def _check(head: bytes) -> bytes:
    return blake2b(head, digest_size=16).digest()
