"""Hostile solvers change nothing for the others."""

from tests.builder import person
from tests.gateway.bidding import closed
from tests.gateway.hostile import FOREIGN, HONEST, LATE, MALFORMED, OVERSIZED, compete
from tests.gateway.world import a_world


async def test_hostile_solvers_change_no_winner() -> None:
    """Twenty solvers: five hang, three talk junk, two too much, two for another, two late."""
    async with a_world() as world:
        alone = await compete(world, closed, hostile=False)
    async with a_world() as world:
        among = await compete(world, closed, hostile=True)
    assert among.won == alone.won
    assert [solver for solver, _, _ in alone.won] == [person(f"honest {HONEST - 1}").address]
    assert among.told == [
        *["malformed"] * MALFORMED,
        *["closed"] * OVERSIZED,
        *["not_authorized"] * FOREIGN,
        *["auction_closed"] * LATE,
    ]
