r"""Takes key bytes out of what an upstream sends, however they arrive.

Masked: the key backwards and forwards, raw or behind escapes (`%41`, `\u0041`, `\x41`,
`&#65;`, in any mixture), in hex of any case, in base64 of both alphabets at every
alignment, and any run of 16 bytes of it. Nothing is passed on while it could still turn
out to be the beginning of one of these, so how an upstream cuts its chunks changes
nothing.
"""

import base64
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

from solver.core.check import check
from solver.vault.escape import ESCAPE, ESCAPE_BYTES_MAX, ESCAPE_START, byte_of
from solver.vault.secret import SECRET_BYTES_MIN, Secret

MASK: Final = b"[key]"
FRAGMENT_BYTES: Final = 16
"""Runs of the key from this length on are masked even where the rest is missing."""
BLOCK_BYTES: Final = 8
"""Every run of 15 bytes or more holds a whole block that starts at a multiple of this."""

HELD_FACTOR_MAX: Final = 4
"""At most this many times the longest form of the key is ever held back."""

Span = tuple[int, int]


class _Escape(NamedTuple):
    start: int
    end: int
    byte: bytes


class _View(NamedTuple):
    """A text to search, and where each of its pieces stands in the buffer.

    From `starts[i]` on, a position in `text` maps to `origins[i]` on, until the next
    start. An unescaped byte is a piece of its own, of which `ends` has the end.
    """

    text: bytes
    starts: list[int]
    origins: list[int]
    ends: dict[int, int]

    def origin(self, position: int) -> int:
        """Where the byte at `position` begins in the buffer."""
        piece = bisect_right(self.starts, position) - 1
        return self.origins[piece] + position - self.starts[piece]

    def span(self, start: int, end: int) -> Span:
        """What the stretch takes up in the buffer."""
        last = self.origin(end - 1)
        return self.origin(start), self.ends.get(last, last + 1)


class Scrubber:
    """Masks one key in one stream: `feed` every chunk, then `flush`. `close` forgets it."""

    def __init__(self, secret: Secret) -> None:
        with secret.exposed() as view:
            key = bytes(view)
        check(len(key) >= SECRET_BYTES_MIN, "scrubbed key is long enough")
        self._runs = tuple(dict.fromkeys((key, key[::-1])))
        self._run_bytes_min = min(len(key), FRAGMENT_BYTES)
        self._hex = tuple(run.hex().encode() for run in self._runs)
        self._base64 = tuple(dict.fromkeys(form for run in self._runs for form in _base64(run)))
        longest = max(len(form) for form in (*self._hex, *self._base64))
        # Every byte of it may be behind an escape.
        self._held_bytes_max = HELD_FACTOR_MAX * longest * ESCAPE_BYTES_MAX
        self._held = b""
        self._closed = False

    def feed(self, chunk: bytes) -> bytes:
        """What may be passed on by now; nothing once the scrubber is closed."""
        if self._closed:
            return b""
        buffer = self._held + chunk
        return self._release(buffer, self._first_live(buffer))

    def flush(self) -> bytes:
        """What was held back. The stream is over."""
        return self._release(self._held, len(self._held))

    def whole(self, text: bytes) -> bytes:
        """`text` by itself, masked: for headers."""
        return b"" if self._closed else _masked(text, self._spans(text), len(text))

    def close(self) -> None:
        """Drop everything that was derived from the key, and let nothing through any more."""
        self._closed = True
        self._runs = self._hex = self._base64 = ()
        self._held = b""

    def _release(self, buffer: bytes, live: int) -> bytes:
        spans = self._spans(buffer)
        # A match that reaches into what is held stays whole: more may belong to it.
        while held := [start for start, end in spans if start < live < end]:
            live = min(held)
        if len(buffer) - live > self._held_bytes_max:
            # Only a key that repeats itself gets here: the match is masked as it stands.
            live = next((end for start, end in spans if start <= live < end), len(buffer))
        spans = [span for span in spans if span[1] <= live]
        self._held = buffer[live:]
        return _masked(buffer, spans, live)

    def _spans(self, buffer: bytes) -> list[Span]:
        views = _views(buffer, _escapes(buffer))
        found = [view.span(*match) for view in views for match in self._matches(view.text)]
        return _merged(found)

    def _matches(self, text: bytes) -> Iterator[Span]:
        for run in self._runs:
            yield from _run_matches(text, run, self._run_bytes_min)
        lowered = text.lower()
        for form in self._hex:
            yield from _exact_matches(lowered, form)
        for form in self._base64:
            yield from _exact_matches(text, form)

    def _first_live(self, buffer: bytes) -> int:
        """The first position from which on the buffer may be the beginning of a match."""
        escapes = _escapes(buffer)
        after = max(escapes[-1].end if escapes else 0, len(buffer) - ESCAPE_BYTES_MAX)
        started = ESCAPE_START.search(buffer, after)
        settled = started.start() if started else len(buffer)
        live = settled
        # Both readings of an unfinished escape count: it may be no escape after all.
        for end in sorted({settled, len(buffer)}):
            for view in _views(buffer[:end], escapes):
                size = self._live_bytes(view.text)
                live = min(live, view.origin(len(view.text) - size) if size else live)
        # Never cut an escape: its second half would read differently by itself.
        return next((each.start for each in escapes if each.start < live < each.end), live)

    def _live_bytes(self, text: bytes) -> int:
        """The length of the longest end of `text` with which a match may begin."""
        whole = self._run_bytes_min < FRAGMENT_BYTES
        sizes = [_live_run(text, run, prefix_only=whole) for run in self._runs]
        tail = text[-max((len(form) for form in self._hex), default=0) :].lower()
        sizes += [_live_run(tail, form, prefix_only=True) for form in self._hex]
        sizes += [_live_run(text, form, prefix_only=True) for form in self._base64]
        return max(sizes, default=0)


def _base64(run: bytes) -> Iterator[bytes]:
    """The characters of base64 that depend on `run` alone, at each alignment."""
    for shift in range(3):
        padded = base64.b64encode(bytes(shift) + run)
        first = -(-shift * 8 // 6)
        last = (shift + len(run)) * 8 // 6
        standard = padded[first:last]
        yield standard
        yield standard.replace(b"+", b"-").replace(b"/", b"_")


def _escapes(buffer: bytes) -> list[_Escape]:
    return [
        _Escape(match.start(), match.end(), byte_of(match)) for match in ESCAPE.finditer(buffer)
    ]


def _views(buffer: bytes, escapes: list[_Escape]) -> list[_View]:
    """The buffer as it stands and, where it has escapes, with these undone."""
    plain = _View(buffer, [0], [0], {})
    return [plain, _unescaped(buffer, escapes)] if escapes else [plain]


def _unescaped(buffer: bytes, escapes: list[_Escape]) -> _View:
    pieces: list[bytes] = []
    starts: list[int] = []
    origins: list[int] = []
    size = position = 0
    for escape in [*escapes, _Escape(len(buffer), len(buffer), b"")]:
        for piece, origin in (
            (buffer[position : escape.start], position),
            (escape.byte, escape.start),
        ):
            pieces.append(piece)
            starts.append(size)
            origins.append(origin)
            size += len(piece)
        position = escape.end
    return _View(b"".join(pieces), starts, origins, {each.start: each.end for each in escapes})


def _exact_matches(text: bytes, form: bytes) -> Iterator[Span]:
    position = text.find(form)
    while position >= 0:
        yield position, position + len(form)
        position = text.find(form, position + 1)


def _run_matches(text: bytes, run: bytes, run_bytes_min: int) -> Iterator[Span]:
    """Every stretch of `text` that is a stretch of `run` of at least `run_bytes_min`."""
    if run_bytes_min < FRAGMENT_BYTES:
        yield from _exact_matches(text, run)
        return
    done: dict[int, int] = {}
    for offset in range(0, len(run) - BLOCK_BYTES + 1, BLOCK_BYTES):
        block = run[offset : offset + BLOCK_BYTES]
        for position, _ in _exact_matches(text, block):
            diagonal = position - offset
            if position < done.get(diagonal, 0):
                continue
            start, end = _grown(text, position, run, offset)
            done[diagonal] = end
            if end - start >= run_bytes_min:
                yield start, end


def _grown(text: bytes, position: int, run: bytes, offset: int) -> Span:
    """The longest common stretch around a block that both have."""
    start, at = position, offset
    while start > 0 and at > 0 and text[start - 1] == run[at - 1]:
        start, at = start - 1, at - 1
    end, at = position + BLOCK_BYTES, offset + BLOCK_BYTES
    while end < len(text) and at < len(run) and text[end] == run[at]:
        end, at = end + 1, at + 1
    return start, end


def _live_run(text: bytes, form: bytes, *, prefix_only: bool) -> int:
    """The length of the longest end of `text` that begins (or lies in) `form`."""
    if prefix_only:
        tail = text[-(len(form) - 1) :]
        position = tail.find(form[:1])
        while position >= 0:
            if form.startswith(tail[position:]):
                return len(tail) - position
            position = tail.find(form[:1], position + 1)
        return 0
    size = 0
    while size < min(len(text), len(form)) and text[len(text) - size - 1 :] in form:
        size += 1
    return size


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _masked(buffer: bytes, spans: list[Span], end: int) -> bytes:
    pieces: list[bytes] = []
    position = 0
    for start, stop in spans:
        pieces += (buffer[position:start], MASK)
        position = stop
    pieces.append(buffer[position:end])
    return b"".join(pieces)
