"""Winners are paid where small fills are metered: by lines of the buyers' receipts."""

from typing import Final

import pytest

from intents.receipt import in_order, lines_hash
from solver.core import metered, metering, settling, trade
from solver.core.command import CutBatch, Mode, OpenAuction, ProposeSolution
from solver.core.event import BatchCut, LeaseStatus, PaymentSettled, PaymentSkipped
from solver.core.fact import ClaimPaid
from solver.core.invariant import check_all
from solver.core.market import Market
from solver.core.metered import leaf_of
from solver.core.metering import shares_of
from solver.core.snapshot import dump, load
from tests.builder import (
    SEARCH,
    USDC,
    Bench,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    dave,
    every,
    only,
)
from tests.conftest import PROFILE
from tests.core.metered_chain import MeteredChain
from tests.core.sabotage import Patch, edited, pure_only, seeds_until_caught
from tests.core.test_award import DEADLINE_BLOCK, MILLION, RIVAL, SOLVER, Contest
from tests.core.test_metered import CAP, RICH, Walk, check_walk
from tests.judging import SEED, solution

WALKS: Final = 200 if PROFILE == "full" else 25
SEEDS: Final = 30
INSUFFICIENT: Final = 2


def a_contest(solver: str = SOLVER, units: int = 10) -> Contest:
    """Ten units at 6 atoms, of which the buyer pays 2 more, and the seller gets 2 less.

    With `solver` a strategy would have had half: so 4 a unit are the solver's.
    """
    contest = Contest()
    contest.metering(100, CAP)
    (fill,) = contest.hold((solver, 10), ("book", 5))
    assert (fill.tick, fill.charge) == (8 * MILLION, 4 * MILLION)
    contest.serve(units)
    return contest


def settled(contest: Contest, batch: BatchCut) -> list[PaymentSettled]:
    """The chain settles all of a batch."""
    chain = MeteredChain(contest.market.state, CAP)
    chain.deposit(alice.address, RICH)
    meter = contest.meter(alice)
    chain.spent[alice.address], chain.uncovered[alice.address] = meter.base, meter.uncovered
    return every(contest.chain(*chain.settle(batch)), PaymentSettled)


def claimed(contest: Contest, amounts: dict[str, int]) -> list[PaymentSettled]:
    """A receipt is paid by a claim, as far as it goes."""
    lines = in_order(amounts)
    spent = contest.meter(alice).base + sum(amounts.values())
    claim = ClaimPaid(account=alice.address, spent=spent, lines=lines)
    return every(contest.chain(claim), PaymentSettled)


def test_a_receipt_pays_the_winner() -> None:
    """The buyer signs 80: 40 for the seller, net of both charges, and 40 for the solver; P3."""
    contest = a_contest()
    assert contest.lease(contest.bid).metered
    receipt = contest.receipt(alice)
    lines = in_order({bob.address: 40, SOLVER: 40})
    assert (receipt.receipt.spent, receipt.receipt.lines) == (80, lines_hash(lines))
    contest.do(receipt)
    (paid,) = settled(contest, contest.cut_metered())
    assert (paid.payment, paid.solver, paid.reward) == (80, SOLVER, 40)
    assert contest.totals() == (-80, 40, 40)
    assert [award.unsettled for award in contest.market.state.awards.values()] == [0]


def test_what_is_not_delivered_is_not_charged() -> None:
    """Three of ten units: three tenths of each line."""
    contest = a_contest(units=3)
    contest.do(contest.receipt(alice))
    settled(contest, contest.cut_metered())
    assert contest.totals() == (-24, 12, 12)
    assert contest.available(alice) == RICH - 24


def test_a_batch_commits_to_who_won_what() -> None:
    """The leaf says by which award how much is whose, also when the award is forgotten."""
    contest = a_contest()
    contest.do(contest.receipt(alice))
    (line,) = contest.cut_metered().lines
    state = contest.market.state
    (number,) = state.auctions
    leaf = leaf_of(state, line)
    assert (leaf.payment, leaf.auction, leaf.solver, leaf.reward) == (80, number, SOLVER, 40)
    state.awards.clear()
    assert leaf_of(state, line) == leaf


def test_nobody_signs_and_the_winner_is_paid() -> None:
    """The operator attests all lines of a fill alike, within the cap."""
    contest = a_contest()
    contest.wait(60)
    settled(contest, contest.cut_metered(unsigned_s=60))
    assert contest.totals() == (-80, 40, 40)
    assert contest.meter(alice).uncovered == 80


def test_a_refused_attestation_pays_no_reward() -> None:
    """What the chain refuses moves nothing, and the award is over."""
    contest = a_contest()
    contest.wait(60)
    batch = contest.cut_metered(unsigned_s=60)
    told = contest.chain(*MeteredChain(contest.market.state, CAP).settle(batch))
    assert only(told, PaymentSkipped).reason == INSUFFICIENT
    assert contest.totals() == (0, 0, 0)
    assert [award.unsettled for award in contest.market.state.awards.values()] == [0]


def test_a_claim_pays_the_winner() -> None:
    """Anyone posts the receipt: its lines are paid, each once."""
    contest = a_contest()
    (paid,) = claimed(contest, {bob.address: 40, SOLVER: 40})
    assert (paid.payment, paid.reward) == (80, 40)
    assert contest.totals() == (-80, 40, 40)


def test_a_claim_of_part_pays_each_its_share() -> None:
    """A balance that was too small: what each line got is what each has."""
    contest = a_contest()
    (paid,) = claimed(contest, {bob.address: 10, SOLVER: 5})
    assert (paid.payment, paid.reward) == (15, 5)
    assert contest.totals() == (-15, 10, 5)


@pytest.mark.parametrize("left_out", [SOLVER, bob.address], ids=["solver", "seller"])
def test_nobody_is_left_out_by_a_claim(left_out: str) -> None:
    """Buyer and friend sign a receipt without the third: the fill is owed all the same."""
    contest = a_contest()
    paid_to = bob.address if left_out == SOLVER else SOLVER
    assert not claimed(contest, {paid_to: 40})
    assert contest.meter(alice).owed == 80
    contest.do(contest.receipt(alice))
    (paid,) = settled(contest, contest.cut_metered())
    assert (paid.payment, paid.reward) == (80, 40)


def test_who_sells_what_it_won_has_one_line() -> None:
    """A seller that is the solver: one line, for all."""
    contest = a_contest(bob.address)
    assert shares_of(contest.lease(contest.bid)) == {bob.address: 80}
    contest.do(contest.receipt(alice))
    (paid,) = settled(contest, contest.cut_metered())
    assert (paid.payment, paid.reward, paid.solver) == (80, 40, bob.address)
    assert contest.total(bob) == RICH + 80


def test_who_sells_what_it_won_is_claimed_by_one_line() -> None:
    """The reward is the last that is paid of what is one's own."""
    contest = a_contest(bob.address)
    (paid,) = claimed(contest, {bob.address: 50})
    assert (paid.payment, paid.reward) == (50, 10)


def test_who_buys_what_it_won_settles_by_lines() -> None:
    """No receipt has a line to its own buyer: this fill is verified."""
    contest = a_contest(alice.address)
    assert not contest.lease(contest.bid).metered
    contest.settle(contest.cut())
    assert (contest.total(alice), contest.total(bob)) == (RICH - 40, RICH + 40)


def test_a_fill_with_too_many_payees_waits_for_the_next_receipt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A receipt has a bound of lines, solvers' included: what does not fit is signed for later."""
    contest = a_contest()
    monkeypatch.setattr("solver.core.metering.LINES_MAX", 1)
    assert contest.receipt(alice).fills == 0
    monkeypatch.setattr("solver.core.metering.LINES_MAX", 2)
    assert contest.receipt(alice).fills == 1


def test_who_gets_no_whole_atom_has_no_line() -> None:
    """A receipt lists nobody who gets nothing."""
    contest = a_contest()
    lease = contest.lease(contest.bid)
    lease.charge = 1
    assert shares_of(lease) == {bob.address: 80}
    lease.charge = 8 * MILLION
    assert shares_of(lease) == {SOLVER: 80}


def test_a_fill_that_is_all_the_winners_is_claimed_so() -> None:
    """Its seller has no line, and no part of what is paid: all of it is the reward."""
    contest = a_contest()
    contest.watched = False
    contest.lease(contest.bid).charge = 8 * MILLION
    (paid,) = claimed(contest, {SOLVER: 80})
    assert (paid.payment, paid.reward) == (80, 80)


def test_a_metered_award_outlives_a_restart() -> None:
    """P6: the state that is loaded while a receipt waits goes on as the first one would have."""
    contest = a_contest()
    contest.do(contest.receipt(alice))
    loaded = Market(USDC, load(dump(contest.market.state)))
    assert loaded.state.hash() == contest.market.state.hash()
    batch = contest.cut_metered()
    loaded.apply(contest.log[-1])
    settled(contest, batch)
    loaded.apply(contest.log[-1])
    assert loaded.state.hash() == contest.market.state.hash()
    check_all(loaded.state)


# -- random walks


class AuctionWalk(Walk):
    """What is bought is won: by an account apart, by the seller, or by the buyer itself."""

    def opened(self) -> Bench:
        """A market with a book of epochs."""
        bench = Bench().listing(SEARCH, Mode.EPOCH)
        return bench.funded(alice, bob, carol, dave).pooling(bob, carol)

    def buy(self) -> None:
        """One auction of one pair, with a rival that would have had some of it."""
        buyer, seller = self.random.choice(
            ((alice, bob), (alice, carol), (dave, bob), (bob, carol))
        )
        units = self.random.randint(1, 6)
        limit, least = self.random.randint(8, 16) * units, self.random.randint(0, 6) * units
        ask = an_offer().units(units).limit(least).signed_by(seller)
        bid = an_intent().units(units).limit(limit).signed_by(buyer)
        self.bench.do(ask)
        self.bench.do(bid)
        self.bids.append(bid)
        solver = self.random.choice((SOLVER, RIVAL, seller.address, buyer.address))
        self.hold(f"{bid.digest} {ask.digest}", units, solver)

    def hold(self, pair: str, units: int, solver: str) -> None:
        """The solver fills all of it; a strategy that nobody pays would have filled half."""
        tick = self.random.randint(6 * MILLION, 8 * MILLION)
        self.bench.do(
            OpenAuction(
                resources=(SEARCH,),
                asset=USDC,
                closes_at_ms=self.bench.now_ms + 1_000,
                seed=SEED,
                deadline_block=DEADLINE_BLOCK,
            )
        )
        number = max(self.state.auctions)
        for name, some in ((solver, units), ("book", units // 2)):
            if some:
                self.bench.do(
                    ProposeSolution(
                        auction=number,
                        solver=name,
                        snapshot=self.state.auctions[number].snapshot_digest,
                        books=solution(tick, f"{pair} {some}", SEARCH).books,
                    )
                )
        self.bench.wait(1)

    def close(self) -> None:
        """What is verified settles as well, and the contract has it."""
        super().close()
        while self.state.ready:
            batch = only(self.bench.do(CutBatch(fills_max=99)), BatchCut)
            for paid in every(self.bench.settle(batch), PaymentSettled):
                self.chain.balances[paid.buyer] -= paid.payment
                self.chain.deposit(paid.seller, paid.payment - (paid.reward or 0))
                self.chain.deposit(paid.solver or paid.seller, paid.reward or 0)


def a_walk_of_auctions(seed: int) -> None:
    """A walk, and all that has to be so at its end: rewards are paid once, of the surplus."""
    walk = AuctionWalk(seed)
    for _ in range(120):
        walk.step()
    walk.close()
    check_walk(walk)
    earned = {SOLVER: 0, RIVAL: 0}
    for lease in walk.state.leases.values():
        if lease.status is LeaseStatus.SETTLED and lease.award:
            solver = lease.award.partition(":")[2]
            intent, offer = walk.state.intents[lease.intent], walk.state.offers[lease.offer]
            surplus = lease.delivered * (intent.tick - offer.tick) // MILLION
            assert lease.reward <= surplus, "a reward is of the surplus"
            earned[solver] = earned.get(solver, 0) + lease.reward
    for solver in (SOLVER, RIVAL):
        assert walk.chain.balances.get(solver, 0) == earned[solver], "each reward is paid once"
        assert walk.state.ledger.balance(solver, USDC).total == earned[solver]


@pytest.mark.parametrize("seed", range(WALKS))
def test_walks_pay_each_reward_once(seed: int) -> None:
    """Won, served, signed, refused, claimed, attested at random: solvers have their charges.

    And no atom more, on chain as in the book; everybody else has what is left (P3, P7).
    """
    a_walk_of_auctions(seed)


PLANTED: Final[dict[str, Patch]] = {
    "a receipt pays the seller all": edited(
        metering, "shares_of", "reward = lease.reward", "reward = 0"
    ),
    "a receipt forgets the seller's charge": edited(
        metering,
        "shares_of",
        "{lease.seller: lease.payment - reward}",
        "{lease.seller: lease.payment}",
    ),
    "a batch pays the seller the reward": edited(
        metered,
        "_pay",
        "settle(state, lease, lease.payment, lease.reward)",
        "settle(state, lease, lease.payment)",
    ),
    "a claim pays the seller the reward": edited(
        metered, "claim_paid", "settle(state, lease, paid, reward)", "settle(state, lease, paid)"
    ),
    "a reward is paid twice": edited(
        settling,
        "_pay_reward",
        "post(debit, state.money(award.solver, lease.asset), reward, reward)",
        "post(debit, state.money(award.solver, lease.asset), reward, 2 * reward)",
    ),
    "who buys what it won is metered": edited(
        trade, "_new_execution", "not is_own and", "True and"
    ),
}


@pure_only
@pytest.mark.parametrize("bug", PLANTED)
def test_walks_find_it(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a few seeds an invariant fails, or a solver has not its charges."""
    PLANTED[bug](monkeypatch)
    assert seeds_until_caught(a_walk_of_auctions, SEEDS) < SEEDS
