"""The packed layout of a metered batch, as contracts/src/MeteredReader.sol reads it.

The only place in Python that knows it. Records say who pays whom how much; all that a receipt
says besides is the ledger's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from contracts.bindings import ACCOUNT, SETTLEMENT
from intents.receipt import ReceiptLine, in_order
from intents.signature import COMPACT_BYTES, FULL_BYTES

BOOK_ADDRESSES_MAX: Final = (24_576 - 1) // 20
"""As many fit the largest contract."""
RECORDS_MAX: Final = 2**16 - 1
ROOTS: Final = 4_096
"""A batch needs the one so many before it to be settled: both keep their roots at one place."""
AUTHORITY_PLAIN: Final = 0
AUTHORITY_CONTRACT: Final = 1
AUTHORITY_SESSION: Final = 2
AUTHORITY_ATTESTED: Final = 3
_EPOCH_BEFORE: Final = 4
_LINE_AMOUNT_BYTES: Final = 6
LINE_ATOMS_MAX: Final = 2 ** (8 * _LINE_AMOUNT_BYTES) - 1
"""As much fits a line of a batch: 281 million USDC. A receipt for more can be claimed."""
_V: Final = (27, 28)
_BUYER_BYTES: Final = 37
_SELLER_BYTES: Final = 28
_BOOK_LOADER: Final = bytes.fromhex("80600a3d393df3")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One buyer's payments: by a receipt, signed as `authority` says, or on the operator's word."""

    account: str
    lines: tuple[ReceiptLine, ...]
    authority: int = AUTHORITY_ATTESTED
    signature: str = "0x"
    is_epoch_before: bool = False


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """Deployed address books, and where in all of them together each account stands."""

    addresses: tuple[str, ...]
    places: dict[str, int]


class PaidBuyer(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch says of a record that it settled: `spent` is after it."""

    account: str
    spent: int
    paid: int
    authority: int


class PaidSeller(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch credited to a seller."""

    account: str
    credited: int


# ---------------------------------------------------------------- books


def book_code(accounts: Sequence[str]) -> bytes:
    """What creates the book of these accounts: its code is STOP and 20 bytes for each."""
    if not 0 < len(accounts) <= BOOK_ADDRESSES_MAX:
        raise ValueError(f"a book has 1 to {BOOK_ADDRESSES_MAX} accounts, not {len(accounts)}")
    code = b"\x00" + b"".join(_bytes(account) for account in accounts)
    return b"\x61" + len(code).to_bytes(2, "big") + _BOOK_LOADER + code


def books(listed: Mapping[str, Sequence[str]]) -> Books:
    """The books at these addresses, in this order, with the accounts that each lists."""
    accounts = [account for part in listed.values() for account in part]
    return Books(
        addresses=tuple(listed),
        places={account: place for place, account in enumerate(accounts)},
    )


# ---------------------------------------------------------------- records


def netted(debits: Mapping[str, int], credits_: Mapping[str, int]) -> tuple[Record, ...]:
    """Attested records that move these sums in as few lines as buyers and sellers are.

    Who pays whom is of no account where nothing is signed; nobody pays itself. Raises ValueError if
    the sums differ, or only one account is left on both sides.
    """
    if sum(debits.values()) != sum(credits_.values()):
        raise ValueError("what is paid is not what is credited")
    left = dict(sorted(credits_.items()))
    return tuple(
        Record(account=account, lines=in_order(_taken(account, amount, left)))
        for account, amount in sorted(debits.items())
        if amount
    )


def _taken(account: str, amount: int, left: dict[str, int]) -> dict[str, int]:
    """Takes the amount from what sellers are left to get, from the last of them on."""
    taken: dict[str, int] = {}
    for seller in reversed(tuple(left)):
        if amount == 0:
            break
        if seller == account:
            continue
        part = min(amount, left[seller])
        taken[seller] = part
        amount -= part
        left[seller] -= part
        if left[seller] == 0:
            del left[seller]
    if amount:
        raise ValueError(f"{account} would pay itself")
    return taken


# ---------------------------------------------------------------- batch


def pack(index: Books, records: Sequence[Record]) -> bytes:
    """The `batch` argument of `settleMetered`.

    Raises ValueError if a line is above LINE_ATOMS_MAX.
    """
    sellers = sorted({line.seller for record in records for line in record.lines})
    places = {seller: place for place, seller in enumerate(sellers)}
    return b"".join(
        (
            len(index.addresses).to_bytes(1, "big"),
            *(_bytes(address) for address in index.addresses),
            _count(len(sellers)),
            *(_count(index.places[seller]) for seller in sellers),
            _count(len(records)),
            *(_record(record, index.places[record.account], places) for record in records),
        )
    )


def settle_metered_call(number: int, root: str, packed: bytes) -> bytes:
    """Calldata of the operator's account, which passes it on to the settlement contract."""
    settle = SETTLEMENT.function("settleMetered").encode(number, _bytes(root), packed)
    return ACCOUNT.function("callSettlement").encode(settle)


def paid_buyers(told: bytes) -> tuple[PaidBuyer, ...]:
    """The `buyers` of a MeteredSettled log."""
    return tuple(
        PaidBuyer(
            account="0x" + part[:20].hex(),
            spent=int.from_bytes(part[20:28], "big"),
            paid=int.from_bytes(part[28:36], "big"),
            authority=part[36],
        )
        for part in _parts(told, _BUYER_BYTES)
    )


def paid_sellers(told: bytes) -> tuple[PaidSeller, ...]:
    """The `sellers` of a MeteredSettled or ClaimExecuted log."""
    return tuple(
        PaidSeller(account="0x" + part[:20].hex(), credited=int.from_bytes(part[20:], "big"))
        for part in _parts(told, _SELLER_BYTES)
    )


def _record(record: Record, buyer: int, places: Mapping[str, int]) -> bytes:
    authority = record.authority | (_EPOCH_BEFORE if record.is_epoch_before else 0)
    return b"".join(
        (
            _count(buyer),
            authority.to_bytes(1, "big"),
            len(record.lines).to_bytes(1, "big"),
            *_lines(record.lines, places),
            _signature(record),
        )
    )


def _lines(lines: Iterable[ReceiptLine], places: Mapping[str, int]) -> Iterator[bytes]:
    """Each says how many of the batch's sellers are skipped since the line before."""
    following = 0
    for line in lines:
        if line.amount > LINE_ATOMS_MAX:
            raise ValueError(f"{line.amount} atoms are more than a line has room for")
        place = places[line.seller]
        yield line.amount.to_bytes(_LINE_AMOUNT_BYTES, "big") + _count(place - following)
        following = place + 1


def _signature(record: Record) -> bytes:
    signature = _bytes(record.signature)
    if record.authority == AUTHORITY_CONTRACT:
        return _count(len(signature)) + signature
    if record.authority == AUTHORITY_ATTESTED:
        return b""
    return compact(signature)


def compact(signature: bytes) -> bytes:
    """The 64 bytes of EIP-2098 for a signature of 64 or 65. Raises ValueError for another."""
    if len(signature) == COMPACT_BYTES:
        return signature
    if len(signature) != FULL_BYTES or signature[-1] not in _V:
        raise ValueError("not a signature of 64 or 65 bytes")
    odd = (signature[-1] - _V[0]) << 7
    return signature[:32] + bytes([signature[32] | odd]) + signature[33:64]


def _parts(told: bytes, size: int) -> list[bytes]:
    return [told[start : start + size] for start in range(0, len(told), size)]


def _count(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
