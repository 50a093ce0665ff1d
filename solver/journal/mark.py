"""How far the journal was acknowledged, kept outside it.

A file whose end is damaged looks like one that ends earlier, as it cannot know what
was promised. The mark knows: it is written after each sync, and never waits for a disk.
After a kill it is exact; after a power cut it may lag, and never leads. A journal that
ends before its mark has lost what was acknowledged, and halts.

Two places are written in turn, so that one torn write leaves the other.
"""

from hashlib import blake2b
from typing import Final

from solver.journal.disk import Page
from solver.journal.record import End

_SECTOR: Final = 512
PAGE_BYTES: Final = 2 * _SECTOR
_PLACE: Final = slice(0, 8)
_LAST: Final = slice(8, 16)
_SEQ: Final = slice(16, 24)
_CHAIN: Final = slice(24, 56)
_CHECK: Final = slice(56, 72)


class Mark:
    """The page of the journal's writer; `noted` is where all ended that was acknowledged."""

    def __init__(self, page: Page) -> None:
        self._page = page
        place, self.noted = _newest(page.read())
        self._next = _SECTOR - place

    def move(self, end: End) -> None:
        """Note that everything before this end is on disk."""
        head = b"".join(number.to_bytes(8, "big") for number in (end.place, end.last, end.seq))
        head += end.chain
        self._page.write(self._next, head + _check(head))
        self._next = _SECTOR - self._next
        self.noted = end

    def close(self) -> None:
        """Have the disk take it, and let go."""
        self._page.sync()
        self._page.close()


def read_mark(content: bytes) -> End | None:
    """What a mark's page says; None if nothing was acknowledged."""
    return _newest(content)[1]


def _newest(content: bytes) -> tuple[int, End | None]:
    """The newer of the two places, and what it says."""
    place, newest = _SECTOR, None
    for sector in (0, _SECTOR):
        noted = _read(content[sector : sector + _SECTOR])
        if noted is not None and (newest is None or noted.place > newest.place):
            place, newest = sector, noted
    return place, newest


def _read(sector: bytes) -> End | None:
    if sector[_CHECK] != _check(sector[: _CHAIN.stop]):
        return None
    place, last, seq = (int.from_bytes(sector[part], "big") for part in (_PLACE, _LAST, _SEQ))
    return End(place=place, last=last, seq=seq, chain=sector[_CHAIN])


def _check(head: bytes) -> bytes:
    return blake2b(head, digest_size=16).digest()
