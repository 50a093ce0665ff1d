"""Looks for bytes of keys where none may be."""

import base64
from pathlib import Path


def find_secrets(folder: Path, secrets: list[str]) -> list[str]:
    """Files under `folder` that hold an upstream key, but for the upstream's own.

    Looks for the key as it is, in hex and in base64, in everything that market and solver
    wrote: journal, databases, outbox (with every signed transaction), logs.
    """
    found = []
    needles = [form for secret in secrets for form in _forms(secret)]
    for file in sorted(folder.rglob("*")):
        if file.is_file() and "upstream" not in file.relative_to(folder).parts:
            data = file.read_bytes()
            if any(needle in data for needle in needles):
                found.append(str(file.relative_to(folder)))
    return found


def _forms(secret: str) -> list[bytes]:
    raw = secret.encode()
    return [raw, raw.hex().encode(), *(_base64_core(raw, shift) for shift in range(3))]


def _base64_core(raw: bytes, shift: int) -> bytes:
    """The part of the key's base64 that does not depend on the bytes around it."""
    padded = base64.b64encode(bytes(shift) + raw)
    return padded[4 if shift else 0 : len(padded) - 8]
