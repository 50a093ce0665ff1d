"""The packed layout of a batch, as contracts/src/BatchReader.sol reads it.

The only place in Python that knows it. Big-endian fields without padding; offers ascend
by (account, nonce), because the contract refuses any other order.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from tiny_keccak import keccak256

from contracts.bindings import ACCOUNT, SETTLEMENT
from intents.document import Intent, Offer

LINES_PER_INTENT_MAX: Final = 255
OFFERS_MAX: Final = 2**16 - 1
SIGNATURE_BYTES_MAX: Final = 2**16 - 1


class SignedOffer(msgspec.Struct, frozen=True, kw_only=True):
    """An offer, how its signature binds the account, and the signature."""

    offer: Offer
    authority: int
    signature: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One fill: `offer` is the place in the batch's offers."""

    offer: int
    units: int
    delivered: int
    payment: int
    fill: str


class SignedIntent(msgspec.Struct, frozen=True, kw_only=True):
    """An intent with the lines that settle it."""

    intent: Intent
    authority: int
    signature: str
    lines: tuple[Line, ...]


def offer_order(offer: Offer) -> tuple[int, int]:
    """What offers are sorted by."""
    return int(offer.account, 16), offer.nonce


def pack(offers: Sequence[SignedOffer], intents: Sequence[SignedIntent]) -> bytes:
    """The `batch` argument of `settle`."""
    names = _resources(offers, intents)
    places = {name: place for place, name in enumerate(names)}
    parts = [_count(len(names)), *(keccak256(name.encode()) for name in names)]
    parts.append(_count(len(offers)))
    parts += [_offer(signed, places[signed.offer.resource]) for signed in offers]
    parts.append(_count(len(intents)))
    parts += [_intent(signed, places[signed.intent.resource]) for signed in intents]
    return b"".join(parts)


def settle_call(number: int, digest: str, packed: bytes) -> bytes:
    """Calldata of the operator's account, which passes it on to the settlement contract."""
    settle = SETTLEMENT.function("settle").encode(number, bytes.fromhex(digest[2:]), packed)
    return ACCOUNT.function("callSettlement").encode(settle)


def _resources(offers: Iterable[SignedOffer], intents: Iterable[SignedIntent]) -> list[str]:
    """Each resource once, in order of first use."""
    names = [signed.offer.resource for signed in offers]
    names += [signed.intent.resource for signed in intents]
    return list(dict.fromkeys(names))


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


def _intent(signed: SignedIntent, resource: int) -> bytes:
    intent, signature = signed.intent, _bytes(signed.signature)
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
            signed.authority.to_bytes(1, "big"),
            len(signed.lines).to_bytes(1, "big"),
            _count(len(signature)),
            signature,
            *(_line(line) for line in signed.lines),
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
