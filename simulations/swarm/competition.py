"""The auditor's view of auctions: one price a book, the best bids win, everybody is judged."""

from collections import Counter
from typing import TYPE_CHECKING, Final

from intents.reject import RejectCode
from simulations.swarm.bond import Bonds
from simulations.swarm.finding import expect
from solver.core.auction import seed_hash
from solver.core.event import (
    AuctionClosed,
    AuctionOpened,
    Filled,
    SolutionAccepted,
    SolutionJudged,
)

if TYPE_CHECKING:
    from simulations.swarm.paper import Paper


class Contests:
    """From the feed alone: what was opened, bid, judged and carried out."""

    def __init__(self, papers: "dict[str, Paper]", bonds: Bonds) -> None:
        self._papers = papers
        self._bonds = bonds
        self._open: dict[int, Counter[str]] = {}
        self._seeds: dict[int, str] = {}
        self._resources: set[str] = set()
        self._judged: dict[int, list[SolutionJudged]] = {}
        self._cleared: list[Filled] = []
        self.poisoned: Final[set[str]] = set()
        """Solvers whose solutions must never count."""
        self.bundles: Final[list[tuple[set[str], bool]]] = []
        """Digests of legs that were signed together, and whether any one of them will do."""
        self._chosen: dict[str, str] = {}
        """Which leg was filled, by each leg of an any-of."""
        self.brought: Final[set[str]] = set()
        """Offers that were signed for one auction: told at its close, even if they ended before."""

    def trades(self, resource: str) -> bool:
        """Whether this resource trades in auctions."""
        return resource in self._resources

    def opened(self, _: int, event: AuctionOpened) -> None:
        """An auction opens."""
        expect(event.auction not in self._open, "auction_is_new", auction=event.auction)
        self._open[event.auction] = Counter()
        self._seeds[event.auction] = event.seed_hash
        self._resources.update(event.resources)

    def accepted(self, _: int, event: SolutionAccepted) -> None:
        """A sealed bid is in."""
        expect(event.auction in self._open, "bid_in_time", auction=event.auction)
        self._open[event.auction][event.solver] += 1
        self._bonds.bid(event)

    def judged(self, _: int, event: SolutionJudged) -> None:
        """One solution hears its rank."""
        expect(event.auction in self._open, "judged_once", auction=event.auction)
        ranks = self._judged.setdefault(event.auction, [])
        ranks.append(event)
        expect(event.rank == len(ranks), "ranks_are_in_order", auction=event.auction)
        self._cleared = []
        if event.solver in self.poisoned:
            unsound = event.reason is not None and event.reason.code is not RejectCode.OUTBID
            expect(unsound, "malicious_solution_does_not_count", solver=event.solver)

    def filled(self, event: Filled) -> None:
        """A fill; those before an auction's close are its outcome."""
        self._cleared.append(event)

    def closed(self, _: int, event: AuctionClosed) -> None:
        """I7 and I10."""
        bids = self._open.pop(event.auction)
        judged = self._judged.pop(event.auction, [])
        heard = Counter(each.solver for each in judged)
        expect(heard == bids, "every_solution_is_judged", auction=event.auction)
        sound = [
            each for each in judged if each.reason is None or each.reason.code is RejectCode.OUTBID
        ]
        best = max((each.score for each in sound), default=0)
        expect(event.score >= best, "i10_winner_is_best", auction=event.auction, best=best)
        expect(bool(event.winners) == bool(sound), "i10_winner_is_best", auction=event.auction)
        expect(seed_hash(event.seed) == self._seeds.pop(event.auction), "seed_is_what_was_told")
        for winner in event.winners:
            expect(0 <= int(winner.reference) <= int(winner.score), "no_reward_below_zero")
        self._winners_are_carried_out(event, sound)
        self._bonds.closed(event, self._cleared)
        self._cleared = []

    def _winners_are_carried_out(self, event: AuctionClosed, sound: list[SolutionJudged]) -> None:
        won = {each.bid: each for each in sound if each.reason is None}
        told = [bid for winner in event.winners for bid in winner.bids]
        expect(sorted(told) == sorted(won), "winners_are_who_was_told", auction=event.auction)
        expect(sum(each.score for each in won.values()) == event.score, "score_is_of_winners")
        fills = [fill for fill in self._cleared if fill.resource in event.resources]
        expect(bool(fills) == bool(won), "a_winner_is_carried_out", auction=event.auction)
        charged = sum(fill.units * fill.charge for fill in fills)
        rewards = sum(int(winner.score) - int(winner.reference) for winner in event.winners)
        expect(charged <= rewards, "charges_within_rewards", auction=event.auction)
        self._bundles_are_whole(fills)
        ticks = {(fill.resource, fill.price) for fill in fills}
        expect(ticks == set(event.ticks.items()), "i7_uniform_price", auction=event.auction)
        surplus = sum(
            fill.units * (self._papers[fill.intent].dearest - self._papers[fill.offer].cheapest)
            for fill in fills
        )
        expect(surplus == event.score, "score_is_surplus", auction=event.auction)

    def _bundles_are_whole(self, fills: list[Filled]) -> None:
        """All of a bundle's legs in full at one close, or none ever; of an any-of the same one."""
        units = Counter[str]()
        for fill in fills:
            units[fill.intent] += fill.units
        for legs, any_of in self.bundles:
            filled = sorted(legs & units.keys())
            if filled and any_of:
                chosen = {self._chosen.setdefault(leg, filled[0]) for leg in legs}
                expect(chosen == set(filled), "one_of_an_any_of", legs=filled)
            elif filled:
                whole = all(units[leg] == self._papers[leg].document.units for leg in legs)
                expect(whole, "bundles_are_whole", legs=filled)

    def unfinished(self) -> str:
        """An auction that never closed."""
        return f"auction {min(self._open)}" if self._open else ""
