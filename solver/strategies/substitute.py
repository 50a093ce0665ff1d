"""Intents that accept any of several resources, each with a limit of its own.

Intents are not signed like this yet; these are the pure types and the part that every way
of assigning units to resources shares. An assignment says how many units each intent
takes through each of its choices. Given one, every resource is cleared by itself at its
own uniform price, so no one pays above, or sells below, its limit.
"""

from collections.abc import Sequence
from operator import mul
from typing import Final, Self

import msgspec
import numpy as np

from solver.core.check import check
from solver.strategies.batch import NO_TICK, Clearings, clear_columns
from solver.strategies.column import ROWS_MAX, Columns, Integers

RESOURCES_MAX: Final = 1_024
"""So that a resource and a tick fit one integer of 63 bits."""


class SubstituteIntent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Wants `units`, of whichever of the resources, each at no more than its tick."""

    id: str
    choices: dict[str, int]
    units: int


class SubstituteOffer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sells up to `units` of one resource at no less than its tick."""

    id: str
    resource: str
    tick: int
    units: int


class SubstituteFill(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Units that an intent takes of a resource from an offer."""

    intent: str
    offer: str
    resource: str
    units: int


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What trades, at which price of each resource, and how good that is.

    `welfare` is the sum over fills of units × (limit − ask), in micro-atoms. No assignment
    has more than `bound`.
    """

    ticks: dict[str, int]
    fills: tuple[SubstituteFill, ...]
    welfare: int
    bound: int

    @property
    def gap(self) -> float:
        """The share of the bound that is missed at most; 0 if this is proven the best."""
        return (self.bound - self.welfare) / self.bound if self.bound else 0.0


class Network(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Intents, choices and offers as columns: a choice is an arc, never a pair of orders.

    Choices of one intent are neighbours. Those of a resource that nobody sells are left
    out, and intents that have no other.
    """

    intents: Sequence[SubstituteIntent]
    offers: Sequence[SubstituteOffer]
    resources: tuple[str, ...]
    units: Integers
    """Of each intent."""
    starts: Integers
    """Where the choices of each intent begin; each has one at least."""
    choosers: Integers
    """Of each choice, its intent; then its resource and its limit."""
    choice_resources: Integers
    limits: Integers
    asks: Columns
    """The offers, in their order."""

    @classmethod
    def of(cls, intents: Sequence[SubstituteIntent], offers: Sequence[SubstituteOffer]) -> Self:
        """Columns of both sides, which come in order of time."""
        codes = {name: code for code, name in enumerate({offer.resource: 0 for offer in offers})}
        places = [codes.get(name, -1) for intent in intents for name in intent.choices]
        limits = [limit for intent in intents for limit in intent.choices.values()]
        check(len(codes) <= RESOURCES_MAX and len(limits) <= ROWS_MAX, "network_within_bounds")
        sold = np.flatnonzero(np.array(places, np.int64) >= 0)
        counts = [len(intent.choices) for intent in intents]
        used, choosers = np.unique(
            np.repeat(np.arange(len(intents)), counts)[sold], return_inverse=True
        )
        network = cls(
            intents=[intents[number] for number in used.tolist()],
            offers=offers,
            resources=tuple(codes),
            units=np.array([intent.units for intent in intents], np.int64)[used],
            starts=np.flatnonzero(np.diff(choosers, prepend=-1)),
            choosers=choosers,
            choice_resources=np.array(places, np.int64)[sold],
            limits=np.array(limits, np.int64)[sold],
            asks=_asks(offers, codes),
        )
        network.asks.check(len(codes))
        network.bids(network.units[network.choosers]).check(len(codes))
        return network

    def bids(self, choice_units: Integers) -> Columns:
        """Each choice as a bid for some units."""
        ones = np.ones(len(self.limits), np.int64)
        return Columns(
            books=self.choice_resources,
            ticks=self.limits,
            units=choice_units,
            minimums=ones,
            accounts=0 * ones,
        )

    def clear(self, choice_units: Integers) -> tuple[Integers, Clearings]:
        """Clear each resource among those who were assigned to it; bids are rows of choices."""
        rows = np.flatnonzero(choice_units)
        bids = self.bids(choice_units).rows(rows)
        clearings = clear_columns(bids, self.asks, book_count=len(self.resources))
        return rows[clearings.bids], clearings

    def savings(self, prices: Integers) -> Integers:
        """What each choice would save its intent, for each unit; below 0 if it costs more."""
        return self.limits - prices[self.choice_resources]

    def bound(self, prices: Integers) -> int:
        """No assignment has more welfare than all would save that trade all at any prices."""
        best = greatest(self.savings(prices), self.starts)
        gains = prices[self.asks.books] - self.asks.ticks
        sums = ((best, self.units), (gains, self.asks.units))
        return sum(_product(np.maximum(ticks, 0), units) for ticks, units in sums)

    def welfare(self, choices: Integers, clearings: Clearings) -> int:
        """The sum of units × (limit − ask)."""
        margins = self.limits[choices] - self.asks.ticks[clearings.asks]
        return _product(margins, clearings.units)

    def assignment(self, choices: Integers, clearings: Clearings, bound: int) -> Assignment:
        """What was cleared, in names."""
        return Assignment(
            ticks={
                name: tick
                for name, tick in zip(self.resources, clearings.ticks.tolist(), strict=True)
                if tick != NO_TICK
            },
            fills=self._fills(choices, clearings),
            welfare=self.welfare(choices, clearings),
            bound=bound,
        )

    def _fills(self, choices: Integers, clearings: Clearings) -> tuple[SubstituteFill, ...]:
        intents = [self.intents[number].id for number in self.choosers[choices].tolist()]
        offers = [self.offers[number] for number in clearings.asks.tolist()]
        return tuple(
            SubstituteFill(intent=intent, offer=offer.id, resource=offer.resource, units=units)
            for intent, offer, units in zip(intents, offers, clearings.units.tolist(), strict=True)
        )


def greatest(values: Integers, starts: Integers) -> Integers:
    """The greatest of each run of values; runs begin at `starts`."""
    greatest: Integers = np.maximum.reduceat(values, starts) if len(starts) else values
    return greatest


def _product(ticks: Integers, units: Integers) -> int:
    """The sum of products, which 64 bits would not hold."""
    return sum(map(mul, ticks.tolist(), units.tolist()))


def _asks(offers: Sequence[SubstituteOffer], codes: dict[str, int]) -> Columns:
    ones = np.ones(len(offers), np.int64)
    return Columns(
        books=np.array([codes[offer.resource] for offer in offers], np.int64),
        ticks=np.array([offer.tick for offer in offers], np.int64),
        units=np.array([offer.units for offer in offers], np.int64),
        minimums=ones,
        accounts=ones,
    )
