"""A signed intent as most clients post it, known by its bytes.

What comes most often need not become a request with a URL, headers by name and a stream to read
from: that takes as long as all else that a market's one thread does with an intent. Whatever is
not exactly as here, or could be meant otherwise, is for the parser: an `Expect`, an encoding, a
name twice, a body in two pieces, one request after the other in one piece.
"""

import re
from functools import lru_cache
from typing import Final

PATH: Final = "/v1/intents"
START: Final = f"POST {PATH} HTTP/1.1\r\n".encode()
END: Final = b"\r\n\r\n"
HEAD_BYTES_MAX: Final = 1_024
FIELDS_MAX: Final = 32
HEADS_MAX: Final = 1_024
"""Remembered: a client's requests mostly have the same head."""
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~](?:[ -~]*[!-~])?)")
_LENGTH: Final = re.compile(rb"[1-9][0-9]{0,5}")
_SAID: Final = {b"content-type": b"application/json", b"connection": b"keep-alive"}
"""What these say, if they are there."""
_NEVER: Final = frozenset(
    {b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"te", b"trailer"}
)
_NEEDED: Final = frozenset({b"host", b"content-length", b"content-type"})


def posted(data: bytes) -> bytes | None:
    """The body, if this is one whole request to submit an intent and nothing else; or None."""
    if not data.startswith(START):
        return None
    end = data.find(END, len(START) - 2, len(START) + HEAD_BYTES_MAX)
    if end < 0 or body_length(data[len(START) : end]) != len(data) - end - len(END):
        return None
    return data[end + len(END) :]


@lru_cache(HEADS_MAX)
def body_length(head: bytes) -> int | None:
    """How long the body is to be; None unless every field is known to mean nothing else."""
    fields: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n"):
        field = _FIELD.fullmatch(line)
        if field is None or len(fields) == FIELDS_MAX:
            return None
        name, value = field[1].lower(), field[2]
        if name in fields or name in _NEVER or value.lower() != _SAID.get(name, value.lower()):
            return None
        fields[name] = value
    if not fields.keys() >= _NEEDED or not _LENGTH.fullmatch(fields[b"content-length"]):
        return None
    return int(fields[b"content-length"])
