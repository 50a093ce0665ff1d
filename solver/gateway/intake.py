"""Many intents at once: verified by others, bound to their accounts, submitted as one group.

Each intent has its own outcome, as if it had come alone; what one of them lacks does not
harm its neighbours. A batch has a signature for each, a bulk one for all, and intents under
a mandate none: their sender is known by a MAC.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Final, cast

import msgspec

from intents.admission import Unverified, Verified
from intents.bulk import UnverifiedBulk
from intents.bundle import signed_digest
from intents.document import Intent
from intents.reject import Reject, RejectCode, reject
from solver.core.command import Authority
from solver.core.document import IntentState, intent_record
from solver.engine.sequencer import GROUP_MAX, Result
from solver.gateway.answer import status_of
from solver.gateway.contract import ask_contract
from solver.gateway.gateway import Answer, Gateway, Inbound
from solver.gateway.limit import limited
from solver.gateway.many import OutcomesTold, OutcomeTold
from solver.gateway.wire import Nothing
from solver.verifier.batch import Kind, Verdict, names_of, read_intent
from solver.verifier.line import weight_of
from solver.verifier.record import counts_by_account, mandated_records, signed_records

CREATED: Final = 201
Bound = tuple[str, Authority] | Reject
"""Who signed and how that binds the account."""


class Mandated(msgspec.Struct, frozen=True, kw_only=True):
    """The mandate under which intents come; their sender proved that it may."""

    digest: str
    account: str


async def submit_batch(inbound: Inbound[tuple[Unverified[Intent], ...], Nothing]) -> Answer:
    """Submit intents that are signed one by one."""
    return told(await take(inbound.gateway, Kind.BATCH, inbound.raw, inbound.sender))


async def submit_bulk(inbound: Inbound[UnverifiedBulk, Nothing]) -> Answer:
    """Submit intents that are signed together."""
    return told(await take(inbound.gateway, Kind.BULK, inbound.raw, inbound.sender))


def told(outcomes: list[OutcomeTold] | Reject) -> Answer:
    """Outcomes as an answer."""
    return outcomes if isinstance(outcomes, Reject) else OutcomesTold(outcomes=tuple(outcomes))


async def take(gateway: Gateway, kind: Kind, raw: bytes, sender: str) -> list[OutcomeTold] | Reject:
    """Take a body of many signed intents. Rejects as a whole: rate_limited, busy, malformed."""
    return within_rate(gateway, kind, raw, sender) or await take_paid(gateway, kind, raw, sender)


def within_rate(gateway: Gateway, kind: Kind, raw: bytes, sender: str) -> Reject | None:
    """Charge the sender's network for a body. Rejects: rate_limited."""
    cost = weight_of(kind, raw)
    return limited(gateway.rates.address_documents, sender, gateway.now_ms(), cost)


async def take_paid(
    gateway: Gateway,
    kind: Kind,
    raw: bytes,
    sender: str,
    *,
    mandated: Mandated | None = None,
    patient: bool = False,
) -> list[OutcomeTold] | Reject:
    """Take a body whose sender is within its rate; one that is `patient` is not told busy."""
    now_s = gateway.now_ms() // 1_000
    verdict = await gateway.verifiers.many(kind, raw, now_s, patient=patient)
    if isinstance(verdict, Reject):
        return verdict
    if mandated is None:
        records = await _signed(gateway, verdict, sender)
    else:
        records = mandated_records(verdict, mandated.digest, mandated.account)
    return await _submit(gateway, _within_rates(gateway, records))


async def _submit(gateway: Gateway, records: Sequence[IntentState | Reject]) -> list[OutcomeTold]:
    # Written out, as a call for each takes as long as all that is done for it; and `isinstance`
    # of a Struct takes five times as long as of any other class, or as to ask for the type.
    good = [record for record in records if isinstance(record, IntentState)]
    outcomes = [
        _refused(result, record.digest)
        if type(result) is Reject
        else OutcomeTold(status=CREATED, digest=record.digest)
        for record, result in zip(good, await _results(gateway, good), strict=True)
    ]
    if len(good) == len(records):
        return outcomes
    taken = iter(outcomes)
    return [_refused(record) if isinstance(record, Reject) else next(taken) for record in records]


async def _results(gateway: Gateway, records: Sequence[IntentState]) -> Sequence[Result]:
    """What the core says, in groups where one would not hold them."""
    submit = gateway.sequencer.submit_many
    if len(records) <= GROUP_MAX:
        return await submit(records)
    starts = range(0, len(records), GROUP_MAX)
    groups = [submit(records[start : start + GROUP_MAX]) for start in starts]
    return list(chain.from_iterable(await asyncio.gather(*groups)))


async def _signed(
    gateway: Gateway, verdict: Verdict, sender: str
) -> Sequence[IntentState | Reject]:
    """Contracts are asked, all at the same time, about what no known key explains."""
    found = signed_records(verdict, partial(_is_session, gateway))
    places = [place for place, record in enumerate(found) if record is None]
    explained = await _ask_all(gateway, verdict, places, sender) if places else {}
    for place in places:
        found[place] = explained[place]
    return cast("list[IntentState | Reject]", found)


def _is_session(gateway: Gateway, account: str, signer: str) -> bool:
    """Whether the chain has named the signer as a session key; the core says if it is live."""
    record = gateway.state.accounts.get(account)
    return record is not None and signer in record.sessions


_Question = tuple[str, str | None, str, str]
"""What an account's contract is asked: of whom, who seems to have signed, what, over what."""


def _question(verified: Verified[Intent]) -> _Question:
    """A bulk's intents of one account share it, as they share the tree that is signed.

    Those of a batch never do: bytes that a contract accepts for one say nothing of another.
    """
    signed = "" if verified.proof else verified.digest
    return verified.document.account, verified.signer, verified.signature, signed


async def _ask_all(
    gateway: Gateway, verdict: Verdict, places: Sequence[int], sender: str
) -> dict[int, IntentState | Reject]:
    """What contracts say of the intents in these places."""
    names = names_of(verdict)
    asked: dict[_Question, Verified[Intent]] = {}
    unexplained: dict[int, Verified[Intent]] = {}
    for place in places:
        verified = read_intent(verdict, place, names)
        assert isinstance(verified, Verified)
        unexplained[place] = verified
        asked.setdefault(_question(verified), verified)
    answers = await asyncio.gather(*(_ask(gateway, one, sender) for one in asked.values()))
    bound = dict(zip(asked, answers, strict=True))
    return {place: _record(one, bound[_question(one)]) for place, one in unexplained.items()}


async def _ask(gateway: Gateway, verified: Verified[Intent], sender: str) -> Bound:
    """Whether the account's contract accepts what was signed: the intent, or the tree."""
    prefix = gateway.rules.domain.prefix()
    signed = signed_digest(prefix, verified.document, verified.proof)
    if isinstance(signed, Reject):
        return signed
    account = verified.document.account
    valid = await ask_contract(gateway, account, "0x" + signed.hex(), verified.signature, sender)
    if isinstance(valid, Reject):
        return valid
    if not valid:
        return reject(
            RejectCode.NOT_AUTHORIZED,
            f"{verified.signer or 'this signature'} does not speak for {account}",
        )
    return account, Authority.CONTRACT


def _record(verified: Verified[Intent], bound: Bound) -> IntentState | Reject:
    if isinstance(bound, Reject):
        return bound
    signer, authority = bound
    return intent_record(
        verified.document,
        digest=verified.digest,
        signer=signer,
        authority=authority,
        signature=verified.signature,
        proof=verified.proof,
    )


def _within_rates(
    gateway: Gateway, records: Sequence[IntentState | Reject]
) -> Sequence[IntentState | Reject]:
    """All of an account's intents, or none of them: as many as its rate allows."""
    now_ms = gateway.now_ms()
    refused = {
        account: fault
        for account, count in counts_by_account(records).items()
        if (fault := limited(gateway.rates.account_documents, account, now_ms, count))
    }
    if not refused:
        return records
    return [
        record if isinstance(record, Reject) else refused.get(record.account, record)
        for record in records
    ]


def _refused(refused: Reject, digest: str = "") -> OutcomeTold:
    return OutcomeTold(
        status=status_of(refused.code),
        digest=digest,
        code=refused.code,
        message=refused.message,
        hint=refused.hint,
        retry_after_ms=refused.retry_after_ms,
    )
