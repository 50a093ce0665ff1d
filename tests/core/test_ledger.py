"""The ledger: conservation, two phases, and what stops the process."""

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from intents.bound import AMOUNT_MAX
from intents.reject import Reject
from solver.core.check import Violation
from solver.core.command import IssueCredits
from solver.core.ledger import CHAIN, ISSUANCE, Balance, Ledger, hold, post, release, transfer
from solver.core.market import Market
from solver.core.state import CREDIT
from tests.conftest import MACHINE

OWNERS = ("alice", "bob", "carol")
owners = st.sampled_from(OWNERS)
assets = st.sampled_from(("usdc", "credit"))
amounts = st.integers(0, 100)

Hold = tuple[str, str, int]
"""Whose, of what, how much."""


class LedgerMachine(RuleBasedStateMachine):
    """Against a model that keeps only totals and a list of holds."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.totals: dict[tuple[str, str], int] = {}
        self.holds: list[Hold] = []

    def _account(self, owner: str, asset: str) -> Balance:
        return self.ledger.account(owner, asset)

    def _pending(self, owner: str, asset: str) -> int:
        return sum(n for who, what, n in self.holds if (who, what) == (owner, asset))

    def _free(self, owner: str, asset: str) -> int:
        return self.totals.get((owner, asset), 0) - self._pending(owner, asset)

    def _move(self, debit: str, credit: str, asset: str, amount: int) -> None:
        self.totals[debit, asset] = self.totals.get((debit, asset), 0) - amount
        self.totals[credit, asset] = self.totals.get((credit, asset), 0) + amount

    @rule(owner=owners, asset=assets, amount=amounts)
    def deposit(self, owner: str, asset: str, amount: int) -> None:
        """The outside may owe."""
        transfer(self._account(CHAIN, asset), self._account(owner, asset), amount)
        self._move(CHAIN, owner, asset, amount)

    @rule(debit=owners, credit=owners, asset=assets, amount=amounts, forced=st.booleans())
    def transfer(self, debit: str, credit: str, asset: str, amount: int, forced: bool) -> None:  # noqa: FBT001
        """Covered, forced, or a violation that changes nothing."""
        source, target = self._account(debit, asset), self._account(credit, asset)
        if not amount or forced or amount <= self._free(debit, asset):
            transfer(source, target, amount, forced=forced)
            self._move(debit, credit, asset, amount)
        else:
            with pytest.raises(Violation, match="never_overdrawn"):
                transfer(source, target, amount)

    @rule(owner=owners, asset=assets, amount=amounts)
    def hold(self, owner: str, asset: str, amount: int) -> None:
        """The first phase takes what is free, never what is held."""
        account = self._account(owner, asset)
        if not amount or amount <= self._free(owner, asset):
            hold(account, amount)
            self.holds.append((owner, asset, amount))
        else:
            with pytest.raises(Violation, match="never_overdrawn"):
                hold(account, amount)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), credit=owners, part=st.fractions(0, 1), posts=st.booleans())
    def second_phase(
        self,
        data: st.DataObject,
        credit: str,
        part: float,
        posts: bool,  # noqa: FBT001
    ) -> None:
        """Post a part and release the rest, or release a part."""
        place = data.draw(st.integers(0, len(self.holds) - 1))
        debit, asset, amount = self.holds.pop(place)
        some = int(amount * part)
        if posts:
            post(self._account(debit, asset), self._account(credit, asset), amount, some)
            self._move(debit, credit, asset, some)
        else:
            release(self._account(debit, asset), some)
            self.holds.append((debit, asset, amount - some))

    @rule(owner=owners, asset=assets)
    def release_too_much(self, owner: str, asset: str) -> None:
        """One atom more than is pending is a violation that changes nothing."""
        with pytest.raises(Violation, match="release_within_hold"):
            release(self._account(owner, asset), self._pending(owner, asset) + 1)

    @invariant()
    def agrees(self) -> None:
        """Totals, available sums and pending ones are the model's; all sum to nothing."""
        for owner in (*OWNERS, CHAIN):
            for asset in ("usdc", "credit"):
                balance = self.ledger.balance(owner, asset)
                assert balance.total == self.totals.get((owner, asset), 0)
                assert balance.debits_pending == self._pending(owner, asset)
                assert self.ledger.available(owner, asset) == self._free(owner, asset)
        for asset in ("usdc", "credit"):
            accounts = [one for one in self.ledger.balances() if one.asset == asset]
            assert sum(one.total for one in accounts) == 0


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = MACHINE


def test_an_account_is_one_object_and_reading_makes_none() -> None:
    """What is asked for to read is not kept; what is used is found again, sorted by name."""
    ledger = Ledger()
    assert ledger.balance("bob", "usdc").total == 0
    assert ledger.accounts() == []
    account = ledger.account("bob", "usdc")
    assert ledger.account("bob", "usdc") is account is ledger.balance("bob", "usdc")
    ledger.account("alice", "usdc")
    assert ledger.accounts() == [("alice", "usdc"), ("bob", "usdc")]
    assert [balance.owner for balance in ledger.balances()] == ["bob", "alice"]


def _funded() -> tuple[Balance, Balance]:
    ledger = Ledger()
    alice, bob = ledger.account("alice", "usdc"), ledger.account("bob", "usdc")
    transfer(ledger.account(CHAIN, "usdc"), alice, 10)
    hold(alice, 6)
    return alice, bob


@pytest.mark.parametrize(
    ("misuse", "name"),
    [
        (lambda alice, bob: transfer(alice, bob, -1), "transfer_not_negative"),
        (lambda alice, bob: transfer(alice, bob, -1, forced=True), "transfer_not_negative"),
        (lambda alice, bob: transfer(alice, bob, 5), "never_overdrawn"),
        (lambda alice, _: hold(alice, -1), "hold_not_negative"),
        (lambda alice, _: hold(alice, 5), "never_overdrawn"),
        (lambda alice, _: release(alice, 7), "release_within_hold"),
        (lambda alice, _: release(alice, -1), "release_within_hold"),
        (lambda _, bob: release(bob, 1), "release_within_hold"),
        (lambda alice, bob: post(alice, bob, 6, 7), "post_within_hold"),
        (lambda alice, bob: post(alice, bob, 6, -1), "post_within_hold"),
        (lambda alice, bob: post(alice, bob, 7, 7), "release_within_hold"),
    ],
)
def test_misuse_is_a_violation(misuse: Callable[[Balance, Balance], None], name: str) -> None:
    """Each rule of the ledger stops the process under its own name, before anything moved."""
    alice, bob = _funded()
    before = (alice.sums(), bob.sums())
    with pytest.raises(Violation, match=name) as caught:
        misuse(alice, bob)
    assert caught.value.name == name
    assert (alice.sums(), bob.sums()) == before


def test_a_hold_is_posted_once() -> None:
    """What was posted is no longer held, and cannot be posted again."""
    alice, bob = _funded()
    post(alice, bob, 6, 4)
    assert (alice.available, bob.available) == (6, 4)
    assert alice.debits_pending == 0
    with pytest.raises(Violation, match="release_within_hold"):
        post(alice, bob, 6, 4)


def test_the_outside_may_owe_and_nobody_else() -> None:
    """Owners that begin with "@" go below zero; a name that only has one in it does not."""
    ledger = Ledger()
    alice, outside = ledger.account("alice", "usdc"), ledger.account(ISSUANCE, "usdc")
    hold(outside, 1)
    transfer(outside, alice, 1)
    assert (outside.total, outside.available, alice.available) == (-1, -2, 1)
    with pytest.raises(Violation, match="never_overdrawn"):
        transfer(ledger.account("a@b", "usdc"), alice, 1)


def test_sums_beyond_64_bits_can_be_hashed() -> None:
    """Many large issues, and a large auction's score, do not end a market at its checkpoint."""
    market = Market("0x" + "cc" * 20)
    for _ in range(3_000):
        issue = IssueCredits(account="0x" + "aa" * 20, amount=AMOUNT_MAX, reason="test")
        assert not isinstance(market.apply(issue), Reject)
    assert market.state.ledger.balance(ISSUANCE, CREDIT).debits_posted > 2**64
    assert len(market.state.hash()) == 64
    too_much = IssueCredits(account="0x" + "aa" * 20, amount=AMOUNT_MAX + 1, reason="test")
    assert isinstance(market.apply(too_much), Reject)
