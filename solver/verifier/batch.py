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

from intents.admission import Rules, Unverified, Verified, admit, check_intent
from intents.bulk import INTENTS_MAX, UnverifiedBulk, admit_bulk
from intents.document import Document, Intent, Offer
from intents.reject import Reject, RejectCode, reject
from intents.typed_data import digest
from solver.verifier import quick
from solver.verifier.decode import Strict, malformed

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


Row = tuple[Any, ...]
"""A Verified: the document's fields, digest, signer, signature, proof. Or a Reject's four.

An intent's account, resource, asset and signer are places among the verdict's names; its
signature is empty where the verdict has it.
"""


NAMES_MAX: Final = 4_096
"""Names that are remembered from body to body."""


class Verdict(msgspec.Struct, frozen=True, array_like=True):
    """What became of one body: a row for each document, in order, or a Reject's for all."""

    rows: list[Row] = []
    names: list[str] = []
    signature: str = ""
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
    results = _results(kind, raw, rules, now_s)
    if isinstance(results, Reject):
        return Verdict(refused=astuple(results))
    if kind is Kind.OFFER:
        return Verdict(rows=[_offer_row(result) for result in results])
    return _intents_told(results, shared=kind is Kind.BULK)


def read(kind: Kind, verdict: Verdict) -> list[Verified[Any] | Reject] | Reject:
    """What `answer` found."""
    if verdict.refused is not None:
        return read_reject(verdict.refused)
    if kind is Kind.OFFER:
        return [_read_offer(row) for row in verdict.rows]
    names, shared = names_of(verdict), verdict.signature
    return [read_intent(row, names, shared) for row in verdict.rows]


def names_of(verdict: Verdict) -> list[str]:
    """The names that its rows have places of."""
    return [_remembered(name) for name in verdict.names]


@lru_cache(NAMES_MAX)
def _remembered(name: str) -> str:
    """One string of each name that comes again: others look it up sooner and keep it once."""
    return name


def _results(
    kind: Kind, raw: bytes, rules: Rules, now_s: int
) -> Sequence[Verified[Any] | Reject] | Reject:
    match kind:
        case Kind.INTENT:
            return [_admit(_INTENT, raw, rules, now_s)]
        case Kind.OFFER:
            return [_admit(_OFFER, raw, rules, now_s)]
        case Kind.BULK:
            bulk = _BULK.decode(raw)
            return bulk if isinstance(bulk, Reject) else admit_bulk(bulk, rules, now_s)
        case Kind.BATCH:
            return _each(raw, _BATCH, _INTENT, lambda one: admit(one, rules, now_s))
        case Kind.MANDATED:
            prefix = rules.domain.prefix()
            return _each(raw, _BARES, _BARE, lambda one: _admit_bare(one, rules, prefix, now_s))


def _each(
    raw: bytes,
    whole: Strict[list[T]],
    single: Strict[T],
    verify: Callable[[T], Verified[Any] | Reject],
) -> Sequence[Verified[Any] | Reject] | Reject:
    """The items of an array; what is wrong with one is that one's.

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
    return [value if isinstance(value, Reject) else verify(value) for value in values]


def _admit(
    strict: Strict[Unverified[Any]], raw: bytes, rules: Rules, now_s: int
) -> Verified[Any] | Reject:
    unverified = strict.decode(raw)
    return unverified if isinstance(unverified, Reject) else admit(unverified, rules, now_s)


def _admit_bare(
    intent: Intent, rules: Rules, prefix: bytes, now_s: int
) -> Verified[Intent] | Reject:
    fault = check_intent(intent, rules, now_s)
    if fault is not None:
        return fault
    hashed = "0x" + digest(prefix, intent).hex()
    return Verified(document=intent, digest=hashed, signer=None, signature="")


def _intents_told(results: Sequence[Verified[Any] | Reject], *, shared: bool) -> Verdict:
    """Intents as rows; a bulk's share their signature."""
    places: dict[str, int] = {}
    place = places.setdefault
    rows: list[Row] = []
    signature = ""
    for result in results:
        if isinstance(result, Reject):
            rows.append(astuple(result))
            continue
        document, signer, signature = result.document, result.signer, result.signature
        # Field by field: half the time of taking a tuple apart and together again.
        rows.append(
            (
                place(document.account, len(places)),
                place(document.resource, len(places)),
                place(document.asset, len(places)),
                document.units,
                document.units_min,
                document.limit,
                document.valid_from,
                document.valid_until,
                document.immediate,
                document.epoch,
                document.nonce,
                result.digest,
                None if signer is None else place(signer, len(places)),
                "" if shared else signature,
                result.proof,
            )
        )
    return Verdict(rows=rows, names=list(places), signature=signature if shared else "")


def _offer_row(result: Verified[Document] | Reject) -> Row:
    if isinstance(result, Reject):
        return astuple(result)
    document = astuple(result.document)
    return (*document, result.digest, result.signer, result.signature, result.proof)


def read_reject(row: Row) -> Reject:
    """The Reject of a row of `REJECT_FIELDS`."""
    code, message, hint, retry_after_ms = row
    return Reject(code=RejectCode(code), message=message, hint=hint, retry_after_ms=retry_after_ms)


def read_intent(row: Row, names: Sequence[str], shared: str) -> Verified[Intent] | Reject:
    """A row about an intent; `shared` is the verdict's signature."""
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
        proof,
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
        signature=signature or shared,
        proof=proof,
    )


def _read_offer(row: Row) -> Verified[Offer] | Reject:
    if len(row) == REJECT_FIELDS:
        return read_reject(row)
    *fields, hashed, signer, signature, proof = row
    named = dict(zip(Offer.__struct_fields__, fields, strict=True))
    return Verified(
        document=Offer(**named), digest=hashed, signer=signer, signature=signature, proof=proof
    )
