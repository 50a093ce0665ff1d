"""What a batch's calldata says, read a second time from BatchReader.sol and MeteredReader.sol."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

import msgspec
from tiny_keccak import keccak256

from intents.document import Award
from intents.receipt import ReceiptLine


class Revert(Exception):
    """The transaction has no effect."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One fill of a batch, as packed."""

    offer: int
    units: int
    delivered: int
    payment: int
    fill: str


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A document of a batch, as packed: the fields that the contract hashes."""

    fields: dict[str, Any]
    authority: int
    signature: str
    lines: tuple[Line, ...] = ()
    height: int = 0
    """Of the bulk whose signature this is; 0 if it was signed alone."""
    proof: str = ""
    is_mandate: bool = False

    @property
    def place(self) -> tuple[str, int]:
        """Account and nonce."""
        return self.fields["account"], self.fields["nonce"]


class Awarded(msgspec.Struct, frozen=True, kw_only=True):
    """A fill of an award, as packed, and the root that its siblings lead to is of its leaf."""

    award: Award
    signature: str
    offer: int
    units: int
    tick: int
    charge: int
    index: int
    siblings: tuple[bytes, ...]

    def solution_of(self, buyer: tuple[str, int], seller: tuple[str, int]) -> str:
        """The root of the solution that these documents are filled in."""
        words: list[str | int] = [*buyer, *seller, self.units, self.tick, self.charge]
        node = keccak256(b"".join(_word(word) for word in words))
        place = self.index
        for sibling in self.siblings:
            node = keccak256(sibling + node if place & 1 else node + sibling)
            place >>= 1
        return "0x" + node.hex()


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A buyer's part of a metered batch, as packed."""

    account: str
    lines: tuple[ReceiptLine, ...]
    authority: int
    is_epoch_before: bool
    signature: str


_OFFER: Final = (
    ("account", 20),
    ("resource", 2),
    ("key", 32),
    ("units", 8),
    ("limit", 12),
    ("window_units", 8),
    ("window_seconds", 5),
    ("valid_from", 5),
    ("valid_until", 5),
    ("epoch", 4),
    ("nonce", 8),
)
_INTENT: Final = (
    ("account", 20),
    ("resource", 2),
    ("units", 8),
    ("units_min", 8),
    ("limit", 12),
    ("valid_from", 5),
    ("valid_until", 5),
    ("immediate", 1),
    ("epoch", 4),
    ("nonce", 8),
)
_TEXT: Final = ("account", "key")
_FORM_SHIFT: Final = 2
_AUTHORITY_MASK: Final = 3
_FORM_BUNDLE: Final = 16
_FORM_MANDATE: Final = 32
_AWARDS_FOLLOW: Final = 1 << 15
_CONTRACT: Final = 1
_TERM_BYTES: Final = 7
"""What a bundle's proof has more than a bulk's of its height."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next bytes. Raises Revert at the end."""
        piece = self._data[self._at : self._at + size]
        self._at += size
        if len(piece) != size:
            raise Revert("BatchMalformed")
        return piece

    def number(self, size: int) -> int:
        """The next integer."""
        return int.from_bytes(self.take(size), "big")

    def fields(self, layout: tuple[tuple[str, int], ...], resources: list[str]) -> dict[str, Any]:
        """A document's fields."""
        found: dict[str, Any] = {
            name: "0x" + self.take(size).hex() if name in _TEXT else self.number(size)
            for name, size in layout
        }
        found["resource"] = resources[found["resource"]]
        return found

    def finish(self) -> None:
        """Nothing may follow."""
        if self._at != len(self._data):
            raise Revert("BatchTrailingBytes")


def unpack(packed: bytes) -> tuple[list[Signed], list[Awarded], list[Signed]]:
    """The offers of a batch, awarded fills, and what is settled from them. Raises Revert."""
    reader = _Reader(packed)
    resources = [reader.take(32).hex() for _ in range(reader.number(2))]
    offers = []
    count = reader.number(2)
    follow = reader.number(2) if count >= _AWARDS_FOLLOW else 0
    for _ in range(count % _AWARDS_FOLLOW):
        fields = reader.fields(_OFFER, resources)
        authority, size = reader.number(1), reader.number(2)
        signature = "0x" + reader.take(size).hex()
        offers.append(Signed(fields=fields, authority=authority, signature=signature))
    awarded = _awards(reader, len(offers)) if follow else []
    if len(awarded) != follow:
        raise Revert("BatchMalformed")
    entries: list[Signed] = []
    bulk = ""
    for _ in range(reader.number(2)):
        entries.append(_entry(reader, resources, len(offers) + follow, bulk))
        bulk = entries[-1].signature if entries[-1].height else bulk
    reader.finish()
    return offers, awarded, entries


def _awards(reader: _Reader, offers: int) -> list[Awarded]:
    found: list[Awarded] = []
    for _ in range(reader.number(2)):
        award = Award(
            auction=reader.number(8),
            solver="0x" + reader.take(20).hex(),
            solution="0x" + reader.take(32).hex(),
            deadline_block=reader.number(8),
        )
        if reader.number(1) != _CONTRACT:
            raise Revert("the operator's account is a contract")
        signature = "0x" + reader.take(reader.number(2)).hex()
        for _ in range(reader.number(2)):
            found.append(_awarded(reader, award, signature))
            if found[-1].offer >= offers:
                raise Revert("BatchMalformed")
    return found


def _awarded(reader: _Reader, award: Award, signature: str) -> Awarded:
    offer, units, tick, charge, height = (reader.number(size) for size in (2, 8, 8, 8, 1))
    return Awarded(
        award=award,
        signature=signature,
        offer=offer,
        units=units,
        tick=tick,
        charge=charge,
        index=reader.number(2),
        siblings=tuple(reader.take(32) for _ in range(height)),
    )


def _word(value: str | int) -> bytes:
    number = value if isinstance(value, int) else int(value, 16)
    return number.to_bytes(32, "big")


def _entry(reader: _Reader, resources: list[str], offers: int, bulk: str) -> Signed:
    """An intent, one of a tree (whose signature may be the last one's), or a mandate."""
    fields = reader.fields(_INTENT, resources)
    authority, count, size = reader.number(1), reader.number(1), reader.number(2)
    form, authority = authority >> _FORM_SHIFT, authority & _AUTHORITY_MASK
    is_mandate = form == _FORM_MANDATE
    height = 0 if is_mandate else form % _FORM_BUNDLE
    proof_bytes = 2 + 32 * height if height else 0
    if form // _FORM_BUNDLE == 1:
        proof_bytes += _TERM_BYTES
    proof = "0x" + reader.take(proof_bytes).hex()
    signature = "0x" + reader.take(size - proof_bytes).hex()
    lines = tuple(_line(reader, offers) for _ in range(count))
    if is_mandate:
        fields = {"tick_max": fields["units"]} | {
            name: value
            for name, value in fields.items()
            if name not in ("units", "units_min", "immediate")
        }
    return Signed(
        fields=fields,
        authority=authority,
        signature=bulk if height and signature == "0x" else signature,
        lines=lines,
        height=height,
        proof=proof if height else "",
        is_mandate=is_mandate,
    )


def _line(reader: _Reader, offers: int) -> Line:
    line = Line(
        offer=reader.number(2),
        units=reader.number(8),
        delivered=reader.number(8),
        payment=reader.number(12),
        fill="0x" + reader.take(32).hex(),
    )
    if line.offer >= offers:
        raise Revert("UnknownOffer")
    return line


# ---------------------------------------------------------------- metered batches

_SIGNATURE_BYTES: Final = (64, 0, 64, 0)
"""By authority; a contract's says its own size."""
_EPOCH_BEFORE: Final = 4


def unpack_metered(
    packed: bytes, books: Mapping[str, tuple[str, ...]]
) -> tuple[list[str], list[Record]]:
    """The sellers of a metered batch, and its records. Raises Revert."""
    reader = _Reader(packed)
    addresses = ["0x" + reader.take(20).hex() for _ in range(reader.number(1))]
    listed = [account for address in addresses for account in books.get(address, ())]
    sellers = [_party(listed, reader.number(2)) for _ in range(reader.number(2))]
    if any(left >= right for left, right in pairwise(sellers)):
        raise Revert("BatchSellersUnsorted")
    records = [_record(reader, listed, sellers) for _ in range(reader.number(2))]
    reader.finish()
    return sellers, records


def _record(reader: _Reader, listed: list[str], sellers: list[str]) -> Record:
    account = _party(listed, reader.number(2))
    flags, count = reader.number(1), reader.number(1)
    authority = flags & _AUTHORITY_MASK
    lines, following = [], 0
    for _ in range(count):
        amount, skipped = reader.number(6), reader.number(2)
        lines.append(ReceiptLine(seller=_party(sellers, following + skipped), amount=amount))
        following += skipped + 1
    size = reader.number(2) if authority == _CONTRACT else _SIGNATURE_BYTES[authority]
    return Record(
        account=account,
        lines=tuple(lines),
        authority=authority,
        is_epoch_before=bool(flags & _EPOCH_BEFORE),
        signature="0x" + reader.take(size).hex(),
    )


def _party(listed: list[str], place: int) -> str:
    if place >= len(listed):
        raise Revert("BatchMalformed")
    return listed[place]
