"""How far the journal was acknowledged, kept outside it.

A file whose end is damaged looks like one that ends earlier, as it cannot know what
was promised. The mark knows: it is written after each sync, and never waits for a disk.
After a kill it is exact; after a power cut it may lag, and never leads. A journal that
ends before its mark has lost what was acknowledged, and halts.

Two places are written in turn, so that one torn write leaves the other.
"""

from hashlib import blake2b
from typing import Final

import msgspec

from solver.journal.disk import Page
from solver.journal.record import End

_SECTOR: Final = 512
PAGE_BYTES: Final = 2 * _SECTOR
_LAST: Final = slice(0, 8)
_SEQ: Final = slice(8, 16)
_CHAIN: Final = slice(16, 48)
_CHECK: Final = slice(48, 64)


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """Where the journal ended when it was last acknowledged; see `End`."""

    last: int = 0
    seq: int = 0
    chain: bytes = b""


class Mark:
    """The page of the journal's writer; `noted` is what it says."""

    def __init__(self, page: Page) -> None:
        self._page = page
        place, self.noted = _newest(page.read())
        self._next = _SECTOR - place

    def move(self, end: End) -> None:
        """Note that everything before this end is on disk."""
        head = end.last.to_bytes(8, "big") + end.seq.to_bytes(8, "big") + end.chain
        self._page.write(self._next, head + _check(head))
        self._next = _SECTOR - self._next
        self.noted = Noted(last=end.last, seq=end.seq, chain=end.chain)

    def close(self) -> None:
        """Have the disk take it, and let go."""
        self._page.sync()
        self._page.close()


def read_mark(content: bytes) -> Noted:
    """What a mark's page says."""
    return _newest(content)[1]


def _newest(content: bytes) -> tuple[int, Noted]:
    """The newer of the two places, and what it says."""
    place, newest = _SECTOR, Noted()
    for sector in (0, _SECTOR):
        noted = _read(content[sector : sector + _SECTOR])
        if noted is not None and noted.last > newest.last:
            place, newest = sector, noted
    return place, newest


def _read(sector: bytes) -> Noted | None:
    if sector[_CHECK] != _check(sector[: _CHAIN.stop]):
        return None
    return Noted(
        last=int.from_bytes(sector[_LAST], "big"),
        seq=int.from_bytes(sector[_SEQ], "big"),
        chain=sector[_CHAIN],
    )


def _check(head: bytes) -> bytes:
    return blake2b(head, digest_size=16).digest()
