"""Bonds to the atom: which rules stand, what bids in several auctions ask for, who shares what."""

from typing import Final

import msgspec
import pytest

from intents.reject import RejectCode
from solver.core.bond import Bond, Bonds, Pledge, Pledged, Rule
from solver.core.check import Violation
from solver.core.command import (
    Authority,
    CancelDocument,
    FinishCall,
    KeyEnd,
    Mode,
    Outcome,
    ProposeSolution,
    RetireKey,
    SetBonds,
    SubmitIntent,
    SubmitOffer,
)
from solver.core.event import (
    AuctionOpened,
    BondChanged,
    BondsSet,
    Filled,
    Penalised,
    PenaltyDue,
)
from solver.core.fact import (
    BondDeposited,
    BondWithdrawalRequested,
    BondWithdrawn,
    Fact,
    SolverPenalised,
)
from solver.core.lease import Lease
from solver.core.snapshot import dump, load
from tests.builder import (
    SEARCH,
    TOKENS,
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
from tests.core.epoch import opened, proposal_of
from tests.core.sabotage import pure_only
from tests.core.test_bringing import carried

MILLION: Final = 10**6
UNITS: Final = 5
PRICE: Final = 8 * MILLION
DEADLINE_BLOCK: Final = 77
CONTRACT: Final = "0x" + "b0" * 20
RULE: Final = SetBonds(bond_min=200, exposure_percent=150, penalty_max=100, contract=CONTRACT)
BOND: Final = 1_000
RESOURCES: Final = (SEARCH, TOKENS)

# -- the rule


@pytest.mark.parametrize(
    "rule",
    [
        SetBonds(bond_min=150, exposure_percent=150, penalty_max=100),
        SetBonds(bond_min=1, exposure_percent=100, penalty_max=1),
        SetBonds(bond_min=0, exposure_percent=0, penalty_max=0),
        SetBonds(bond_min=0, exposure_percent=0, penalty_max=5),
        RULE,
    ],
)
def test_a_rule_that_just_covers_is_told_as_it_was_set(rule: SetBonds) -> None:
    """A bond of the cap times its factor is enough; with a bond_min of 0 nothing has to be."""
    bench = Bench()
    told = only(bench.do(rule), BondsSet)
    said = (rule.bond_min, rule.exposure_percent, rule.penalty_max)
    assert (told.bond_min, told.exposure_percent, told.penalty_max) == said
    kept = bench.market.state.bonds.rule
    assert (kept.bond_min, kept.exposure_percent, kept.penalty_max) == said
    assert (kept.contract, kept.is_on) == (rule.contract, rule.bond_min > 0)


@pytest.mark.parametrize(
    "rule",
    [
        SetBonds(bond_min=-1, exposure_percent=100, penalty_max=0),
        SetBonds(bond_min=0, exposure_percent=100, penalty_max=-1),
        SetBonds(bond_min=1, exposure_percent=100, penalty_max=0),
    ],
)
def test_a_rule_without_sense_changes_nothing(rule: SetBonds) -> None:
    """Nothing is below zero, and a bond that pays no penalty stands for nothing."""
    assert Bench().refuse(rule) is RejectCode.LIMIT_OUT_OF_RANGE


def test_what_a_rule_says_by_itself() -> None:
    """Off, it asks for no factor, no cap and no contract; a bond begins empty."""
    assert Rule() == Rule(bond_min=0, exposure_percent=100, penalty_max=0, contract="")
    assert Bond() == Bond(amount=0, withdrawing=0, paid=0)
    assert Bonds().is_empty
    assert Bonds().fault("s", 9) is None, "it asks nobody for a bond"


def test_each_thing_that_is_known_of_bonds_outlives_a_restart() -> None:
    """A rule without a bond, a bond without a rule, and both without a pledge."""
    for rule, amount in ((RULE, 0), (None, 5), (RULE, 5)):
        bench = Bench()
        if rule is not None:
            bench.do(rule)
        if amount:
            bench.chain(BondDeposited(solver=bob.address, amount=amount))
        bonds = bench.market.state.bonds
        assert not bonds.is_empty
        assert load(dump(bench.market.state)).bonds == bonds
    assert not Bonds(pledges={"1:s": _pledge("s", 3)}).is_empty


# -- exposure


def _pledge(solver: str, penalty_max: int) -> Pledge:
    return Pledge(
        auction=1, solver=solver, deadline_block=1, reward=0, penalty_max=penalty_max, open=1
    )


def test_exposure_is_the_solvers_own_and_rounded_up() -> None:
    """Of what can still come a solver needs no part of an atom less than the factor says."""
    bonds = Bonds(rule=Rule(bond_min=10, exposure_percent=101, penalty_max=7))
    bonds.pledges = {"1:s": _pledge("s", 3), "2:s": _pledge("s", 2), "1:t": _pledge("t", 500)}
    assert bonds.exposure("s", 0) == 6  # 5.05
    assert bonds.exposure("s", 1) == 13  # 12.12
    assert bonds.exposure("nobody", 0) == 0


def test_what_is_asked_back_beyond_the_bond_stands_for_nothing() -> None:
    """A penalty may take what was asked back: the bond is missing then, not too small."""
    bonds = Bonds(rule=Rule(bond_min=10, penalty_max=7))
    bonds.bond("s").amount, bonds.bond("s").withdrawing = 5, 6
    fault = bonds.fault("s", 0)
    assert fault is not None
    assert fault.code is RejectCode.BOND_MISSING
    bonds.bond("s").amount = 7
    fault = bonds.fault("s", 0)
    assert fault is not None
    assert fault.code is RejectCode.BOND_TOO_SMALL


class Scene:
    """Alice wants search and tokens; bob has a key and an offer for each, dave dearer ones."""

    def __init__(self, bond: int = BOND, rule: SetBonds = RULE, *, tokens: int = 45) -> None:
        self.bench = Bench()
        for resource in RESOURCES:
            self.bench.listing(resource, Mode.EPOCH)
        self.bench.funded(alice, carol).pooling(dave, resources=RESOURCES)
        for number in (0, 1):
            self.bench.pooling(bob, number=number, resources=RESOURCES)
        self.bench.do(rule)
        self.bench.chain(BondDeposited(solver=bob.address, amount=bond))
        self.wanted: dict[str, SubmitIntent] = {}
        self.own: dict[str, SubmitOffer] = {}
        self.other: dict[str, SubmitOffer] = {}
        for number, resource in enumerate(RESOURCES):
            limit = tokens if resource == TOKENS else 45
            wanted = an_intent().of(resource).units(UNITS).limit(limit)
            self.wanted[resource] = wanted.signed_by(alice)
            own = an_offer().of(resource).units(UNITS).limit(UNITS)
            self.own[resource] = own.from_key(key_of(bob, number)).signed_by(bob)
            other = an_offer().of(resource).units(UNITS).limit(15)
            self.other[resource] = other.from_key(key_of(dave)).signed_by(dave)
            for command in (self.wanted[resource], self.own[resource], self.other[resource]):
                self.bench.do(command)

    @property
    def bonds(self) -> Bonds:
        return self.bench.market.state.bonds

    @property
    def pledge(self) -> Pledge:
        (pledge,) = self.bonds.pledges.values()
        return pledge

    def open(self, *resources: str, seconds: int = 1, breaker: bool = True) -> AuctionOpened:
        return opened(
            self.bench,
            resources=resources,
            seconds=seconds,
            breaker=breaker,
            deadline_block=DEADLINE_BLOCK,
        )

    def proposal(
        self, auction: AuctionOpened, solver: str, offers: dict[str, SubmitOffer], tick: int = PRICE
    ) -> ProposeSolution:
        wanted = self.wanted
        fills = {
            resource: [(wanted[resource].digest, offer.digest, UNITS)]
            for resource, offer in offers.items()
        }
        return proposal_of(auction, solver, tick, fills)

    def won(self, *, breaker: bool = True) -> dict[str, Lease]:
        """Bob wins both books: 80 atoms of surplus where others had 60. The leases by resource."""
        auction = self.open(*RESOURCES, breaker=breaker)
        self.bench.do(self.proposal(auction, bob.address, self.own))
        self.bench.do(self.proposal(auction, "book", self.other))
        fills = every(self.bench.wait(1), Filled)
        return {fill.resource: self.bench.market.state.leases[fill.fill] for fill in fills}

    def dies(self, number: int = 0) -> list[PenaltyDue]:
        told = self.bench.do(RetireKey(key=key_of(bob, number), reason=KeyEnd.DEAD))
        return every(told, PenaltyDue)


def test_each_auction_that_it_bids_in_asks_for_the_cap() -> None:
    """As long as it is open, once for however many bids, and for the solver's own bids alone."""
    for bond, refused in ((350, False), (349, True)):
        scene = Scene(bond)
        first, second = scene.open(SEARCH, seconds=9), scene.open(TOKENS, seconds=9)
        scene.bench.chain(BondDeposited(solver=dave.address, amount=BOND))
        for tick in (PRICE, PRICE + 1):
            scene.bench.do(scene.proposal(first, bob.address, scene.own, tick))
        scene.bench.do(scene.proposal(second, dave.address, scene.other))
        more = scene.proposal(second, bob.address, scene.own)
        if refused:
            assert scene.bench.refuse(more) is RejectCode.BOND_TOO_SMALL
        else:
            scene.bench.do(more)


def test_a_closed_auction_asks_for_no_cap() -> None:
    """What was lost stands for nothing, and frees the bond for the next bid."""
    scene = Scene(200)
    first = scene.open(SEARCH)
    scene.bench.do(scene.proposal(first, bob.address, scene.other))
    scene.bench.do(scene.proposal(first, "book", scene.own))
    scene.bench.wait(1)
    scene.bench.do(scene.proposal(scene.open(TOKENS), bob.address, scene.own))


def test_only_own_offers_have_to_be_the_own_keys() -> None:
    """Brought or standing; what others signed, and how, is theirs to answer for."""
    scene = Scene()
    state = scene.bench.market.state
    auction = scene.open(*RESOURCES)
    state.offers[scene.other[SEARCH].digest].authority = Authority.SESSION
    scene.bench.do(scene.proposal(auction, bob.address, scene.other))
    mine = an_offer().units(UNITS).limit(UNITS).signed_by(bob, Authority.SESSION)
    bid = scene.proposal(auction, bob.address, {SEARCH: mine})
    brought = msgspec.structs.replace(bid, offers=(carried(mine),))
    assert scene.bench.refuse(brought) is RejectCode.BOND_UNSIGNED


# -- what is pledged, and what of it is due


def test_what_is_pledged_is_what_own_fills_can_cost() -> None:
    """Both fills of the award at their places, the whole reward, and the least that can be due."""
    scene = Scene()
    leases = scene.won()
    pledge = scene.pledge
    assert (pledge.solver, pledge.deadline_block) == (bob.address, DEADLINE_BLOCK)
    assert (pledge.reward, pledge.penalty_max, pledge.open) == (20 * MILLION, 60, 2)
    assert pledge.fills == {
        lease.award_place: Pledged(units=UNITS, surplus=8 * MILLION) for lease in leases.values()
    }
    assert sorted(pledge.fills) == [0, 1]
    assert (pledge.shares, pledge.penalty) == ((), 0)


def test_a_penalty_is_known_when_the_last_lease_is_over() -> None:
    """Before, all of the pledge is asked for; then no more than what is due, until it is paid."""
    scene = Scene()
    leases = scene.won()
    assert scene.dies(0) == []
    assert (scene.pledge.open, scene.pledge.penalty_max) == (1, 60)
    assert scene.bonds.exposure(bob.address, 0) == 90
    told = scene.bench.use(leases[TOKENS], UNITS)
    due = only(told, PenaltyDue)
    assert (due.units, due.amount) == (UNITS, 20)
    assert (due.solver, due.auction) == (bob.address, scene.pledge.auction)
    (share,) = scene.pledge.shares
    assert (share.place, share.faded, share.atoms) == (leases[SEARCH].award_place, UNITS, 20)
    assert scene.pledge.fills[leases[TOKENS].award_place].offer is None, "it served that one"
    assert (scene.pledge.open, scene.pledge.penalty_max) == (0, 20)
    assert scene.bonds.exposure(bob.address, 0) == 30


def test_a_penalty_is_shared_by_all_that_faded() -> None:
    """Forty atoms of surplus each, sixty due: half for either, with the offer that failed it."""
    scene = Scene()
    leases = scene.won()
    assert scene.dies(0) == []
    (due,) = scene.dies(1)
    assert (due.units, due.amount) == (2 * UNITS, 60)
    shares = {share.place: share for share in scene.pledge.shares}
    for resource, lease in leases.items():
        share, own = shares[lease.award_place], scene.own[resource]
        assert (share.atoms, share.faded) == (30, UNITS)
        assert (share.offer, share.signature) == (own.offer, own.signature)


def test_what_faded_within_the_reward_costs_nothing() -> None:
    """Two units of five are less than it won by: they are told, and the bond is free."""
    scene = Scene()
    leases = scene.won()
    scene.bench.use(leases[TOKENS], UNITS)
    scene.bench.use(leases[SEARCH], UNITS - 2)
    (due,) = scene.dies(0)
    assert (due.units, due.amount) == (2, 0)
    assert not scene.bonds.pledges
    assert scene.bonds.exposure(bob.address, 0) == 0


def test_what_was_delivered_in_the_end_never_faded() -> None:
    """Calls that its side failed at, and that it then served, are no penalty's matter."""
    scene = Scene()
    leases = scene.won()
    for lease in leases.values():
        for _ in range(UNITS):
            call = scene.bench.start(lease)
            failed = FinishCall(call=call, outcome=Outcome.FAILED, units=0, sellers_fault=True)
            scene.bench.do(failed)
        assert not every(scene.bench.use(lease, UNITS), PenaltyDue)
    assert not scene.bonds.pledges


def test_who_fills_from_the_pool_pledges_nothing() -> None:
    """Its award is paid for; what others' keys do is not its to answer for."""
    scene = Scene()
    auction = scene.open(*RESOURCES)
    scene.bench.do(scene.proposal(auction, bob.address, scene.other))
    scene.bench.do(scene.proposal(auction, "book", {SEARCH: scene.other[SEARCH]}, PRICE + 1))
    scene.bench.wait(1)
    assert scene.bench.market.state.awards
    assert not scene.bonds.pledges


def test_without_a_rule_nothing_is_pledged() -> None:
    """A cap alone, in a market that asks for no bonds, costs nobody anything."""
    scene = Scene(rule=SetBonds(bond_min=0, penalty_max=50))
    assert len(scene.won()) == 2
    assert scene.bench.market.state.awards
    assert not scene.bonds.pledges
    assert scene.dies(0) == []


def test_without_a_breaker_nothing_is_pledged() -> None:
    """Who answers for no delivery owes none: such an auction is carried out as before bonds."""
    scene = Scene()
    scene.won(breaker=False)
    assert scene.bench.market.state.awards
    assert not scene.bonds.pledges
    assert scene.dies(0) == []


def test_what_others_won_with_its_offers_is_not_its_pledge() -> None:
    """Only fills of its own award: in another's solution its offer is one of the pool's."""
    scene = Scene(tokens=40)
    scene.bench.chain(BondDeposited(solver=carol.address, amount=BOND))
    auction = scene.open(*RESOURCES)
    scene.bench.do(scene.proposal(auction, bob.address, {SEARCH: scene.own[SEARCH]}))
    scene.bench.do(scene.proposal(auction, carol.address, {TOKENS: scene.own[TOKENS]}))
    scene.bench.do(scene.proposal(auction, "book", {SEARCH: scene.other[SEARCH]}))
    scene.bench.do(scene.proposal(auction, "book", {TOKENS: scene.other[TOKENS]}))
    scene.bench.wait(1)
    assert len(scene.bench.market.state.awards) == 2
    assert scene.pledge.solver == bob.address
    assert scene.pledge.fills == {0: Pledged(units=UNITS, surplus=8 * MILLION)}
    assert (scene.pledge.reward, scene.pledge.penalty_max) == (10 * MILLION, 30)


# -- what the chain says


def _changed(scene: Scene, *facts: Fact) -> list[tuple[int, int, str]]:
    told = every(scene.bench.chain(*facts), BondChanged)
    assert {one.solver for one in told} == {bob.address}
    return [(one.amount, one.withdrawing, one.reason) for one in told]


def test_every_change_of_a_bond_is_told() -> None:
    """Paid in, asked back, gone: to the atom, of nobody else's, and asked back no more then."""
    scene = Scene()
    who = bob.address
    assert _changed(scene, BondDeposited(solver=who, amount=50)) == [(1_050, 0, "deposited")]
    asked = BondWithdrawalRequested(solver=who, amount=300)
    assert _changed(scene, asked) == [(1_050, 300, "withdrawal requested")]
    assert _changed(scene, BondWithdrawn(solver=who, amount=300)) == [(750, 0, "withdrawn")]
    assert _changed(scene, BondWithdrawn(solver=who, amount=750)) == [(0, 0, "withdrawn")]
    assert list(scene.bonds.by_solver) == [who]


def test_penalties_add_up() -> None:
    """What a bond paid is taken from it, counted, and told, down to its last atom."""
    scene = Scene(200)
    paid = [SolverPenalised(auction=n, solver=bob.address, paid=n) for n in (80, 120)]
    told = scene.bench.chain(*paid)
    who = bob.address
    said = [(one.solver, one.auction, one.paid) for one in every(told, Penalised)]
    assert said == [(who, 80, 80), (who, 120, 120)]
    reasons = [(one.amount, one.reason) for one in every(told, BondChanged)]
    assert reasons == [(120, "penalised"), (0, "penalised")]
    assert scene.bonds.bond(bob.address) == Bond(amount=0, withdrawing=0, paid=200)


@pytest.mark.parametrize(
    "fact",
    [
        BondWithdrawn(solver=bob.address, amount=BOND + 1),
        SolverPenalised(auction=9, solver=bob.address, paid=BOND + 1),
    ],
)
def test_an_atom_more_than_there_is_stops_the_market(fact: Fact) -> None:
    """At once, and not when somebody looks at all of it: what follows would be built on it."""
    scene = Scene()
    scene.bench.watched = False
    with pytest.raises(Violation, match="bond_not_below_zero"):
        scene.bench.chain(fact)


@pure_only
def test_an_award_is_forgotten_with_its_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its auction may be forgotten before: what signs the penalty stays until it is taken."""
    monkeypatch.setattr("solver.core.contest.AUCTIONS_KEPT_MAX", 1)
    scene = Scene()
    scene.won()
    for other in scene.other.values():  # nobody takes over what bob fails at
        scene.bench.do(CancelDocument(account=dave.address, digest=other.digest))
    scene.dies(0)
    scene.dies(1)
    award = scene.pledge.auction
    bid, ask = an_intent().limit(9).signed_by(alice), an_offer().limit(1).signed_by(dave)
    scene.bench.do(bid)
    scene.bench.do(ask)
    scene.open(SEARCH)
    scene.bench.wait(1)
    state = scene.bench.market.state
    assert award not in state.auctions
    (name,) = state.awards
    assert state.awards[name].unsettled == 1
    scene.bench.chain(SolverPenalised(auction=award, solver=bob.address, paid=60))
    assert not state.awards
