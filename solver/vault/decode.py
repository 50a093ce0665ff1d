"""Undoes an answer's content encoding within a bound.

We ask for `identity`; an upstream that compresses all the same would hide the key from
the scrubber, and a small body could become a huge one.
"""

import zlib
from collections.abc import Iterator
from typing import Final

from solver.vault.fault import AnswerCut, ResponseRefused

PIECE_BYTES_MAX: Final = 64 * 1024
WINDOW_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32
ENCODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})


class BoundedDecoder:
    """Decodes one body of at most `bytes_max` decoded bytes, in small pieces."""

    def __init__(self, encoding: str, bytes_max: int) -> None:
        name = encoding.strip().lower()
        if name not in ENCODINGS | {"", "identity"}:
            raise ResponseRefused("the upstream's content encoding cannot be scrubbed")
        self._inflate = zlib.decompressobj(WINDOW_GZIP_OR_ZLIB) if name in ENCODINGS else None
        self._left = bytes_max

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The decoded pieces of `chunk`; raises AnswerCut beyond the bound."""
        if self._inflate is None:
            yield self._counted(chunk)
            return
        while chunk:
            if self._inflate.eof:
                raise ResponseRefused("bytes follow the upstream's compressed answer")
            piece = _inflated(self._inflate, chunk)
            chunk = self._inflate.unconsumed_tail or self._inflate.unused_data
            if piece:
                yield self._counted(piece)

    def finish(self) -> None:
        """The body is over: a compressed one must have ended too."""
        if self._inflate is not None and not self._inflate.eof:
            raise ResponseRefused("the upstream's compressed answer is cut short")

    def _counted(self, piece: bytes) -> bytes:
        self._left -= len(piece)
        if self._left < 0:
            raise AnswerCut("the upstream's answer is too large")
        return piece


def _inflated(inflate: "zlib._Decompress", chunk: bytes) -> bytes:
    try:
        return inflate.decompress(chunk, PIECE_BYTES_MAX)
    except zlib.error:
        pass
    raise ResponseRefused("the upstream's compressed answer is broken")
