"""Signed bodies for the intake benchmark, made once and kept in a file for every round."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Final

import msgspec
from tiny_keccak import keccak256

from intents.admission import Rules
from intents.bulk import sign_bulk
from intents.document import Intent, Mandate
from intents.signature import SigningKey
from intents.typed_data import Domain, digest
from solver.core.state import CREDIT, STANDING_MAX

BATCH: Final = 64
ACCOUNTS: Final = 64
SEED: Final = 20_261_122
RESOURCE: Final = "datasette/search:call"
USDC: Final = "0x" + "05" * 20
DOMAIN: Final = Domain(chain_id=31_337, verifying_contract="0x" + "5e" * 20)
RULES: Final = Rules(domain=DOMAIN, assets=frozenset({USDC, CREDIT}))
UNTIL_S: Final = 4_000_000_000
BEGIN_S: Final = UNTIL_S - 86_400
"""The market's time in a round: a day before everything ends."""


class Bodies(msgspec.Struct, frozen=True, kw_only=True):
    """What each way of sending takes; `mandate` is the signed mandate of the last one."""

    singles: list[bytes]
    batches: list[bytes]
    bulks: list[bytes]
    mandated: list[bytes]
    mandate: bytes

    @classmethod
    def load(cls, path: Path) -> "Bodies":
        """From a file that `make` wrote."""
        return msgspec.msgpack.decode(path.read_bytes(), type=cls)


@cache
def key_of(number: int) -> SigningKey:
    """An account's key."""
    return SigningKey(keccak256(b"bench:%d" % number))


def intents(
    random: Random, first_nonce: int, count: int, account: int | None = None
) -> list[Intent]:
    """Bids at some two hundred prices; of one account, or of all in turn."""
    return [
        Intent(
            account=key_of(nonce % ACCOUNTS if account is None else account).address,
            resource=RESOURCE,
            asset=USDC,
            units=(units := random.randint(1, 50)),
            limit=units * random.randint(100, 300),
            valid_until=UNTIL_S,
            nonce=nonce,
        )
        for nonce in range(first_nonce, first_nonce + count)
    ]


def make(path: Path, batches: int, bulks: int) -> None:
    """Write `batches` batches of one signature each, and as many singles, and `bulks` of a tree.

    Under the one mandate there are as many as an account may have standing.
    """
    random = Random(SEED)  # noqa: S311  amounts, no secret
    signed = [_signed(intent) for intent in intents(random, 0, batches * BATCH)]
    mandate = Mandate(
        account=key_of(0).address,
        resource="",
        asset=USDC,
        tick_max=10**12,
        limit=10**12,
        valid_until=UNTIL_S,
        nonce=10**9,
    )
    signature = key_of(0).sign(digest(DOMAIN.prefix(), mandate))
    bodies = Bodies(
        singles=signed,
        batches=[b"[" + b",".join(part) + b"]" for part in _parts(signed)],
        bulks=[_bulk(random, number) for number in range(bulks)],
        mandated=[
            msgspec.json.encode(intents(random, 10**7 + number * BATCH, BATCH, account=0))
            for number in range(min(bulks, STANDING_MAX // BATCH))
        ],
        mandate=msgspec.json.encode({"document": mandate, "signature": signature}),
    )
    path.write_bytes(msgspec.msgpack.encode(bodies))


def _signed(intent: Intent) -> bytes:
    key = key_of(intent.nonce % ACCOUNTS)
    signature = key.sign(digest(DOMAIN.prefix(), intent))
    return msgspec.json.encode({"document": intent, "signature": signature})


def _bulk(random: Random, number: int) -> bytes:
    account = number % ACCOUNTS
    documents = intents(random, 10**8 + number * BATCH, BATCH, account)
    signature = sign_bulk(key_of(account), DOMAIN, documents)
    return msgspec.json.encode({"intents": documents, "signature": signature})


def _parts(signed: list[bytes]) -> Iterator[list[bytes]]:
    return (signed[start : start + BATCH] for start in range(0, len(signed), BATCH))
