"""A whole answer in JSON, sent with its head in one write.

aiohttp's own class has cookies, charsets, chunks and headers of every kind, and takes forty
per cent of what a small request costs here.
"""

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

HEADS_MAX: Final = 64
"""Remembered: of each status and kind of connection there is one a second."""


class Reply:
    """An answer: its body, and what its head says of this one."""

    __slots__ = ("body", "headers", "keep_alive", "status")

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body
        self.headers: dict[str, str] = {}
        """Ours, never a client's: they are written as they are."""
        self.keep_alive = True
        """Whether the connection stays."""

    def encode(self, *, with_body: bool = True) -> bytes:
        """The bytes to send: its head now, and the body unless only the head is wanted."""
        own = "".join([f"{name}: {value}\r\n" for name, value in self.headers.items()])
        start = _start(self.status, self.keep_alive, int(time.time()))
        head = f"{start}{own}Content-Length: {len(self.body)}\r\n\r\n".encode("ascii")
        return head + self.body if with_body else head


@lru_cache(HEADS_MAX)
def _start(status: int, keep_alive: bool, second: int) -> str:  # noqa: FBT001  a key
    """What the heads of all such answers of a second begin with. Nobody caches one."""
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        "Content-Type: application/json\r\nCache-Control: no-store\r\n"
        f"Date: {formatdate(second, usegmt=True)}\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n"
    )
