"""One round of what a verifier does, beside its peers, in CPU seconds of a fresh process.

The two are taken in turn, some documents at a time, so that a machine that changes its speed
changes it for both. No signature comes twice, to either: a processor that has seen one recovers
its key again 5 % sooner, as it knows by then which way its branches go. No market sees one twice.
"""

from collections.abc import Callable, Sequence
from time import process_time
from typing import Any, Final, TypeVar

import msgspec
from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]
from coincurve.context import GLOBAL_CONTEXT
from eth_account.messages import encode_typed_data
from tiny_keccak import keccak256

from intents.admission import Unverified, Verified, admit
from intents.document import Intent
from intents.signature import decode_signature
from intents.typed_data import digest, typed_data
from solver.verifier.batch import Kind, answer
from tests.bench.intake_bodies import BEGIN_S, DOMAIN, RULES

T = TypeVar("T")

TURNS: Final = 40
DIGESTS: Final = 50
"""Of a turn."""
RECOVERIES: Final = 64
"""Of a turn."""


Parts = tuple[bytes, bytes, int]
"""A digest, r and s, the parity."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """How many a second of CPU."""

    ours: float
    peer: float


def digests(singles: list[bytes]) -> Rates:
    """The EIP-712 digest of an intent, beside eth_account's of the same JSON."""
    documents = [_unverified(raw).document for raw in singles[: 2 * TURNS * DIGESTS]]
    prefix = DOMAIN.prefix()
    pairs = [(document, typed_data(DOMAIN, document)) for document in documents]
    for document, wallet in pairs[:DIGESTS]:
        assert digest(prefix, document) == _their_digest(wallet)

    def ours(part: Sequence[tuple[Intent, dict[str, Any]]]) -> None:
        for document, _ in part:
            digest(prefix, document)

    def theirs(part: Sequence[tuple[Intent, dict[str, Any]]]) -> None:
        for _, wallet in part:
            _their_digest(wallet)

    return _in_turn(ours, theirs, pairs)


def pipe(singles: list[bytes]) -> Rates:
    """From JSON to a verified document as it goes to the market, beside a bare recovery."""

    def ours(part: Sequence[tuple[bytes, Parts]]) -> None:
        for raw, _ in part:
            msgspec.msgpack.encode(answer(Kind.INTENT, raw, RULES, BEGIN_S))

    return _in_turn(ours, _recover_bare, _with_parts(singles))


def bare_rate(singles: list[bytes]) -> float:
    """Bare recoveries a second of CPU."""
    return _in_turn(lambda _: None, _recover_bare, _with_parts(singles)).peer


def _recover_bare(part: Sequence[tuple[bytes, Parts]]) -> None:
    """The C library and nothing else: parse a signature, recover its key."""
    context = GLOBAL_CONTEXT.ctx
    signature = ffi.new("secp256k1_ecdsa_recoverable_signature *")
    key = ffi.new("secp256k1_pubkey *")
    parse = lib.secp256k1_ecdsa_recoverable_signature_parse_compact
    recover = lib.secp256k1_ecdsa_recover
    for _, (hashed, compact, parity) in part:
        parse(context, signature, compact, parity)
        recover(context, key, signature, hashed)


def _in_turn(
    ours: Callable[[Sequence[T]], None], peer: Callable[[Sequence[T]], None], work: Sequence[T]
) -> Rates:
    """Each does a half of the work, a part of it in turn; the first part only warms it up."""
    size = len(work) // (2 * TURNS)
    parts = (work[start : start + size] for start in range(0, 2 * TURNS * size, size))
    spent = {ours: 0.0, peer: 0.0}
    for turn in range(TURNS):
        for one in (ours, peer):
            part = next(parts)
            started = process_time()
            one(part)
            if turn:
                spent[one] += process_time() - started
    count = (TURNS - 1) * size
    return Rates(ours=_rate(spent[ours], count), peer=_rate(spent[peer], count))


def _rate(seconds: float, count: int) -> float:
    return count / max(seconds, 1e-9)


def _their_digest(wallet: dict[str, Any]) -> bytes:
    message = encode_typed_data(full_message=wallet)
    return keccak256(b"\x19" + message.version + message.header + message.body)


def _unverified(raw: bytes) -> Unverified[Intent]:
    return msgspec.json.decode(raw, type=Unverified[Intent])


def _with_parts(singles: list[bytes]) -> list[tuple[bytes, Parts]]:
    return [(raw, _parts_of(raw)) for raw in singles[: 2 * TURNS * RECOVERIES]]


def _parts_of(raw: bytes) -> Parts:
    unverified = _unverified(raw)
    assert isinstance(admit(unverified, RULES, BEGIN_S), Verified)
    signature = decode_signature(unverified.signature)
    assert isinstance(signature, bytes)
    return digest(DOMAIN.prefix(), unverified.document), signature[:64], signature[64] - 27
