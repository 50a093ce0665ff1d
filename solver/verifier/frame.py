"""What goes over the socket between the market and a verifier: lengths, then msgpack."""

from collections.abc import Iterator
from typing import Final

import msgspec

from intents.admission import Rules
from intents.typed_data import Domain
from solver.verifier.batch import Verdict

LENGTH_BYTES: Final = 4
FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
"""More than any frame has, as bodies are bounded: beyond it the sender is out of order."""


class FrameTooLarge(Exception):
    """The other side says something that it never says."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A verifier's first frame: what it holds documents against."""

    domain: Domain
    assets: tuple[str, ...]

    def rules(self) -> Rules:
        """As admission wants them."""
        return Rules(domain=self.domain, assets=frozenset(self.assets))


class Task(msgspec.Struct, frozen=True, array_like=True):
    """Bodies to verify at Unix second `now_s`: (kind, bytes) each."""

    now_s: int
    bodies: list[tuple[int, bytes]]


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """A verdict on each body of a task, in order; the name of an exception where ours failed.

    If all bodies are single intents, one verdict with a row for each.
    """

    bodies: list[Verdict | str]


_ENCODER: Final = msgspec.msgpack.Encoder()
_ANSWERS: Final = msgspec.msgpack.Decoder(Answer)
_TASKS: Final = msgspec.msgpack.Decoder(Task)
_STARTS: Final = msgspec.msgpack.Decoder(Start)


def encode(frame: Start | Task | Answer) -> bytes:
    """A frame with its length before it."""
    body = _ENCODER.encode(frame)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def decode_start(body: bytes) -> Start:
    """A verifier's first frame."""
    return _STARTS.decode(body)


def decode_task(body: bytes) -> Task:
    """Any other frame to a verifier."""
    return _TASKS.decode(body)


def decode_answer(body: bytes) -> Answer:
    """A frame from a verifier."""
    return _ANSWERS.decode(body)


class Frames:
    """Bytes as they come become frames. Never holds more than a frame and what followed it."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        """The frames that this chunk completes. Raises FrameTooLarge."""
        self._held += chunk
        while len(self._held) >= LENGTH_BYTES:
            size = int.from_bytes(self._held[:LENGTH_BYTES], "big")
            if size > FRAME_BYTES_MAX:
                raise FrameTooLarge(f"a frame of {size} bytes")
            end = LENGTH_BYTES + size
            if len(self._held) < end:
                return
            frame = bytes(memoryview(self._held)[LENGTH_BYTES:end])
            del self._held[:end]
            yield frame
