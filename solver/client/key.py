"""Keys from files."""

from pathlib import Path
from typing import Final

from intents.signature import SigningKey

SECRET_BYTES: Final = 32


def read_key(path: str | Path) -> SigningKey:
    """The key in a file of 64 hex digits, with or without 0x.

    Raises OSError if the file cannot be read, ValueError if it holds anything else.
    """
    try:
        secret = bytes.fromhex(Path(path).read_text().strip().removeprefix("0x"))
        if len(secret) == SECRET_BYTES:
            return SigningKey(secret)
    except ValueError:
        pass  # its message could quote the file
    raise ValueError(f"{path} does not hold a {SECRET_BYTES}-byte hex key")
