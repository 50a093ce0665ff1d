"""Bonds: who may bid, what an award pledges, and what a winner pays that does not deliver."""

from random import Random
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.reject import RejectCode
from solver.core import bonding, chain, contest, delivery
from solver.core.bond import Bonds, Pledge, Pledged, Rule, penalty_of, shares_of
from solver.core.check import Violation
from solver.core.command import (
    Authority,
    CutBatch,
    FinishCall,
    KeyEnd,
    Mode,
    Outcome,
    ProposeSolution,
    RetireKey,
    SetBonds,
)
from solver.core.event import AuctionOpened, BondChanged, Filled, Penalised, PenaltyDue
from solver.core.fact import (
    BondDeposited,
    BondWithdrawalRequested,
    BondWithdrawn,
    SolverPenalised,
)
from solver.core.image import StateImage
from solver.core.invariant import check_all
from solver.core.snapshot import dump, load
from tests.builder import (
    SEARCH,
    Bench,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    dave,
    every,
    key_of,
    only,
)
from tests.core.epoch import opened, proposal
from tests.core.sabotage import edited, pure_only

MILLION: Final = 10**6
UNITS: Final = 5
PRICE: Final = 8 * MILLION
DEADLINE_BLOCK: Final = 77
RULE: Final = SetBonds(bond_min=200, exposure_percent=150, penalty_max=100)
BOND: Final = 1_000


class Scene:
    """Bob bids with an offer of his own at 1 atom a unit, the book with dave's at 3; limit 9."""

    def __init__(self, rule: SetBonds = RULE, bond: int = BOND) -> None:
        self.bench = Bench().listing(SEARCH, Mode.EPOCH).funded(alice, carol).pooling(bob, dave)
        self.bench.do(rule)
        if bond:
            self.bench.chain(BondDeposited(solver=bob.address, amount=bond))
        bid = an_intent().units(UNITS).limit(UNITS * 9).signed_by(alice)
        self.own = an_offer().units(UNITS).limit(UNITS).from_key(key_of(bob)).signed_by(bob)
        other = an_offer().units(UNITS).limit(UNITS * 3).from_key(key_of(dave)).signed_by(dave)
        for document in (bid, self.own, other):
            self.bench.do(document)
        self.opened = self.open()
        self.mine = self.proposal(bob.address, bid.digest, self.own.digest)
        self.theirs = self.proposal("book", bid.digest, other.digest)

    @property
    def bonds(self) -> Bonds:
        return self.bench.market.state.bonds

    def open(self) -> AuctionOpened:
        return opened(self.bench, breaker=True, deadline_block=DEADLINE_BLOCK)

    def proposal(self, solver: str, intent: str, offer: str) -> ProposeSolution:
        return proposal(self.opened, solver, PRICE, (intent, offer, UNITS))

    def won(self) -> Filled:
        """Bob's surplus is 40 atoms, the other's 30: he is to be paid 10."""
        self.bench.do(self.mine)
        self.bench.do(self.theirs)
        return only(self.bench.wait(1), Filled)

    def dies(self) -> PenaltyDue:
        told = self.bench.do(RetireKey(key=key_of(bob), reason=KeyEnd.DEAD))
        check_all(self.bench.market.state)
        return only(told, PenaltyDue)

    def penalised(self, paid: int) -> SolverPenalised:
        return SolverPenalised(auction=self.opened.auction, solver=bob.address, paid=paid)


# -- who may bid


def test_a_bid_needs_a_bond() -> None:
    """Without one, or with one that is asked back, it is refused and nothing changes."""
    scene = Scene(bond=0)
    assert scene.bench.refuse(scene.mine) is RejectCode.BOND_MISSING
    scene.bench.chain(BondDeposited(solver=bob.address, amount=199))
    assert scene.bench.refuse(scene.mine) is RejectCode.BOND_TOO_SMALL
    scene.bench.chain(BondDeposited(solver=bob.address, amount=1))
    scene.bench.chain(BondWithdrawalRequested(solver=bob.address, amount=200))
    assert scene.bench.refuse(scene.mine) is RejectCode.BOND_MISSING
    scene.bench.chain(BondWithdrawalRequested(solver=bob.address, amount=0))
    scene.bench.do(scene.mine)


def test_an_open_market_asks_for_nothing() -> None:
    """With a bond_min of 0 anyone bids, nothing is pledged, and nobody pays."""
    scene = Scene(rule=SetBonds(bond_min=0), bond=0)
    scene.won()
    assert scene.bonds.is_empty
    told = scene.bench.do(RetireKey(key=key_of(bob), reason=KeyEnd.DEAD))
    assert not every(told, PenaltyDue)


def test_what_the_market_runs_itself_needs_none() -> None:
    """A strategy has a name, no account and no bond."""
    scene = Scene(bond=0)
    scene.bench.do(scene.theirs)


def test_exposure_is_reserved() -> None:
    """150 % of a pledge of 30: a bond of 245 covers one more bid, and one of 244 none."""
    for bond, refused in ((245, False), (244, True)):
        scene = Scene(bond=bond)
        scene.won()
        (pledge,) = scene.bonds.pledges.values()
        assert (pledge.penalty_max, scene.bonds.exposure(bob.address, 0)) == (30, 45)
        fault = scene.bonds.fault(bob.address, 0)
        assert (fault is not None) is refused
        # Each other auction that it bids in could cost it the cap.
        assert scene.bonds.exposure(bob.address, 2) == 345


def test_own_offers_are_the_own_keys() -> None:
    """What a session signed can be taken back: no bid of a bonded solver fills from it."""
    scene = Scene()
    scene.bench.market.state.offers[scene.own.digest].authority = Authority.SESSION
    assert scene.bench.refuse(scene.mine) is RejectCode.BOND_UNSIGNED


@pytest.mark.parametrize(
    "rule",
    [
        SetBonds(bond_min=-1),
        SetBonds(bond_min=100),
        SetBonds(bond_min=100, penalty_max=-1),
        SetBonds(bond_min=100, penalty_max=101),
        SetBonds(bond_min=149, exposure_percent=150, penalty_max=100),
        SetBonds(bond_min=100, exposure_percent=99, penalty_max=100),
    ],
)
def test_a_rule_is_sound(rule: SetBonds) -> None:
    """Who may bid has the bond for what it can win; nothing else is a rule."""
    assert Bench().refuse(rule) is RejectCode.LIMIT_OUT_OF_RANGE


# -- who pays


def test_who_does_not_deliver_pays_its_reference() -> None:
    """It won 40, others could have had 30: that is due, to the buyer, with the proof's offer."""
    scene = Scene()
    scene.won()
    due = scene.dies()
    assert (due.units, due.amount, due.deadline_block) == (UNITS, 30, DEADLINE_BLOCK)
    (pledge,) = scene.bonds.pledges.values()
    (share,) = pledge.shares
    assert (share.place, share.faded, share.offer) == (0, UNITS, scene.own.offer)
    assert share.signature == scene.own.signature
    told = scene.bench.chain(scene.penalised(pledge.penalty))
    assert only(told, Penalised).paid == pledge.penalty
    assert only(told, BondChanged).amount == BOND - pledge.penalty
    assert not scene.bonds.pledges
    assert scene.bonds.exposure(bob.address, 0) == 0
    check_all(scene.bench.market.state)


@pytest.mark.parametrize("end", ["its key dies", "its lease ends"])
def test_a_metered_award_is_due_when_its_lease_is_over(end: str) -> None:
    """No block bounds it on chain: what faded counts by its lease's end, ten minutes at most."""
    scene = Scene()
    scene.bench.metering(100, MILLION)
    lease = scene.bench.market.state.leases[scene.won().fill]
    assert lease.metered
    if end == "its key dies":
        assert scene.dies().amount == 30
        return
    failed = Outcome.FAILED
    for _ in range(3):
        call = scene.bench.start(lease)
        scene.bench.do(FinishCall(call=call, outcome=failed, units=0, sellers_fault=True))
    assert not scene.bonds.pledges[lease.award].shares
    due = only(scene.bench.wait(600), PenaltyDue)
    assert (due.units, due.amount) == (3, 3 * 8 - 10)


def test_who_delivers_owes_nothing() -> None:
    """Its lease is over, and its bond is free again."""
    scene = Scene()
    fill = scene.won()
    scene.bench.use(scene.bench.market.state.leases[fill.fill], UNITS)
    assert not scene.bonds.pledges
    check_all(scene.bench.market.state)


def test_the_award_is_kept_while_it_is_pledged_for() -> None:
    """What signs the penalty is there until the chain has taken it, whatever was settled."""
    scene = Scene()
    scene.won()
    scene.dies()
    (name,) = scene.bonds.pledges
    assert scene.bench.market.state.awards[name].unsettled >= 1
    scene.bench.attempt(CutBatch(fills_max=9))
    assert name in scene.bench.market.state.awards


def test_bonds_survive_a_restart() -> None:
    """P6: rule, bonds, pledges and what is due are part of the state and of its hash."""
    scene = Scene()
    for happen in (scene.won, scene.dies):
        happen()
        state = scene.bench.market.state
        again = load(dump(state))
        assert (again.bonds, again.hash()) == (state.bonds, state.hash())
        before = state.hash()
        state.bonds.bond(bob.address).amount += 1
        assert state.hash() != before
        state.bonds.bond(bob.address).amount -= 1


def test_a_state_without_bonds_is_written_as_before() -> None:
    """Journals and snapshots from before bonds keep their hashes."""
    image = msgspec.msgpack.decode(dump(Bench().market.state))
    assert len(image) == len(StateImage.__struct_fields__) - 3


def test_more_than_there_is_cannot_leave() -> None:
    """The chain never says so: if it does, our books are wrong, and we stop."""
    scene = Scene()
    for fact in (BondWithdrawn(solver=bob.address, amount=BOND + 1), scene.penalised(BOND + 1)):
        with pytest.raises(Violation, match="bond_not_below_zero"):
            Scene().bench.chain(fact)


# -- how much


def _drawn(seed: int) -> tuple[Pledge, dict[int, int]]:
    """An award of a few fills of which some faded."""
    random = Random(seed)  # noqa: S311  test data
    offer = an_offer().signed_by(bob).offer
    fills, ticks = {}, {}
    for place in random.sample(range(200), random.choice((1, 3, 9, 90))):
        units = random.randint(1, 50)
        fills[place] = Pledged(
            units=units,
            surplus=random.randint(0, 5 * MILLION),
            faded=random.choice((0, random.randint(1, units), units)),
            offer=offer,
        )
        ticks[place] = random.randint(0, 9 * MILLION)
    own = sum(one.units * one.surplus for one in fills.values())
    pledge = Pledge(
        auction=1,
        solver=bob.address,
        deadline_block=1,
        reward=random.randint(0, max(1, own)),
        penalty_max=random.choice((5, 50, 10**6)),
        fills=fills,
    )
    return pledge, ticks


@given(st.integers(min_value=0))
def test_shares_stay_within_every_bound(seed: int) -> None:
    """P11: above no cap, none above what its units cost, at most 64, in the contract's order."""
    pledge, ticks = _drawn(seed)
    shares = shares_of(pledge, ticks)
    faded = sum(one.faded * one.surplus for one in pledge.fills.values())
    due = penalty_of(faded - pledge.reward, pledge.penalty_max)
    assert sum(share.atoms for share in shares) <= due <= pledge.penalty_max
    assert len(shares) <= 64
    places = [share.place for share in shares]
    assert places == sorted(set(places))
    for share in shares:
        assert 0 < share.atoms <= ticks[share.place] * share.faded // MILLION
        assert share.faded == pledge.fills[share.place].faded


# -- planted bugs


def _tell_of_bonds() -> None:
    test_a_bid_needs_a_bond()
    test_who_does_not_deliver_pays_its_reference()
    test_who_delivers_owes_nothing()


@pure_only
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("solver_penalised", "bond.amount -= fact.paid", "pass"),
        ("solver_penalised", "_release(state, award_id(fact.auction, fact.solver))", "pass"),
        ("note_closed", "pledged.open -= 1", "pass"),
        ("note_closed", "min(answer.failed, answer.units - lease.delivered)", "0"),
        ("pledge", "award.unsettled += 1", "pass"),
        ("bond_withdrawal_requested", ".withdrawing = fact.amount", ".withdrawing = 0"),
    ],
)
def test_planted_bugs_are_found(
    name: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests above can fail: each bug is caught by one of them."""
    patched = edited(bonding, name, old, new)
    patched(monkeypatch)
    for module in (chain, contest, delivery):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, getattr(bonding, name))
    with pytest.raises((AssertionError, Violation, ValueError)):
        _tell_of_bonds()


def test_rules_that_are_off_are_sound() -> None:
    """The default asks for nothing."""
    assert Rule().is_sound
    assert not Rule().is_on
