"""The edges of what is taken in: amounts, times, and under whose authority."""

import msgspec
import pytest

from intents.bound import AMOUNT_MAX
from intents.reject import Reject, RejectCode
from solver.core.check import Violation
from solver.core.command import Authority, IssueCredits, SubmitIntent, SubmitOffer
from solver.core.event import Filled, IntentStatus
from solver.core.fact import ReceiptClaimed, SessionRevoked, WithdrawalRequested
from solver.core.intake import live_session
from solver.core.ledger import CHAIN, Ledger, hold, transfer
from solver.core.market import Market
from solver.core.nonce import NONCE_WORDS_MAX, NONCES_PER_WORD
from solver.core.state import CREDIT, State
from tests.builder import (
    START_S,
    USDC,
    Bench,
    a_bench,
    a_mandate,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    every,
)

RICH = 10**9


@pytest.mark.parametrize(
    ("amount", "taken"), [(0, False), (1, True), (AMOUNT_MAX, True), (AMOUNT_MAX + 1, False)]
)
def test_credits_are_issued_within_bounds(amount: int, *, taken: bool) -> None:
    """One atom is enough; more than a document can name is not issued at once."""
    bench = Bench()
    command = IssueCredits(account=alice.address, amount=amount, reason="gift")
    if taken:
        bench.do(command)
        assert bench.available(alice, CREDIT) == amount
    else:
        assert bench.refuse(command) is RejectCode.LIMIT_OUT_OF_RANGE


def test_the_same_document_is_known() -> None:
    """Whatever kind it is: the first thing that is said of it, before its nonce is."""
    bench = a_bench()
    for command in (
        an_intent().limit(1).signed_by(alice),
        an_offer().limit(50).signed_by(bob),
        a_mandate().signed_by(alice),
    ):
        bench.do(command)
        assert bench.refuse(command) is RejectCode.ALREADY_KNOWN


def test_a_mandate_sells_nothing_and_makes_no_mandates() -> None:
    """It is a leave to buy: not even its own account's offers or mandates come under it."""
    bench = a_bench()
    leave = a_mandate().signed_by(bob)
    bench.do(leave)
    for command in (an_offer().signed_by(bob), a_mandate().signed_by(bob)):
        under = msgspec.structs.replace(
            command, authority=Authority.MANDATE, signer=leave.digest, signature=""
        )
        assert bench.refuse(under) is RejectCode.NOT_AUTHORIZED


@pytest.mark.parametrize(("seconds", "code"), [(0, None), (1, RejectCode.MANDATE_TERMS)])
def test_a_mandate_begins_to_the_second(seconds: int, code: RejectCode | None) -> None:
    """An intent may come under it from that second on."""
    bench = a_bench()
    leave = a_mandate().not_before(seconds).signed_by(alice)
    bench.do(leave)
    bid = an_intent().under(leave, alice)
    if code is None:
        bench.do(bid)
    else:
        assert bench.refuse(bid) is code
        bench.wait(seconds - 0.001)
        assert bench.refuse(bid) is code
        bench.wait(0.001)
        bench.do(bid)
    assert bench.status(bid) is IntentStatus.OPEN


def test_a_withdrawal_counts_once_against_what_can_be_promised() -> None:
    """What it holds is gone from what is free, and is not taken off a second time."""
    bench = a_bench()
    bench.chain(WithdrawalRequested(account=alice.address, amount=40))
    over = an_intent().limit(RICH - 39).signed_by(alice)
    assert bench.refuse(over) is RejectCode.INSUFFICIENT_FUNDS
    bench.do(an_intent().limit(RICH - 40).signed_by(alice))


def test_a_withdrawal_of_money_leaves_credits_free() -> None:
    """It asks for USDC, even where it asks for more than there is."""
    bench = a_bench()
    bench.chain(WithdrawalRequested(account=alice.address, amount=2 * RICH))
    assert bench.refuse(an_intent().limit(1).signed_by(alice)) is RejectCode.INSUFFICIENT_FUNDS
    bench.do(an_intent().limit(RICH).paid_in(CREDIT).signed_by(alice))


def test_a_posted_receipt_leaves_nothing_to_promise() -> None:
    """Not an atom, until the chain has paid it."""
    bench = a_bench()
    bench.chain(ReceiptClaimed(account=alice.address, signer=alice.address))
    assert bench.refuse(an_intent().limit(1).signed_by(alice)) is RejectCode.INSUFFICIENT_FUNDS


def test_who_scatters_its_nonces_is_told_how_to_count() -> None:
    """Where all below some nonce are gone with it; from that one on it is this one alone."""
    bench = a_bench()
    account = bench.market.state.account(alice.address)
    for word in range(NONCE_WORDS_MAX):
        account.use((word + 1) * NONCES_PER_WORD)
    lowest = account.nonce_min
    assert lowest == NONCES_PER_WORD
    refused = [bench.attempt(an_intent().nonce(n).signed_by(alice)) for n in (lowest - 1, lowest)]
    told = [(one.code, one.message) for one in refused if isinstance(one, Reject)]
    assert told == [
        (RejectCode.NONCE_USED, f"all below {lowest}"),
        (RejectCode.NONCE_USED, f"nonce {lowest}"),
    ]


def test_what_was_paid_out_cannot_be_held() -> None:
    """What is available is less what was posted: the first atom beyond it is a violation."""
    ledger = Ledger()
    money, outside = ledger.account("alice", USDC), ledger.account(CHAIN, USDC)
    transfer(outside, money, 100)
    transfer(money, outside, 60)
    hold(money, 30)
    with pytest.raises(Violation, match="never_overdrawn"):
        hold(money, 11)
    hold(money, 10)
    assert (money.available, money.total, money.debits_pending) == (0, 40, 40)


def test_a_market_goes_on_from_the_state_it_is_given() -> None:
    """And from an empty one where it is given none."""
    state = State(USDC)
    assert Market(USDC, state).state is state
    assert Market(USDC).state is not state
    assert Market(USDC).state.usdc == USDC


@pytest.mark.parametrize("seconds", [0, -1])
def test_what_begins_this_second_trades_this_second(seconds: int) -> None:
    """Whichever side comes last: its fill is among the events of its own command."""
    for bid_last in (True, False):
        bench = a_bench()
        commands: list[SubmitOffer | SubmitIntent] = [
            an_offer().not_before(seconds).signed_by(bob),
            an_intent().not_before(seconds).signed_by(alice),
        ]
        first, last = commands if bid_last else commands[::-1]
        assert every(bench.do(first), Filled) == []
        assert len(every(bench.do(last), Filled)) == 1


def test_an_accounts_sums_are_what_moved() -> None:
    """Debits and credits posted, debits pending: audits add them up."""
    ledger = Ledger()
    money, outside = ledger.account("alice", USDC), ledger.account(CHAIN, USDC)
    transfer(outside, money, 100)
    transfer(money, outside, 60)
    hold(money, 30)
    assert money.sums() == (60, 100, 30)
    assert outside.sums() == (100, 60, 0)


def test_a_session_is_live_up_to_the_second_in_which_it_expires() -> None:
    """And not after it was revoked, nor for whom none was granted."""
    bench = a_bench().granting(carol, alice, seconds=60)
    account = bench.market.state.accounts[alice.address]
    session = account.sessions[carol.address]
    assert live_session(account, carol.address, START_S + 59) is session
    assert live_session(account, carol.address, START_S + 60) is None
    assert live_session(account, bob.address, START_S) is None
    bench.chain(SessionRevoked(account=alice.address, session=carol.address))
    assert live_session(account, carol.address, START_S) is None
