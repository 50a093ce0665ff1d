"""What a spend receipt is signed over: who gets how much.

The bytes are those that contracts/src/MeteredReader.sol hashes, and claims carry.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from tiny_keccak import keccak256

AMOUNT_BYTES: Final = 8
_ADDRESS_BYTES: Final = 20
LINES_MAX: Final = 255
"""As many sellers has a receipt at most."""


class ReceiptLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one seller gets by a receipt."""

    seller: str
    amount: int


def in_order(amounts: Mapping[str, int]) -> tuple[ReceiptLine, ...]:
    """Lines as a receipt lists them: by ascending seller, without those that get nothing."""
    return tuple(
        ReceiptLine(seller=seller, amount=amounts[seller])
        for seller in sorted(amounts)
        if amounts[seller]
    )


def packed_lines(lines: Iterable[ReceiptLine]) -> bytes:
    """What is hashed, and what a claim carries."""
    return b"".join(
        _bytes(line.seller) + line.amount.to_bytes(AMOUNT_BYTES, "big") for line in lines
    )


def lines_hash(lines: Iterable[ReceiptLine]) -> str:
    """The `lines` of a receipt."""
    return "0x" + keccak256(packed_lines(lines)).hex()


def lines_of(packed: bytes) -> tuple[ReceiptLine, ...]:
    """What `packed_lines` was given."""
    size = _ADDRESS_BYTES + AMOUNT_BYTES
    parts = (packed[start : start + size] for start in range(0, len(packed), size))
    return tuple(
        ReceiptLine(
            seller="0x" + part[:_ADDRESS_BYTES].hex(),
            amount=int.from_bytes(part[_ADDRESS_BYTES:], "big"),
        )
        for part in parts
    )


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
