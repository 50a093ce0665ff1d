"""The ledger: conservation, two phases, and what stops the process."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from intents.bound import AMOUNT_MAX
from intents.reject import Reject
from solver.core.check import Violation
from solver.core.command import IssueCredits
from solver.core.ledger import CHAIN, ISSUANCE, Ledger
from solver.core.market import Market
from solver.core.state import CREDIT

OWNERS = ("alice", "bob", "carol")
owners = st.sampled_from(OWNERS)
assets = st.sampled_from(("usdc", "credit"))
amounts = st.integers(0, 100)


class LedgerMachine(RuleBasedStateMachine):
    """Against a model that keeps only totals and a list of holds."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.totals: dict[tuple[str, str], int] = {}
        self.holds: dict[str, tuple[str, str, str, int]] = {}
        self.number = 0

    def _pending(self, owner: str, asset: str) -> int:
        return sum(n for who, _, what, n in self.holds.values() if (who, what) == (owner, asset))

    def _free(self, owner: str, asset: str) -> int:
        return self.totals.get((owner, asset), 0) - self._pending(owner, asset)

    def _move(self, debit: str, credit: str, asset: str, amount: int) -> None:
        self.totals[debit, asset] = self.totals.get((debit, asset), 0) - amount
        self.totals[credit, asset] = self.totals.get((credit, asset), 0) + amount

    @rule(owner=owners, asset=assets, amount=amounts)
    def deposit(self, owner: str, asset: str, amount: int) -> None:
        """The outside may owe."""
        self.ledger.transfer(CHAIN, owner, asset, amount)
        self._move(CHAIN, owner, asset, amount)

    @rule(debit=owners, credit=owners, asset=assets, amount=amounts, forced=st.booleans())
    def transfer(self, debit: str, credit: str, asset: str, amount: int, forced: bool) -> None:  # noqa: FBT001
        """Covered, forced, or a violation that changes nothing."""
        if not amount or forced or amount <= self._free(debit, asset):
            self.ledger.transfer(debit, credit, asset, amount, forced=forced)
            self._move(debit, credit, asset, amount)
        else:
            with pytest.raises(Violation, match="never_overdrawn"):
                self.ledger.transfer(debit, credit, asset, amount)

    @rule(debit=owners, credit=owners, asset=assets, amount=amounts)
    def hold(self, debit: str, credit: str, asset: str, amount: int) -> None:
        """The first phase takes what is free, never what is held."""
        self.number += 1
        name = f"hold-{self.number}"
        if not amount or amount <= self._free(debit, asset):
            self.ledger.hold(name, debit, credit, asset, amount)
            self.holds[name] = (debit, credit, asset, amount)
        else:
            with pytest.raises(Violation, match="never_overdrawn"):
                self.ledger.hold(name, debit, credit, asset, amount)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), part=st.fractions(0, 1), how=st.sampled_from(("post", "reduce", "void")))
    def second_phase(self, data: st.DataObject, part: float, how: str) -> None:
        """Post a part and release the rest, release a part, or release all."""
        name = data.draw(st.sampled_from(sorted(self.holds)))
        debit, credit, asset, amount = self.holds.pop(name)
        some = int(amount * part)
        if how == "post":
            self.ledger.post(name, some)
            self._move(debit, credit, asset, some)
        elif how == "void":
            self.ledger.void(name)
        else:
            self.ledger.reduce(name, some)
            self.holds[name] = (debit, credit, asset, amount - some)

    @invariant()
    def agrees(self) -> None:
        """Totals, available sums and holds are the model's; both sides always balance."""
        for owner in (*OWNERS, CHAIN):
            for asset in ("usdc", "credit"):
                balance = self.ledger.balance(owner, asset)
                assert balance.total == self.totals.get((owner, asset), 0)
                assert balance.debits_pending == self._pending(owner, asset)
                assert self.ledger.available(owner, asset) == self._free(owner, asset)
        for sums in self.ledger.totals().values():
            assert sums[0] == sums[1]
            assert sums[2] == sums[3]
        assert {name: self.ledger.held(name) for name in self.holds} == {
            name: terms[3] for name, terms in self.holds.items()
        }
        assert set(self.ledger.holds()) == set(self.holds)


TestLedgerMachine = LedgerMachine.TestCase


@given(amounts=st.lists(amounts, min_size=1, max_size=20))
def test_the_dump_does_not_depend_on_history(amounts: list[int]) -> None:
    """Equal balances reached in another order dump equally."""
    one, other = Ledger(), Ledger()
    for place, amount in enumerate(amounts):
        one.transfer(CHAIN, f"owner-{place}", "usdc", amount)
    for place, amount in reversed(list(enumerate(amounts))):
        other.transfer(CHAIN, f"owner-{place}", "usdc", amount)
    assert one.dump() == other.dump()


def _funded() -> Ledger:
    ledger = Ledger()
    ledger.transfer(CHAIN, "alice", "usdc", 10)
    ledger.hold("h", "alice", "bob", "usdc", 6)
    return ledger


@pytest.mark.parametrize(
    ("misuse", "name"),
    [
        (lambda ledger: ledger.transfer("alice", "bob", "usdc", -1), "transfer_not_negative"),
        (lambda ledger: ledger.transfer("alice", "bob", "usdc", 5), "never_overdrawn"),
        (lambda ledger: ledger.hold("n", "alice", "bob", "usdc", -1), "hold_not_negative"),
        (lambda ledger: ledger.hold("h", "alice", "bob", "usdc", 1), "hold_id_new"),
        (lambda ledger: ledger.hold("n", "alice", "bob", "usdc", 5), "never_overdrawn"),
        (lambda ledger: ledger.reduce("h", 7), "reduce_within_hold"),
        (lambda ledger: ledger.reduce("h", -1), "reduce_within_hold"),
        (lambda ledger: ledger.post("h", 7), "post_within_hold"),
    ],
)
def test_misuse_is_a_violation(misuse: Callable[[Ledger], None], name: str) -> None:
    """Each rule of the ledger stops the process under its own name."""
    with pytest.raises(Violation, match=name) as caught:
        misuse(_funded())
    assert caught.value.name == name


def test_a_hold_is_posted_once() -> None:
    """What was posted or voided is gone."""
    ledger = _funded()
    ledger.post("h", 4)
    assert (ledger.available("alice", "usdc"), ledger.available("bob", "usdc")) == (6, 4)
    assert ledger.held("h") == 0
    with pytest.raises(KeyError):
        ledger.post("h", 0)


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
