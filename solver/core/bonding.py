"""Bonds in the market's course: what the chain says of them, who may bid, what an award pledges."""

from intents.reject import Reject, RejectCode, reject
from solver.core.award import AwardState, award_id, forget_settled
from solver.core.bond import Pledge, Pledged, Rule, penalty_of, shares_of
from solver.core.charge import is_account
from solver.core.check import check
from solver.core.command import Authority, ProposeSolution, SetBonds
from solver.core.event import BondChanged, BondsSet, Event, Filled, Penalised, PenaltyDue, Won
from solver.core.fact import (
    BondDeposited,
    BondWithdrawalRequested,
    BondWithdrawn,
    SolverPenalised,
)
from solver.core.lease import Lease
from solver.core.state import State


def set_bonds(state: State, command: SetBonds) -> Reject | None:
    """The operator's rule, for bids and awards from now on. Rejects: limit_out_of_range."""
    rule = Rule(
        bond_min=command.bond_min,
        exposure_percent=command.exposure_percent,
        penalty_max=command.penalty_max,
        contract=command.contract,
    )
    if not rule.is_sound:
        return reject(
            RejectCode.LIMIT_OUT_OF_RANGE,
            "bond_min is 0, or covers exposure_percent (100 or more) of a penalty_max above 0",
        )
    state.bonds.rule = rule
    state.emit(
        BondsSet(
            bond_min=rule.bond_min,
            exposure_percent=rule.exposure_percent,
            penalty_max=rule.penalty_max,
        )
    )
    return None


# -- who may bid


def fault_in_bond(state: State, command: ProposeSolution) -> Reject | None:
    """Whether the solver has the bond for what it proposes; what the market runs itself needs none.

    Rejects, in order: bond_missing, bond_too_small, bond_unsigned (an offer of its own that
    another key signed: the contract takes its own key's word alone).
    """
    bonds = state.bonds
    if not bonds.rule.is_on or not is_account(command.solver):
        return None
    others = [
        number
        for number, auction in state.auctions.items()
        if not auction.closed
        and number != command.auction
        and any(proposed.solver == command.solver for proposed in auction.proposed)
    ]
    return bonds.fault(command.solver, len(others)) or _unsigned(state, command)


def _unsigned(state: State, command: ProposeSolution) -> Reject | None:
    own = {one.digest: one.authority for one in command.offers}
    for book in command.books:
        for fill in book.fills:
            offer = state.offers.get(fill.offer)
            if offer is not None and offer.account == command.solver:
                own[fill.offer] = offer.authority
    for digest, authority in own.items():
        if authority is not Authority.KEY:
            return reject(RejectCode.BOND_UNSIGNED, f"{digest} is not signed by its account's key")
    return None


# -- what an award pledges


def pledge(state: State, award: AwardState, won: Won, told: list[Event]) -> None:
    """What `told` says was awarded from the solver's own offers can cost it from now on.

    The award is remembered until nothing of that is open.
    """
    if not state.bonds.rule.is_on:
        return
    fills: dict[int, Pledged] = {}
    for event in told:
        if not isinstance(event, Filled) or event.seller != award.solver:
            continue
        lease = state.leases[event.fill]
        if lease.award == award.id:
            bid, ask = state.intents[event.intent].order, state.offers[event.offer].order
            fills[lease.award_place] = Pledged(units=event.units, surplus=bid.tick - ask.tick)
    reward = int(won.score) - int(won.reference)
    own = sum([one.units * one.surplus for one in fills.values()])
    penalty_max = penalty_of(own - reward, state.bonds.rule.penalty_max)
    if penalty_max:
        award.unsettled += 1
        state.bonds.pledges[award.id] = Pledge(
            auction=award.auction,
            solver=award.solver,
            deadline_block=award.deadline_block,
            reward=reward,
            penalty_max=penalty_max,
            fills=fills,
            open=len(fills),
        )


def note_closed(state: State, lease: Lease) -> None:
    """A lease is over: count what faded of it. Before `Conduct.close`, which forgets that."""
    pledged = state.bonds.pledges.get(lease.award)
    if pledged is None or lease.award_place not in pledged.fills:
        return
    answer = state.conduct.answers[lease.id]
    fill = pledged.fills[lease.award_place]
    fill.faded = min(answer.failed, answer.units - lease.delivered)
    if fill.faded:
        offer = state.offers[lease.offer]
        fill.offer, fill.signature = offer.document, offer.signature
    pledged.open -= 1
    if not pledged.open:
        _judge(state, lease.award, pledged)


def _judge(state: State, name: str, pledged: Pledge) -> None:
    """All that it was pledged for is over: it is free, or what it owes waits for the chain."""
    award = state.awards[name]
    ticks = {place: award.fills[place].tick for place in pledged.fills}
    pledged.shares = shares_of(pledged, ticks)
    faded = sum([fill.faded for fill in pledged.fills.values()])
    pledged.penalty_max = pledged.penalty
    if faded:
        state.emit(
            PenaltyDue(
                auction=award.auction,
                solver=award.solver,
                units=faded,
                amount=pledged.penalty,
                deadline_block=award.deadline_block,
            )
        )
    if not pledged.shares:
        _release(state, name)


def _release(state: State, name: str) -> None:
    if state.bonds.pledges.pop(name, None) is not None:
        state.awards[name].unsettled -= 1
        forget_settled(state.awards, state.auctions, name)


# -- what the chain says


def bond_deposited(state: State, fact: BondDeposited) -> None:
    """A solver has more to stand for."""
    state.bonds.bond(fact.solver).amount += fact.amount
    _tell(state, fact.solver, "deposited")


def bond_withdrawal_requested(state: State, fact: BondWithdrawalRequested) -> None:
    """What is asked back stands for nothing new; what is open can still be charged to it."""
    state.bonds.bond(fact.solver).withdrawing = fact.amount
    _tell(state, fact.solver, "withdrawal requested")


def bond_withdrawn(state: State, fact: BondWithdrawn) -> None:
    """It left; so did the request."""
    bond = state.bonds.bond(fact.solver)
    bond.withdrawing = 0
    bond.amount -= fact.amount
    check(bond.amount >= 0, "bond_not_below_zero", solver=fact.solver)
    _tell(state, fact.solver, "withdrawn")


def solver_penalised(state: State, fact: SolverPenalised) -> None:
    """Its bond paid for an award, whose buyers were credited; nothing more of it is due."""
    bond = state.bonds.bond(fact.solver)
    bond.amount -= fact.paid
    bond.paid += fact.paid
    check(bond.amount >= 0, "bond_not_below_zero", solver=fact.solver)
    state.emit(Penalised(auction=fact.auction, solver=fact.solver, paid=fact.paid))
    _tell(state, fact.solver, "penalised")
    _release(state, award_id(fact.auction, fact.solver))


def _tell(state: State, solver: str, reason: str) -> None:
    bond = state.bonds.bond(solver)
    state.emit(
        BondChanged(solver=solver, amount=bond.amount, withdrawing=bond.withdrawing, reason=reason)
    )
