"""One round of what a verifier does, beside its peers, in CPU seconds of a fresh process.

The two are taken in turn, some hundred at a time, so that a machine that changes its speed
changes it for both.
"""

from collections.abc import Callable
from time import process_time
from typing import Any, Final

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

TURNS: Final = 40
DIGESTS: Final = 50
RECOVERIES: Final = 64


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """How many a second of CPU."""

    ours: float
    peer: float


def digests(singles: list[bytes]) -> Rates:
    """The EIP-712 digest of an intent, beside eth_account's of the same JSON."""
    documents = [_unverified(raw).document for raw in singles[:DIGESTS]]
    prefix = DOMAIN.prefix()
    wallets = [typed_data(DOMAIN, document) for document in documents]
    for document, wallet in zip(documents, wallets, strict=True):
        assert digest(prefix, document) == _their_digest(wallet)

    def ours() -> None:
        for document in documents:
            digest(prefix, document)

    def theirs() -> None:
        for wallet in wallets:
            _their_digest(wallet)

    return _in_turn(ours, theirs, DIGESTS)


def pipe(singles: list[bytes]) -> Rates:
    """From JSON to a verified document as it goes to the market, beside a bare recovery."""
    bodies = singles[:RECOVERIES]
    parts = [_parts_of(raw) for raw in bodies]

    def ours() -> None:
        for raw in bodies:
            msgspec.msgpack.encode(answer(Kind.INTENT, raw, RULES, BEGIN_S))

    return _in_turn(ours, lambda: recover_bare(parts), RECOVERIES)


def bare_rate(singles: list[bytes]) -> float:
    """Bare recoveries a second of CPU."""
    parts = [_parts_of(raw) for raw in singles[:RECOVERIES]]
    return _in_turn(lambda: None, lambda: recover_bare(parts), RECOVERIES).peer


Parts = tuple[bytes, bytes, int]
"""A digest, r and s, the parity."""


def recover_bare(parts: list[Parts]) -> None:
    """The C library and nothing else: parse a signature, recover its key."""
    context = GLOBAL_CONTEXT.ctx
    signature = ffi.new("secp256k1_ecdsa_recoverable_signature *")
    key = ffi.new("secp256k1_pubkey *")
    parse = lib.secp256k1_ecdsa_recoverable_signature_parse_compact
    recover = lib.secp256k1_ecdsa_recover
    for hashed, compact, parity in parts:
        parse(context, signature, compact, parity)
        recover(context, key, signature, hashed)


def _in_turn(ours: Callable[[], None], peer: Callable[[], None], count: int) -> Rates:
    spent = {ours: 0.0, peer: 0.0}
    for work in (ours, peer):
        work()
    for _ in range(TURNS):
        for work in (ours, peer):
            started = process_time()
            work()
            spent[work] += process_time() - started
    return Rates(ours=_rate(spent[ours], count), peer=_rate(spent[peer], count))


def _rate(seconds: float, count: int) -> float:
    return TURNS * count / max(seconds, 1e-9)


def _their_digest(wallet: dict[str, Any]) -> bytes:
    message = encode_typed_data(full_message=wallet)
    return keccak256(b"\x19" + message.version + message.header + message.body)


def _unverified(raw: bytes) -> Unverified[Intent]:
    return msgspec.json.decode(raw, type=Unverified[Intent])


def _parts_of(raw: bytes) -> Parts:
    unverified = _unverified(raw)
    assert isinstance(admit(unverified, RULES, BEGIN_S), Verified)
    signature = decode_signature(unverified.signature)
    assert isinstance(signature, bytes)
    return digest(DOMAIN.prefix(), unverified.document), signature[:64], signature[64] - 27
