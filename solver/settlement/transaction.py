"""EIP-1559 transactions: encode, sign, hash. Pure."""

from typing import Final

import msgspec
from tiny_keccak import keccak256

from intents.rounding import mul_div_ceil
from intents.signature import SigningKey
from solver.settlement.chain import Fees

TYPE: Final = b"\x02"
GAS_MAX: Final = 16_777_216
"""Most gas of one transaction (EIP-7825)."""
BUMP_NUMERATOR: Final = 1_125
BUMP_DENOMINATOR: Final = 1_000
"""A replacement pays at least 12.5 % more on both fees, or real nodes refuse it."""
_SHORT_MAX: Final = 55
_SINGLE_BYTE_END: Final = 0x80

Rlp = bytes | list["Rlp"]


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed."""

    chain_id: int
    nonce: int
    fees: Fees
    gas: int
    to: str | None
    value_wei: int = 0
    data: bytes


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes that are sent, and their hash, known before they are."""

    raw: bytes
    hash: str


def sign(transaction: Transaction, key: SigningKey) -> Signed:
    """Sign with a plain key; deterministic (RFC 6979)."""
    fields: list[Rlp] = [
        _integer(transaction.chain_id),
        _integer(transaction.nonce),
        _integer(transaction.fees.tip_wei),
        _integer(transaction.fees.max_wei),
        _integer(transaction.gas),
        bytes.fromhex(transaction.to[2:]) if transaction.to else b"",
        _integer(transaction.value_wei),
        transaction.data,
        [],
    ]
    signature = bytes.fromhex(key.sign(keccak256(TYPE + _rlp(fields)))[2:])
    fields += [
        _integer(signature[64] - 27),
        _integer(int.from_bytes(signature[:32], "big")),
        _integer(int.from_bytes(signature[32:64], "big")),
    ]
    raw = TYPE + _rlp(fields)
    return Signed(raw=raw, hash="0x" + keccak256(raw).hex())


def bumped(old: Fees, wanted: Fees) -> Fees:
    """The least fees that replace `old`, or what is wanted now if that is more."""
    return Fees(
        max_wei=max(mul_div_ceil(old.max_wei, BUMP_NUMERATOR, BUMP_DENOMINATOR), wanted.max_wei),
        tip_wei=max(mul_div_ceil(old.tip_wei, BUMP_NUMERATOR, BUMP_DENOMINATOR), wanted.tip_wei),
    )


def _integer(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _rlp(item: Rlp) -> bytes:
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < _SINGLE_BYTE_END:
            return item
        return _prefix(len(item), 0x80) + item
    body = b"".join(_rlp(part) for part in item)
    return _prefix(len(body), 0xC0) + body


def _prefix(size: int, offset: int) -> bytes:
    if size <= _SHORT_MAX:
        return bytes([offset + size])
    length = _integer(size)
    return bytes([offset + _SHORT_MAX + len(length)]) + length
