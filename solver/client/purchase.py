"""Many purchases at once: what is wanted, and what became of each."""

from collections.abc import Sequence
from typing import Any

import msgspec

from intents.bulk import INTENTS_MAX, sign_bulk
from intents.document import Intent
from solver.client.fault import Rejected
from solver.client.market import Identity, Market
from solver.client.model import Model


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """Up to `limit` atoms in all for `units` of `resource`. USDC unless told otherwise."""

    resource: str
    units: int
    limit: int
    asset: str | None = None
    units_min: int = 1
    immediate: bool = False
    valid_seconds: int = 3_600
    delay_seconds: int = 0

    def document(self, market: Market, account: str, epoch: int) -> Intent:
        """The intent to sign, with a nonce of its own."""
        begins_s = market.time_s() + self.delay_seconds
        return Intent(
            account=account,
            resource=self.resource,
            asset=self.asset or market.signing.assets.usdc,
            units=self.units,
            units_min=self.units_min,
            limit=self.limit,
            valid_from=begins_s if self.delay_seconds else 0,
            valid_until=begins_s + self.valid_seconds,
            immediate=self.immediate,
            epoch=epoch,
            nonce=market.next_nonce(),
        )


class Bought(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one purchase of many: its intent's digest, and why it was refused if so."""

    document: Intent
    digest: str
    refused: Rejected | None = None

    def intent(self) -> str:
        """The digest of an accepted intent. Raises Rejected."""
        if self.refused is not None:
            raise self.refused
        return self.digest


class Outcome(Model, frozen=True, kw_only=True):
    """What the market says of one intent."""

    status: int
    digest: str = ""
    code: str = ""
    message: str = ""
    hint: str = ""
    retry_after_ms: int | None = None


class Outcomes(Model, frozen=True, kw_only=True):
    """What the market says of all, in order."""

    outcomes: tuple[Outcome, ...]


def bought(
    market: Market, documents: Sequence[Intent], outcomes: Sequence[Outcome]
) -> list[Bought]:
    """What became of each document. One that the market knew already is as good as new."""
    return [
        Bought(document=document, digest=market.digest_of(document), refused=_refusal(outcome))
        for document, outcome in zip(documents, outcomes, strict=True)
    ]


def signed_batch(
    market: Market, identity: Identity, documents: Sequence[Intent]
) -> list[dict[str, Any]]:
    """A body of intents that are signed one by one."""
    return [
        {"document": document, "signature": market.sign(identity.key, document)[1]}
        for document in documents
    ]


def signed_bulk(market: Market, identity: Identity, documents: Sequence[Intent]) -> dict[str, Any]:
    """A body of up to `INTENTS_MAX` intents over one signature."""
    return {
        "intents": documents,
        "signature": sign_bulk(identity.key, market.domain, documents),
    }


def parts_of(documents: Sequence[Intent], most: int = INTENTS_MAX) -> list[Sequence[Intent]]:
    """The documents in parts of at most `most`."""
    return [documents[start : start + most] for start in range(0, len(documents), most)]


def _refusal(outcome: Outcome) -> Rejected | None:
    if not outcome.code or outcome.code == "already_known":
        return None
    return Rejected(
        outcome.code,
        outcome.message,
        outcome.hint,
        status=outcome.status,
        retry_after_ms=outcome.retry_after_ms,
    )
