"""The packed layout of a batch, as contracts/src/BatchReader.sol reads it.

The only place in Python that knows it. Big-endian fields without padding; offers ascend
by (account, nonce), because the contract refuses any other order.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
from tiny_keccak import keccak256

from contracts.bindings import ACCOUNT, SETTLEMENT
from intents.award import AwardedFill
from intents.bundle import is_bundle_proof
from intents.document import Award, Intent, Mandate, Offer
from intents.place import NODE_BYTES

LINES_PER_INTENT_MAX: Final = 255
OFFERS_MAX: Final = 2**15 - 1
"""With awarded fills, as lines name both by one place, and the count says if there are any."""
SIGNATURE_BYTES_MAX: Final = 2**16 - 1
_AWARDS_FOLLOW: Final = 1 << 15
_FORM_SHIFT: Final = 2
_FORM_BUNDLE: Final = 16
_FORM_MANDATE: Final = 32
"""Above the two bits of the authority: 0, the height of a bulk, 16 and a bundle's, or this."""


class SignedOffer(msgspec.Struct, frozen=True, kw_only=True):
    """An offer, how its signature binds the account, and the signature."""

    offer: Offer
    authority: int
    signature: str


class ProvenFill(msgspec.Struct, frozen=True, kw_only=True):
    """A fill of an award with its proof; `offer` is the place in the batch's offers."""

    offer: int
    fill: AwardedFill
    proof: str


class SignedAward(msgspec.Struct, frozen=True, kw_only=True):
    """An award, how its signature binds the operator, and the fills that are settled by it."""

    award: Award
    authority: int
    signature: str
    fills: tuple[ProvenFill, ...]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One fill: `offer` is the place in the batch's offers, behind which awarded fills are."""

    offer: int
    units: int
    delivered: int
    payment: int
    fill: str


class SignedIntent(msgspec.Struct, frozen=True, kw_only=True):
    """An intent with the lines that settle it. With a `proof` its bulk or bundle was signed."""

    intent: Intent
    authority: int
    signature: str
    lines: tuple[Line, ...]
    proof: str = ""


class SignedMandate(msgspec.Struct, frozen=True, kw_only=True):
    """A mandate with the lines of all intents under it."""

    mandate: Mandate
    authority: int
    signature: str
    lines: tuple[Line, ...]


Entry = SignedIntent | SignedMandate


def offer_order(offer: Offer) -> tuple[int, int]:
    """What offers are sorted by."""
    return int(offer.account, 16), offer.nonce


def pack(
    offers: Sequence[SignedOffer],
    entries: Sequence[Entry],
    awards: Sequence[SignedAward] = (),
) -> bytes:
    """The `batch` argument of `settle`."""
    names = _resources(offers, entries)
    places = {name: place for place, name in enumerate(names)}
    parts = [_count(len(names)), *(keccak256(name.encode()) for name in names)]
    awarded = sum(len(signed.fills) for signed in awards)
    parts.append(_count(len(offers) | (_AWARDS_FOLLOW if awarded else 0)))
    parts += [_count(awarded)] if awarded else []
    parts += [_offer(signed, places[signed.offer.resource]) for signed in offers]
    parts += [_count(len(awards)), *map(_award, awards)] if awarded else []
    parts.append(_count(len(entries)))
    parts += _entries(entries, places)
    return b"".join(parts)


def settle_call(number: int, digest: str, packed: bytes) -> bytes:
    """Calldata of the operator's account, which passes it on to the settlement contract."""
    settle = SETTLEMENT.function("settle").encode(number, bytes.fromhex(digest[2:]), packed)
    return ACCOUNT.function("callSettlement").encode(settle)


def _resources(offers: Iterable[SignedOffer], entries: Iterable[Entry]) -> list[str]:
    """Each resource once, in order of first use; any resource is the empty name."""
    names = [signed.offer.resource for signed in offers]
    names += [_document(entry).resource for entry in entries]
    return list(dict.fromkeys(names))


def _document(entry: Entry) -> Intent | Mandate:
    return entry.intent if isinstance(entry, SignedIntent) else entry.mandate


def _entries(entries: Iterable[Entry], places: dict[str, int]) -> Iterator[bytes]:
    """The signature of a tree is left out where it is that of the last intent in one."""
    last = ""
    for entry in entries:
        resource = places[_document(entry).resource]
        if isinstance(entry, SignedMandate):
            yield _mandate(entry, resource)
        elif not entry.proof:
            yield _intent(entry, resource, _bytes(entry.signature), form=0)
        else:
            proof = _bytes(entry.proof)
            signature = b"" if entry.signature == last else _bytes(entry.signature)
            yield _intent(entry, resource, proof + signature, form=_form(proof))
            last = entry.signature


def _form(proof: bytes) -> int:
    """A proof is whole siblings, and fewer bytes than one beside them."""
    height = len(proof) // NODE_BYTES
    return _FORM_BUNDLE + height if is_bundle_proof(proof) else height


def _offer(signed: SignedOffer, resource: int) -> bytes:
    offer, signature = signed.offer, _bytes(signed.signature)
    return b"".join(
        (
            _bytes(offer.account),
            _count(resource),
            _bytes(offer.key),
            offer.units.to_bytes(8, "big"),
            offer.limit.to_bytes(12, "big"),
            offer.window_units.to_bytes(8, "big"),
            offer.window_seconds.to_bytes(5, "big"),
            offer.valid_from.to_bytes(5, "big"),
            offer.valid_until.to_bytes(5, "big"),
            offer.epoch.to_bytes(4, "big"),
            offer.nonce.to_bytes(8, "big"),
            signed.authority.to_bytes(1, "big"),
            _count(len(signature)),
            signature,
        )
    )


def _award(signed: SignedAward) -> bytes:
    award, signature = signed.award, _bytes(signed.signature)
    return b"".join(
        (
            award.auction.to_bytes(8, "big"),
            _bytes(award.solver),
            _bytes(award.solution),
            award.deadline_block.to_bytes(8, "big"),
            signed.authority.to_bytes(1, "big"),
            _count(len(signature)),
            signature,
            _count(len(signed.fills)),
            *map(_proven, signed.fills),
        )
    )


def _proven(proven: ProvenFill) -> bytes:
    fill = proven.fill
    return b"".join(
        (
            _count(proven.offer),
            fill.units.to_bytes(8, "big"),
            fill.tick.to_bytes(8, "big"),
            fill.charge.to_bytes(8, "big"),
            _bytes(proven.proof),
        )
    )


def _intent(signed: SignedIntent, resource: int, signature: bytes, *, form: int) -> bytes:
    intent = signed.intent
    return b"".join(
        (
            _bytes(intent.account),
            _count(resource),
            intent.units.to_bytes(8, "big"),
            intent.units_min.to_bytes(8, "big"),
            intent.limit.to_bytes(12, "big"),
            intent.valid_from.to_bytes(5, "big"),
            intent.valid_until.to_bytes(5, "big"),
            intent.immediate.to_bytes(1, "big"),
            intent.epoch.to_bytes(4, "big"),
            intent.nonce.to_bytes(8, "big"),
            _signed(signed, signature, form),
        )
    )


def _mandate(signed: SignedMandate, resource: int) -> bytes:
    """Stands where an intent would, with its price in the place of units."""
    mandate = signed.mandate
    return b"".join(
        (
            _bytes(mandate.account),
            _count(resource),
            mandate.tick_max.to_bytes(8, "big"),
            bytes(8),
            mandate.limit.to_bytes(12, "big"),
            mandate.valid_from.to_bytes(5, "big"),
            mandate.valid_until.to_bytes(5, "big"),
            bytes(1),
            mandate.epoch.to_bytes(4, "big"),
            mandate.nonce.to_bytes(8, "big"),
            _signed(signed, _bytes(signed.signature), _FORM_MANDATE),
        )
    )


def _signed(entry: Entry, signature: bytes, form: int) -> bytes:
    return b"".join(
        (
            (entry.authority | form << _FORM_SHIFT).to_bytes(1, "big"),
            len(entry.lines).to_bytes(1, "big"),
            _count(len(signature)),
            signature,
            *(_line(line) for line in entry.lines),
        )
    )


def _line(line: Line) -> bytes:
    return b"".join(
        (
            _count(line.offer),
            line.units.to_bytes(8, "big"),
            line.delivered.to_bytes(8, "big"),
            line.payment.to_bytes(12, "big"),
            _bytes(line.fill),
        )
    )


def _count(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
