"""Every refusal of every command: its exact code, and not a bit changed by it."""

from collections.abc import Callable
from typing import Final, get_args

import msgspec
import pytest

from intents.reject import RejectCode
from solver.core.auction import FILLS_MAX, SOLUTIONS_PER_SOLVER_MAX
from solver.core.command import (
    ApplyBlocks,
    Authority,
    CancelDocument,
    Command,
    CutBatch,
    CutMetered,
    EndLeases,
    FinishCall,
    IssueCredits,
    KeyEnd,
    Limit,
    Mode,
    OpenAuction,
    OpenResource,
    Outcome,
    PoolKey,
    ProposeSolution,
    RetireKey,
    SetBonds,
    SetMetering,
    SolutionFill,
    StartCall,
    SubmitIntent,
    SubmitMandate,
    SubmitOffer,
    Tick,
)
from solver.core.event import AuctionOpened
from solver.core.fact import (
    Deposited,
    EpochBumped,
    NonceCancelled,
    SessionRevoked,
    WithdrawalRequested,
)
from solver.core.state import MAY_SETTLE
from tests.builder import (
    CREDITS,
    SEARCH,
    TOKENS,
    USDC,
    Bench,
    IntentBuilder,
    MandateBuilder,
    a_bench,
    a_bundle,
    a_mandate,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    dave,
    key_of,
    only,
    person,
)
from tests.judging import SEED, solution

Case = Callable[[Bench], Command]
SESSION: Final = person("session")


def _intent_twice(bench: Bench) -> Command:
    command = an_intent().signed_by(alice)
    bench.do(command)
    return command


def _intent_by_session(bench: Bench, *, limit: int = 100) -> SubmitIntent:
    return an_intent().for_account(alice).limit(limit).signed_by(SESSION, Authority.SESSION)


def _revoked_session(bench: Bench) -> Command:
    bench.granting(SESSION, alice)
    bench.chain(SessionRevoked(account=alice.address, session=SESSION.address))
    return _intent_by_session(bench)


def _expired_session(bench: Bench) -> Command:
    bench.granting(SESSION, alice, seconds=60)
    bench.wait(60)
    return _intent_by_session(bench)


def _spent_session(bench: Bench) -> Command:
    bench.granting(SESSION, alice, cap=150)
    bench.do(_intent_by_session(bench))
    return _intent_by_session(bench, limit=51)


def _cancelled_nonce(bench: Bench) -> Command:
    bench.chain(NonceCancelled(account=alice.address, nonce=7_777))
    return an_intent().nonce(7_777).signed_by(alice)


def _offer_with_the_nonce_of_an_intent(bench: Bench) -> Command:
    bench.do(an_intent().nonce(8_888).signed_by(bob))
    return an_offer().nonce(8_888).signed_by(bob)


def _old_epoch(bench: Bench) -> Command:
    bench.chain(EpochBumped(account=alice.address, epoch=1))
    return an_intent().signed_by(alice)


def _money_asked_back(bench: Bench) -> Command:
    bench.chain(WithdrawalRequested(account=alice.address, amount=10**9 - 50))
    return an_intent().limit(51).signed_by(alice)


def _after(seconds: float, make: Callable[[], Command]) -> Case:
    def case(bench: Bench) -> Command:
        command = make()
        bench.wait(seconds)
        return command

    return case


def _retired_key(bench: Bench) -> Command:
    bench.retire(key_of(bob))
    return an_offer().signed_by(bob)


def _offer_beyond_the_key(bench: Bench) -> Command:
    bench.listing(TOKENS)
    return an_offer().of(TOKENS).signed_by(bob)


def _retire_again(bench: Bench) -> Command:
    bench.retire(key_of(bob))
    return RetireKey(key=key_of(bob), reason=KeyEnd.DEAD)


def _key_that_still_serves(bench: Bench) -> Command:
    intent = an_intent().limit(100).signed_by(alice)
    bench.do(an_offer().signed_by(bob))
    bench.do(intent)
    bench.start(bench.lease(intent), 1)
    bench.retire(key_of(bob))
    return _pool(key_of(bob), SEARCH)


def _intent_of(bench: Bench, *, filled: bool) -> SubmitIntent:
    if filled:
        bench.do(an_offer().units(5).limit(5).signed_by(bob))
    command = an_intent().units(5).limit(100).signed_by(alice)
    bench.do(command)
    return command


def _cancel(bench: Bench, command: SubmitIntent | SubmitOffer) -> CancelDocument:
    account = command.intent.account if isinstance(command, SubmitIntent) else command.offer.account
    return CancelDocument(account=account, digest=command.digest)


def _cancel_twice(bench: Bench) -> Command:
    cancel = _cancel(bench, _intent_of(bench, filled=False))
    bench.do(cancel)
    return cancel


def _cancel_offer_twice(bench: Bench) -> Command:
    offer = an_offer().signed_by(bob)
    bench.do(offer)
    bench.do(_cancel(bench, offer))
    return _cancel(bench, offer)


# -- mandates


def _under(
    mandate: MandateBuilder,
    intent: IntentBuilder,
    *,
    changes: Callable[[Bench], None] | None = None,
) -> Case:
    """An intent under a mandate of alice's, after what may have changed since."""

    def case(bench: Bench) -> Command:
        bench.listing(TOKENS)
        signed = mandate.signed_by(alice)
        bench.do(signed)
        if changes is not None:
            changes(bench)
        return intent.under(signed, alice)

    return case


def _end_the_mandate(bench: Bench) -> None:
    (mandate,) = bench.market.state.mandates.values()
    bench.do(CancelDocument(account=alice.address, digest=mandate.digest))


def _wait_a_minute(bench: Bench) -> None:
    bench.wait(60)


def _spend_half_of_it(bench: Bench) -> None:
    """600 atoms are held under it."""
    (mandate,) = bench.market.state.mandates.values()
    asset = mandate.document.asset
    command = an_intent().units(6).limit(600).paid_in(asset).signed_by(alice)
    under = msgspec.structs.replace(command, signer=mandate.digest, authority=Authority.MANDATE)
    bench.do(under)


def _pay_half_of_it(bench: Bench) -> None:
    """600 credits were paid under it."""
    _spend_half_of_it(bench)
    bench.do(an_offer().units(6).limit(600).paid_in(CREDITS).signed_by(bob))
    (lease,) = bench.market.state.leases.values()
    bench.use(lease, 6)


def _mandate_twice(bench: Bench) -> Command:
    command = a_mandate().signed_by(alice)
    bench.do(command)
    return command


def _mandate_with_the_nonce_of_an_intent(bench: Bench) -> Command:
    bench.do(an_intent().nonce(9_999).signed_by(alice))
    return a_mandate().nonce(9_999).signed_by(alice)


def _mandate_of_an_old_epoch(bench: Bench) -> Command:
    bench.chain(EpochBumped(account=alice.address, epoch=1))
    return a_mandate().signed_by(alice)


def _mandate_by_session(bench: Bench, *, cap: int = 1_000, seconds: int = 3_600) -> SubmitMandate:
    bench.granting(SESSION, alice, cap=cap, seconds=seconds)
    return a_mandate().for_account(alice).signed_by(SESSION, Authority.SESSION)


def _mandate_by_an_expired_session(bench: Bench) -> Command:
    command = _mandate_by_session(bench, seconds=60)
    bench.wait(60)
    return command


def _mandate_by_a_revoked_session(bench: Bench) -> Command:
    command = _mandate_by_session(bench)
    bench.chain(SessionRevoked(account=alice.address, session=SESSION.address))
    return command


def _under_a_mandate_of_a_revoked_session(bench: Bench) -> Command:
    command = _mandate_by_session(bench)
    bench.do(command)
    bench.chain(SessionRevoked(account=alice.address, session=SESSION.address))
    return an_intent().under(command, alice)


def _under_a_mandate_beyond_its_session(bench: Bench) -> Command:
    command = _mandate_by_session(bench, cap=99)
    bench.do(command)
    return an_intent().limit(100).under(command, alice)


def _under_anothers_mandate(bench: Bench) -> Command:
    command = a_mandate().signed_by(bob)
    bench.do(command)
    return an_intent().under(command, alice)


def _cancel_mandate_twice(bench: Bench) -> Command:
    bench.do(a_mandate().signed_by(alice))
    _end_the_mandate(bench)
    (mandate,) = bench.market.state.mandates.values()
    return CancelDocument(account=alice.address, digest=mandate.digest)


def _cancel_anothers_mandate(bench: Bench) -> Command:
    command = a_mandate().signed_by(alice)
    bench.do(command)
    return CancelDocument(account=bob.address, digest=command.digest)


# -- calls


def _call(bench: Bench, units: int = 1, *, lease_units: int = 5) -> StartCall:
    bench.do(an_offer().units(lease_units).limit(5).signed_by(bob))
    command = an_intent().units(lease_units).limit(100).signed_by(alice)
    bench.do(command)
    return StartCall(lease=bench.lease(command).id, call="c", units=units)


def _call_twice(bench: Bench) -> Command:
    call = _call(bench)
    bench.do(call)
    return call


def _call_after_the_end(bench: Bench) -> Command:
    call = _call(bench)
    bench.wait(600)
    return call


def _call_while_draining(bench: Bench) -> Command:
    call = _call(bench)
    bench.do(call)
    lease = bench.market.state.leases[call.lease]
    bench.do(EndLeases(account=alice.address, intent=lease.intent))
    return StartCall(lease=call.lease, call="d", units=1)


def _call_beyond_what_flies(bench: Bench) -> Command:
    call = _call(bench, 4)
    bench.do(call)
    return StartCall(lease=call.lease, call="d", units=2)


def _call_beyond_the_window(bench: Bench) -> Command:
    bench.pooling(bob, number=1, limits=(Limit(units=2, seconds=60),))
    bench.do(an_offer().units(5).limit(5).from_key(key_of(bob, 1)).signed_by(bob))
    command = an_intent().units(5).limit(100).signed_by(alice)
    bench.do(command)
    bench.use(bench.lease(command), 2)
    return StartCall(lease=bench.lease(command).id, call="c", units=1)


def _call_beyond_the_offers_window(bench: Bench) -> Command:
    bench.do(an_offer().units(5).limit(5).window(2, 60).signed_by(bob))
    command = an_intent().units(5).limit(100).signed_by(alice)
    bench.do(command)
    bench.use(bench.lease(command), 1)
    return StartCall(lease=bench.lease(command).id, call="c", units=2)


def _call_beyond_any_window(bench: Bench) -> Command:
    bench.do(an_offer().units(5).limit(5).window(2, 60).signed_by(bob))
    command = an_intent().units(5).limit(100).signed_by(alice)
    bench.do(command)
    return StartCall(lease=bench.lease(command).id, call="c", units=3)


def _finish_with(units: int) -> Case:
    def case(bench: Bench) -> Command:
        call = _call(bench)
        bench.do(call)
        return FinishCall(call=call.call, outcome=Outcome.DELIVERED, units=units)

    return case


# -- auctions


def _opened(bench: Bench) -> AuctionOpened:
    bench.listing(TOKENS, Mode.EPOCH).pooling(bob, number=1, resources=(TOKENS,))
    bench.do(an_intent().of(TOKENS).signed_by(alice))
    bench.do(an_offer().of(TOKENS).from_key(key_of(bob, 1)).signed_by(bob))
    return only(bench.do(_an_auction(bench)), AuctionOpened)


def _an_auction(bench: Bench, resource: str = TOKENS, seconds: int = 10) -> OpenAuction:
    return OpenAuction(
        resources=(resource,), asset=USDC, closes_at_ms=bench.now_ms + seconds * 1_000, seed=SEED
    )


def _second_auction(bench: Bench) -> Command:
    _opened(bench)
    return _an_auction(bench)


def _auction_in_credits(bench: Bench) -> Command:
    _opened(bench)
    offer = an_offer().of(TOKENS).paid_in(CREDITS).from_key(key_of(bob, 1))
    bench.do(an_intent().of(TOKENS).paid_in(CREDITS).signed_by(alice))
    bench.do(offer.signed_by(bob))
    command = msgspec.structs.replace(_an_auction(bench), asset=CREDITS)
    bench.do(command)
    return command


def _one_sided_auction(bench: Bench) -> Command:
    bench.listing(TOKENS, Mode.EPOCH)
    bench.do(an_intent().of(TOKENS).signed_by(alice))
    return _an_auction(bench)


def _empty_auction(bench: Bench) -> Command:
    bench.listing(TOKENS, Mode.EPOCH)
    return _an_auction(bench)


def _auction_without_time(bench: Bench) -> Command:
    _opened(bench)
    bench.wait(10)
    return _an_auction(bench, seconds=0)


def _proposal(opened: AuctionOpened, number: int = 0, fills: int = 0) -> ProposeSolution:
    return ProposeSolution(
        auction=opened.auction,
        solver="solver",
        snapshot=opened.snapshot,
        books=solution(number, (SolutionFill(intent="i", offer="o", units=1),) * fills).books,
    )


def _proposal_to_nothing(bench: Bench) -> Command:
    return ProposeSolution(auction=0, solver="s", snapshot="", books=())


def _late_proposal(bench: Bench) -> Command:
    opened = _opened(bench)
    bench.wait(10)
    return _proposal(opened)


def _proposal_to_another_snapshot(bench: Bench) -> Command:
    opened = _opened(bench)
    return ProposeSolution(auction=opened.auction, solver="s", snapshot="0x00", books=())


def _one_proposal_too_many(bench: Bench) -> Command:
    opened = _opened(bench)
    for number in range(SOLUTIONS_PER_SOLVER_MAX):
        bench.do(_proposal(opened, number))
    return _proposal(opened, 99)


def _proposal_twice(bench: Bench) -> Command:
    opened = _opened(bench)
    bench.do(_proposal(opened))
    return _proposal(opened)


def _blocks_again(bench: Bench) -> Command:
    bench.chain(Deposited(account=alice.address, amount=1))
    number = bench.market.state.cursor
    fact = Deposited(account=alice.address, amount=1)
    return ApplyBlocks(number=number, block_hash="0x00", facts=(fact,))


def _pool(key: str, *resources: str) -> PoolKey:
    return PoolKey(key=key, owner=bob.address, provider="p", resources=resources)


CASES: Final[dict[str, tuple[RejectCode, Case]]] = {
    "open a resource twice": (
        RejectCode.ALREADY_KNOWN,
        lambda _: OpenResource(resource=SEARCH),
    ),
    "open a resource again with other terms": (
        RejectCode.ALREADY_KNOWN,
        lambda _: OpenResource(resource=SEARCH, mode=Mode.EPOCH),
    ),
    "pool a key twice": (RejectCode.KEY_DUPLICATE, lambda _: _pool(key_of(bob), SEARCH)),
    "pool a key for what is not listed": (
        RejectCode.RESOURCE_UNKNOWN,
        lambda _: _pool("0x01", SEARCH, TOKENS),
    ),
    "pool a key that still serves": (RejectCode.KEY_NOT_LIVE, _key_that_still_serves),
    "retire no key": (
        RejectCode.KEY_UNKNOWN,
        lambda _: RetireKey(key="0x01", reason=KeyEnd.DEAD),
    ),
    "retire a key twice": (RejectCode.KEY_NOT_LIVE, _retire_again),
    "submit an intent twice": (RejectCode.ALREADY_KNOWN, _intent_twice),
    "buy what is not listed": (
        RejectCode.RESOURCE_UNKNOWN,
        lambda _: an_intent().of(TOKENS).signed_by(alice),
    ),
    "an intent at its end": (
        RejectCode.EXPIRED,
        _after(60, lambda: an_intent().until(60).signed_by(alice)),
    ),
    "an intent signed by a stranger": (
        RejectCode.NOT_AUTHORIZED,
        lambda _: an_intent().for_account(alice).signed_by(bob),
    ),
    "an intent by no session": (RejectCode.NOT_AUTHORIZED, _intent_by_session),
    "an intent by a session that may only settle": (
        RejectCode.NOT_AUTHORIZED,
        lambda bench: _intent_by_session(bench.granting(SESSION, alice, permissions=MAY_SETTLE)),
    ),
    "an intent by another account's session": (
        RejectCode.NOT_AUTHORIZED,
        lambda bench: _intent_by_session(bench.granting(SESSION, bob)),
    ),
    "an intent by a revoked session": (RejectCode.NOT_AUTHORIZED, _revoked_session),
    "an intent by an expired session": (RejectCode.SESSION_EXPIRED, _expired_session),
    "an intent beyond the session's cap": (RejectCode.SESSION_CAP_EXCEEDED, _spent_session),
    "an intent of an old epoch": (RejectCode.EPOCH_ENDED, _old_epoch),
    "an intent of a future epoch": (
        RejectCode.EPOCH_ENDED,
        lambda _: an_intent().epoch(1).signed_by(alice),
    ),
    "an intent with a cancelled nonce": (RejectCode.NONCE_USED, _cancelled_nonce),
    "an intent without money": (
        RejectCode.INSUFFICIENT_FUNDS,
        lambda _: an_intent().limit(10**9 + 1).signed_by(alice),
    ),
    "an intent without credits": (
        RejectCode.INSUFFICIENT_FUNDS,
        lambda _: an_intent().paid_in(CREDITS).limit(10**9 + 1).signed_by(alice),
    ),
    "an intent with money that is asked back": (
        RejectCode.INSUFFICIENT_FUNDS,
        _money_asked_back,
    ),
    "an offer with the nonce of an intent": (
        RejectCode.NONCE_USED,
        _offer_with_the_nonce_of_an_intent,
    ),
    "an offer at its end": (
        RejectCode.EXPIRED,
        _after(60, lambda: an_offer().until(60).signed_by(bob)),
    ),
    "an offer signed by a stranger": (
        RejectCode.NOT_AUTHORIZED,
        lambda _: an_offer().for_account(bob).signed_by(alice),
    ),
    "an offer of what is not listed": (
        RejectCode.RESOURCE_UNKNOWN,
        lambda _: an_offer().of(TOKENS).signed_by(bob),
    ),
    "an offer from no key": (RejectCode.KEY_UNKNOWN, lambda _: an_offer().signed_by(alice)),
    "an offer from a retired key": (RejectCode.KEY_NOT_LIVE, _retired_key),
    "an offer from another's key": (
        RejectCode.NOT_AUTHORIZED,
        lambda _: an_offer().from_key(key_of(carol)).signed_by(bob),
    ),
    "an offer of what its key does not serve": (
        RejectCode.RESOURCE_UNKNOWN,
        _offer_beyond_the_key,
    ),
    "submit a mandate twice": (RejectCode.ALREADY_KNOWN, _mandate_twice),
    "a mandate for what is not listed": (
        RejectCode.RESOURCE_UNKNOWN,
        lambda _: a_mandate().of(TOKENS).signed_by(alice),
    ),
    "a mandate at its end": (
        RejectCode.EXPIRED,
        _after(60, lambda: a_mandate().until(60).signed_by(alice)),
    ),
    "a mandate signed by a stranger": (
        RejectCode.NOT_AUTHORIZED,
        lambda _: a_mandate().for_account(alice).signed_by(bob),
    ),
    "a mandate by no session": (
        RejectCode.NOT_AUTHORIZED,
        lambda _: a_mandate().for_account(alice).signed_by(SESSION, Authority.SESSION),
    ),
    "a mandate by a revoked session": (
        RejectCode.NOT_AUTHORIZED,
        _mandate_by_a_revoked_session,
    ),
    "a mandate by an expired session": (
        RejectCode.SESSION_EXPIRED,
        _mandate_by_an_expired_session,
    ),
    "a mandate of an old epoch": (RejectCode.EPOCH_ENDED, _mandate_of_an_old_epoch),
    "a mandate with the nonce of an intent": (
        RejectCode.NONCE_USED,
        _mandate_with_the_nonce_of_an_intent,
    ),
    "an intent under no mandate": (
        RejectCode.MANDATE_UNKNOWN,
        lambda _: an_intent().under(a_mandate().signed_by(alice), alice),
    ),
    "an intent under another's mandate": (RejectCode.NOT_AUTHORIZED, _under_anothers_mandate),
    "an intent under a cancelled mandate": (
        RejectCode.MANDATE_ENDED,
        _under(a_mandate(), an_intent(), changes=_end_the_mandate),
    ),
    "an intent under an expired mandate": (
        RejectCode.MANDATE_ENDED,
        _under(a_mandate().until(60), an_intent(), changes=_wait_a_minute),
    ),
    "an intent under a mandate of a revoked session": (
        RejectCode.MANDATE_ENDED,
        _under_a_mandate_of_a_revoked_session,
    ),
    "an intent for another resource than its mandate's": (
        RejectCode.MANDATE_TERMS,
        _under(a_mandate(), an_intent().of(TOKENS)),
    ),
    "an intent in another asset than its mandate's": (
        RejectCode.MANDATE_TERMS,
        _under(a_mandate(), an_intent().paid_in(CREDITS)),
    ),
    "an intent at more than its mandate's price": (
        RejectCode.MANDATE_TERMS,
        _under(a_mandate().at_most(99), an_intent().limit(100)),
    ),
    "an intent before its mandate begins": (
        RejectCode.MANDATE_TERMS,
        _under(a_mandate().not_before(60), an_intent()),
    ),
    "an intent beyond what its mandate's session may spend": (
        RejectCode.SESSION_CAP_EXCEEDED,
        _under_a_mandate_beyond_its_session,
    ),
    "an intent beyond its mandate": (
        RejectCode.MANDATE_EXCEEDED,
        _under(a_mandate().limit(99), an_intent().limit(100)),
    ),
    "an intent beyond what its mandate has left": (
        RejectCode.MANDATE_EXCEEDED,
        _under(a_mandate(), an_intent().units(5).limit(401), changes=_spend_half_of_it),
    ),
    "an intent beyond what its mandate has not paid": (
        RejectCode.MANDATE_EXCEEDED,
        _under(
            a_mandate().paid_in(CREDITS),
            an_intent().units(5).limit(401).paid_in(CREDITS),
            changes=_pay_half_of_it,
        ),
    ),
    "an intent with everything wrong but its mandate": (
        RejectCode.MANDATE_UNKNOWN,
        lambda _: an_intent().epoch(1).limit(10**10).under(a_mandate().signed_by(alice), alice),
    ),
    "an intent of an old epoch beyond its mandate's terms": (
        RejectCode.EPOCH_ENDED,
        _under(a_mandate(), an_intent().epoch(1).of(TOKENS)),
    ),
    "an intent of a used nonce beyond its mandate's terms": (
        RejectCode.NONCE_USED,
        _under(a_mandate().nonce(7_000), an_intent().nonce(7_000).of(TOKENS)),
    ),
    "an intent beyond its mandate's terms and alice's money": (
        RejectCode.MANDATE_TERMS,
        _under(a_mandate(), an_intent().limit(10**10)),
    ),
    "an intent beyond its mandate and alice's money": (
        RejectCode.INSUFFICIENT_FUNDS,
        _under(a_mandate().at_most(10**7), an_intent().units(10**4).limit(10**10)),
    ),
    "cancel a mandate twice": (RejectCode.NOT_OPEN, _cancel_mandate_twice),
    "cancel another's mandate": (RejectCode.NOT_AUTHORIZED, _cancel_anothers_mandate),
    "cancel nothing": (
        RejectCode.NOT_FOUND,
        lambda _: CancelDocument(account=alice.address, digest="0x00"),
    ),
    "cancel another's intent": (
        RejectCode.NOT_AUTHORIZED,
        lambda bench: CancelDocument(
            account=bob.address, digest=_intent_of(bench, filled=False).digest
        ),
    ),
    "cancel an intent twice": (RejectCode.NOT_OPEN, _cancel_twice),
    "cancel what is filled": (
        RejectCode.TOO_LATE,
        lambda bench: _cancel(bench, _intent_of(bench, filled=True)),
    ),
    "cancel an offer twice": (RejectCode.NOT_OPEN, _cancel_offer_twice),
    "call without a lease": (
        RejectCode.LEASE_UNKNOWN,
        lambda _: StartCall(lease="0x00", call="c", units=1),
    ),
    "start a call twice": (RejectCode.ALREADY_KNOWN, _call_twice),
    "call after the lease's end": (RejectCode.LEASE_ENDED, _call_after_the_end),
    "call while the lease drains": (RejectCode.LEASE_ENDED, _call_while_draining),
    "call for nothing": (RejectCode.FILL_UNITS_INVALID, lambda bench: _call(bench, 0)),
    "call for less than nothing": (RejectCode.FILL_UNITS_INVALID, lambda bench: _call(bench, -1)),
    "call for more than the lease has": (RejectCode.LEASE_EXHAUSTED, lambda bench: _call(bench, 6)),
    "call for what is in flight": (RejectCode.LEASE_EXHAUSTED, _call_beyond_what_flies),
    "call beyond the key's window": (RejectCode.WINDOW_EXHAUSTED, _call_beyond_the_window),
    "call beyond the offer's window": (
        RejectCode.WINDOW_EXHAUSTED,
        _call_beyond_the_offers_window,
    ),
    "call for more than a window ever holds": (
        RejectCode.FILL_UNITS_INVALID,
        _call_beyond_any_window,
    ),
    "finish no call": (
        RejectCode.CALL_UNKNOWN,
        lambda _: FinishCall(call="c", outcome=Outcome.FAILED, units=0),
    ),
    "finish a call with less than nothing": (RejectCode.FILL_UNITS_INVALID, _finish_with(-1)),
    "end the leases of nothing": (
        RejectCode.NOT_FOUND,
        lambda _: EndLeases(account=alice.address, intent="0x00"),
    ),
    "end another's leases": (
        RejectCode.NOT_AUTHORIZED,
        lambda bench: EndLeases(account=dave.address, intent=_intent_of(bench, filled=True).digest),
    ),
    "a bundle of what trades continuously": (
        RejectCode.BUNDLE_NEEDS_EPOCHS,
        lambda _: a_bundle(alice, an_intent(), an_intent()),
    ),
    "a bundle of another's account": (
        RejectCode.NOT_AUTHORIZED,
        lambda _: a_bundle(carol, an_intent(), an_intent(), account=alice),
    ),
    "issue no credits": (
        RejectCode.LIMIT_OUT_OF_RANGE,
        lambda _: IssueCredits(account=alice.address, amount=0, reason=""),
    ),
    "meter what nothing could settle": (
        RejectCode.LIMIT_OUT_OF_RANGE,
        lambda _: SetMetering(payment_max=2, uncovered_max=1),
    ),
    "ask for less than a penalty": (
        RejectCode.LIMIT_OUT_OF_RANGE,
        lambda _: SetBonds(bond_min=1, penalty_max=2),
    ),
    "sign for nothing": (RejectCode.RECEIPT_STALE, lambda bench: bench.receipt(alice)),
    "cut an empty metered batch": (
        RejectCode.NOTHING_TO_SETTLE,
        lambda _: CutMetered(fills_max=1, unsigned_ms=0),
    ),
    "cut an empty batch": (RejectCode.NOTHING_TO_SETTLE, lambda _: CutBatch(fills_max=1)),
    "apply blocks twice": (RejectCode.CURSOR_BEHIND, _blocks_again),
    "an auction of nothing": (
        RejectCode.RESOURCE_UNKNOWN,
        lambda bench: _an_auction(bench, "no/such:thing"),
    ),
    "an auction of what trades continuously": (
        RejectCode.RESOURCE_UNKNOWN,
        lambda bench: _an_auction(bench, SEARCH),
    ),
    "a second auction": (RejectCode.ALREADY_KNOWN, _second_auction),
    "a second auction in the other asset": (RejectCode.ALREADY_KNOWN, _auction_in_credits),
    "an auction without orders": (RejectCode.NOT_OPEN, _empty_auction),
    "an auction without offers": (RejectCode.NOT_OPEN, _one_sided_auction),
    "an auction without time": (RejectCode.NOT_OPEN, _auction_without_time),
    "a proposal to no auction": (RejectCode.AUCTION_UNKNOWN, _proposal_to_nothing),
    "a proposal after the close": (RejectCode.AUCTION_CLOSED, _late_proposal),
    "a proposal to another snapshot": (
        RejectCode.SNAPSHOT_MISMATCH,
        _proposal_to_another_snapshot,
    ),
    "one proposal too many": (RejectCode.SOLUTION_LIMIT, _one_proposal_too_many),
    "a proposal of too many fills": (
        RejectCode.SOLUTION_LIMIT,
        lambda bench: _proposal(_opened(bench), fills=FILLS_MAX + 1),
    ),
    "a proposal twice": (RejectCode.SOLUTION_DUPLICATE, _proposal_twice),
}


@pytest.mark.parametrize(("code", "case"), CASES.values(), ids=CASES)
def test_refusals_have_a_code_and_change_nothing(code: RejectCode, case: Case) -> None:
    """The state hash is the same before and after; `refuse` compares it."""
    bench = a_bench()
    assert bench.refuse(case(bench)) is code


def test_every_command_can_be_refused_here() -> None:
    """The table above forgets no command but Tick, which cannot be refused."""
    refused = {type(case(a_bench())) for _, case in CASES.values()}
    assert refused == set(get_args(Command)) - {Tick}
