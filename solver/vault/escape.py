"""How a byte is written behind an escape: in URLs, JSON, strings and HTML."""

import re
from typing import Final

ESCAPE: Final = re.compile(
    rb"%([0-9a-fA-F]{2})|\\u00([0-9a-fA-F]{2})|\\x([0-9a-fA-F]{2})|&#[xX]0{0,4}([0-9a-fA-F]{2});"
    rb"|&#0{0,4}([0-9]{2,3});|\\([\"'\\/])|&(amp|lt|gt|quot|apos);"
)
HEXADECIMAL_GROUPS: Final = range(1, 5)
DECIMAL_GROUP: Final = 5
ESCAPE_BYTES_MAX: Final = 12
ESCAPE_START: Final = re.compile(
    rb"(%[0-9a-fA-F]?|\\(u[0-9a-fA-F]{0,3}|x[0-9a-fA-F]?)?|&[#a-zA-Z0-9]{0,10})\Z"
)
NAMED: Final = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}


def byte_of(match: re.Match[bytes]) -> bytes:
    """What a match of ESCAPE stands for."""
    group = match.lastindex or 0
    text = match[group]
    if group in HEXADECIMAL_GROUPS:
        return bytes([int(text, 16)])
    if group == DECIMAL_GROUP:
        return bytes([int(text) & 0xFF])
    return NAMED.get(text, text)
