"""What a verifier does with one body: decode, check, hash, recover. Pure.

`answer` turns a body into a Verdict that travels between processes; `read` turns it back
into what admission returns, and `solver.verifier.record` into the core's records. Between the
two nothing is checked again: it comes from a process of ours. A row is flat because that costs
a quarter of nested records to read, and names that come again and again are said once: whoever
reads them has one string of each.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import astuple

from intents.admission import (
    Rules,
    Unverified,
    Verified,
    admit,
    check_domain,
    recover_signer,
)
from intents.bulk import INTENTS_MAX, UnverifiedBulk, check_bulk, recover_tree, tree
from intents.document import Intent, Offer
from intents.place import Place
from intents.reject import Reject, RejectCode, reject
from solver.verifier import quick
from solver.verifier.decode import Strict, malformed
from solver.verifier.row import IntentRows, Row

T = TypeVar("T")

BATCH_MAX: Final = 128
"""Documents of one batch: about six milliseconds of recoveries."""
REJECT_FIELDS: Final = 4


class Kind(IntEnum):
    """What a body is."""

    INTENT = 0
    """One signed intent."""
    OFFER = 1
    """One signed offer."""
    BATCH = 2
    """An array of signed intents."""
    BULK = 3
    """Many intents with one signature."""
    MANDATED = 4
    """An array of intents without signatures, whose sender was authenticated before."""


NAMES_MAX: Final = 4_096
"""Names that are remembered from body to body."""


class Verdict(msgspec.Struct, frozen=True, array_like=True):
    """What became of one body: a row for each document, in order, or a Reject's for all."""

    rows: list[Row] = []
    names: list[str] = []
    signature: str = ""
    nodes: str = ""
    """Of the tree that the signature is over (`intents.place`)."""
    refused: Row | None = None


_FEW: Final = 8
"""More objects and arrays than a signed document has. A bulk with too many is `too_large`."""


def _signed(value: Unverified[Any]) -> bytes:
    document = msgspec.json.encode(value.document)
    return b'{"document":%b,"signature":"%b"}' % (document, value.signature.encode())


def _batch(values: list[Unverified[Any]]) -> bytes:
    return b"[%b]" % b",".join([_signed(value) for value in values])


def _bulk(value: UnverifiedBulk) -> bytes:
    intents = msgspec.json.encode(value.intents)
    return b'{"intents":%b,"signature":"%b"}' % (intents, value.signature.encode())


_INTENT: Final = Strict(Unverified[Intent], _signed, quick.read_signed, containers_max=_FEW)
_OFFER: Final = Strict(Unverified[Offer], _signed, containers_max=_FEW)
_BARE: Final = Strict(Intent, msgspec.json.encode, quick.read_intent, containers_max=_FEW)
_BULK: Final = Strict(UnverifiedBulk, _bulk, quick.read_bulk, containers_max=2 * INTENTS_MAX)
_BATCH: Final = Strict(list[Unverified[Intent]], _batch, quick.read_batch)
_BARES: Final = Strict(list[Intent], msgspec.json.encode, quick.read_intents)
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def answer(kind: Kind, raw: bytes, rules: Rules, now_s: int) -> Verdict:
    """What becomes of a body at Unix second `now_s`."""
    if kind is Kind.OFFER:
        return Verdict(rows=[_offer_row(raw, rules, now_s)])
    rows = IntentRows(rules.domain.prefix(), rules.assets, now_s)
    if kind is Kind.BULK:
        return _answer_bulk(_BULK.decode(raw), rules, rows)
    refused: Reject | None = None
    if kind is Kind.INTENT:
        _take_signed(_INTENT.decode(raw), rules, rows)
    elif kind is Kind.BATCH:
        refused = _take_each(raw, _BATCH, _INTENT, lambda one: _take_signed(one, rules, rows))
    else:
        refused = _take_each(raw, _BARES, _BARE, lambda one: _take_bare(one, rows))
    if refused is not None:
        return Verdict(refused=astuple(refused))
    return Verdict(rows=rows.rows, names=rows.names())


def answer_together(raws: Sequence[bytes], rules: Rules, now_s: int) -> Verdict:
    """What becomes of bodies of one signed intent each: a row for each."""
    rows = IntentRows(rules.domain.prefix(), rules.assets, now_s)
    for raw in raws:
        _take_signed(_INTENT.decode(raw), rules, rows)
    return Verdict(rows=rows.rows, names=rows.names())


def read(kind: Kind, verdict: Verdict) -> list[Verified[Any] | Reject] | Reject:
    """What `answer` found."""
    if verdict.refused is not None:
        return read_reject(verdict.refused)
    if kind is Kind.OFFER:
        return [_read_offer(row) for row in verdict.rows]
    names = names_of(verdict)
    return [read_intent(verdict, place, names) for place in range(len(verdict.rows))]


def names_of(verdict: Verdict) -> list[str]:
    """The names that its rows have places of."""
    return [_remembered(name) for name in verdict.names]


@lru_cache(NAMES_MAX)
def _remembered(name: str) -> str:
    """One string of each name that comes again: others look it up sooner and keep it once."""
    return name


def _take_each(
    raw: bytes, whole: Strict[list[T]], single: Strict[T], take: Callable[[T | Reject], None]
) -> Reject | None:
    """Take the items of an array; what is wrong with one is that one's.

    Rejects as a whole: malformed, too_large.
    """
    values: Sequence[T | Reject] | None = whole.canonical(raw)
    if values is None:
        try:
            items = _ITEMS.decode(raw)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            return malformed(f"not a JSON array: {error}")
        values = [single.decode(bytes(item)) for item in items[: BATCH_MAX + 1]]
    if not 1 <= len(values) <= BATCH_MAX:
        return reject(
            RejectCode.TOO_LARGE,
            f"a batch has 1 to {BATCH_MAX} documents",
            hint="Send several batches.",
        )
    for value in values:
        take(value)
    return None


def _take_signed(unverified: Unverified[Intent] | Reject, rules: Rules, rows: IntentRows) -> None:
    """`admit` of an intent that carries its own signature."""
    if isinstance(unverified, Reject):
        rows.refuse(unverified)
        return
    terms = astuple(unverified.document)
    fault = check_domain(unverified.domain, rules.domain) or rows.fault(terms)
    if fault is not None:
        rows.refuse(fault)
        return
    hashed = rows.digest(rows.leaf(terms))
    signed = recover_signer(hashed, unverified.signature)
    if isinstance(signed, Reject):
        rows.refuse(signed)
    else:
        rows.add(terms, hashed, signed.signer, signed.signature, None)


def _take_bare(intent: Intent | Reject, rows: IntentRows) -> None:
    """An intent that is not signed, but in its sender's name."""
    if isinstance(intent, Reject):
        rows.refuse(intent)
    else:
        rows.add_bare(astuple(intent))


def _answer_bulk(bulk: UnverifiedBulk | Reject, rules: Rules, rows: IntentRows) -> Verdict:
    """`admit_bulk`: rows share the signature, and the tree that it is over."""
    refused = bulk if isinstance(bulk, Reject) else check_bulk(bulk, rules)
    if refused is not None:
        return Verdict(refused=astuple(refused))
    assert isinstance(bulk, UnverifiedBulk)
    each = [astuple(intent) for intent in bulk.intents]
    leaves = rows.leaves(each)
    grown = tree(leaves)
    signed = recover_tree(grown, bulk.signature, rules)
    if isinstance(signed, Reject):
        return Verdict(refused=astuple(signed))
    rows.add_bulk(each, leaves, signed.signer)
    return Verdict(
        rows=rows.rows, names=rows.names(), signature=signed.signature, nodes=grown.nodes
    )


def _offer_row(raw: bytes, rules: Rules, now_s: int) -> Row:
    unverified = _OFFER.decode(raw)
    result = unverified if isinstance(unverified, Reject) else admit(unverified, rules, now_s)
    if isinstance(result, Reject):
        return astuple(result)
    document = astuple(result.document)
    return (*document, result.digest, result.signer, result.signature, result.proof)


def read_reject(row: Row) -> Reject:
    """The Reject of a row of `REJECT_FIELDS`."""
    code, message, hint, retry_after_ms = row
    return Reject(code=RejectCode(code), message=message, hint=hint, retry_after_ms=retry_after_ms)


def read_intent(verdict: Verdict, place: int, names: Sequence[str]) -> Verified[Intent] | Reject:
    """What a verdict with these names says of the intent in this place."""
    row = verdict.rows[place]
    if len(row) == REJECT_FIELDS:
        return read_reject(row)
    (
        account,
        resource,
        asset,
        units,
        units_min,
        limit,
        valid_from,
        valid_until,
        immediate,
        epoch,
        nonce,
        hashed,
        signer,
        signature,
        leaf,
    ) = row
    intent = Intent(
        account=names[account],
        resource=names[resource],
        asset=names[asset],
        units=units,
        units_min=units_min,
        limit=limit,
        valid_from=valid_from,
        valid_until=valid_until,
        immediate=immediate,
        epoch=epoch,
        nonce=nonce,
    )
    return Verified(
        document=intent,
        digest=hashed,
        signer=None if signer is None else names[signer],
        signature=signature or verdict.signature,
        proof="" if leaf is None else Place(verdict.nodes, len(verdict.rows), leaf).proof(),
    )


def _read_offer(row: Row) -> Verified[Offer] | Reject:
    if len(row) == REJECT_FIELDS:
        return read_reject(row)
    *fields, hashed, signer, signature, proof = row
    named = dict(zip(Offer.__struct_fields__, fields, strict=True))
    return Verified(
        document=Offer(**named), digest=hashed, signer=signer, signature=signature, proof=proof
    )
