"""What fills are charged so that winners get their rewards, out of the fills' own surplus.

A reward is parted among its solver's buckets by what each has above its b₂, so that no bucket's
users who were above the second price fall below it, and users of all that it won together have
Σ b₂ at least. Within a bucket everyone pays the same share
of its own surplus, a unit: the buyer of (limit − price), the seller of (price − limit). Every
division rounds down, for the users: the charges of all units come to no more than the reward,
and to less than it by less than two micro-atoms a unit.
"""

from collections.abc import Mapping, Sequence

import msgspec

from intents.bound import ADDRESS_ZERO
from intents.rounding import mul_div_floor
from solver.core.auction import Snapshot, SnapshotBook, Solution
from solver.core.bid import Bid
from solver.core.check import check
from solver.core.command import ClearedBook
from solver.core.reward import Reward


class Charge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of one fill, in micro-atoms a unit: what its buyer pays above the price, its seller below.

    Both are the solver's.
    """

    intent: str
    offer: str
    units: int
    bid_charge: int
    ask_charge: int


def parts_of(reward: Reward, wins: Sequence[Bid], second: Mapping[int, int]) -> dict[int, int]:
    """A solver's reward by bucket, in micro-atoms; none where there is nobody to pay.

    A strategy that the market runs itself has a name and no account.
    """
    above = {
        bucket: max(0, part - second.get(bucket, 0))
        for bid in wins
        for bucket, part in bid.surplus.items()
    }
    total = sum(above.values())
    if not reward.amount or not is_account(reward.solver):
        return {}
    check(reward.amount <= total, "reward_within_surplus", reward=reward.amount, above=total)
    return {bucket: mul_div_floor(reward.amount, part, total) for bucket, part in above.items()}


def charges_of(
    snapshot: Snapshot, solution: Solution, surplus: Mapping[int, int], parts: Mapping[int, int]
) -> tuple[Charge, ...]:
    """Of a winning solution's fills, those that are charged."""
    places = {book.resource: place for place, book in enumerate(snapshot.books)}
    brought = {one.order.id: one.order.tick for one in solution.brought}
    found: list[Charge] = []
    for cleared in solution.books:
        bucket = places[cleared.resource]
        part = parts.get(bucket, 0)
        if part:
            book = snapshot.books[bucket]
            asks = {order.id: order.tick for order in book.offers} | brought
            found += _charged(book, asks, cleared, part, surplus[bucket])
    return tuple(found)


def is_account(solver: str) -> bool:
    """Whether somebody can be paid."""
    return len(solver) == len(ADDRESS_ZERO) and solver.startswith("0x")


def _charged(
    book: SnapshotBook, asks: Mapping[str, int], cleared: ClearedBook, part: int, surplus: int
) -> list[Charge]:
    bids = {order.id: order.tick for order in book.intents}
    charged = [
        Charge(
            intent=fill.intent,
            offer=fill.offer,
            units=fill.units,
            bid_charge=mul_div_floor(part, bids[fill.intent] - cleared.tick, surplus),
            ask_charge=mul_div_floor(part, cleared.tick - asks[fill.offer], surplus),
        )
        for fill in cleared.fills
    ]
    return [charge for charge in charged if charge.bid_charge + charge.ask_charge]
