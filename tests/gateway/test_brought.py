"""Offers that come with a solution: over the socket, sealed, and judged again by anyone."""

from typing import Any

import msgspec
import pytest

from solver.client import Rejected, SignedOffer
from solver.client.auction_page import auction_told
from solver.client.model import SolutionTold
from solver.client.record import record_of, replayed
from solver.core.auction import BroughtOffer, Proposed, SnapshotOrder, Solution
from solver.core.command import OpenAuction, SolutionFill, Tick
from solver.core.quality import Rating
from solver.gateway.view import solution_told
from tests.builder import USDC, Person, alice, bob, carol
from tests.gateway.bidding import OPEN_MS
from tests.gateway.world import EPOCHS, World, a_world
from tests.judging import SEED, solution
from tests.patience import patiently


async def _opened(world: World) -> int:
    """Demand and a dear offer of bob's, in an open auction."""
    world.stop_clock()
    await world.offering(bob, units=5, limit=90, resource=EPOCHS)
    await world.agent(alice).intent(EPOCHS, units=5, limit=100)
    closes = world.sequencer.now_ms() + OPEN_MS
    await world.do(
        OpenAuction(
            resources=(EPOCHS,),
            asset=USDC,
            closes_at_ms=closes,
            seed=SEED,
            breaker=True,
            demand=True,
        )
    )
    return next(reversed(world.gateway.state.auctions))


async def _signed(world: World, who: Person, limit: int = 50) -> SignedOffer:
    key = await world.key(who)
    return world.contributor(who).sign_offer(EPOCHS, key=key, units=5, limit=limit)


def _filling(world: World, offer: str) -> Solution:
    """All that is wanted, from this offer."""
    ((intent, _),) = world.gateway.state.intents.items()
    return solution(15_000_000, [SolutionFill(intent=intent, offer=offer, units=5)], EPOCHS)


async def _answer(world: World, target: str) -> tuple[int, Any]:
    async with world.http.get(world.url + target) as answer:
        return answer.status, await answer.json()


async def test_a_solver_wins_by_an_offer_that_nobody_saw() -> None:
    """Sealed until the close, then filled; the published record leads anyone to the same."""
    async with a_world() as world:
        number = await _opened(world)
        mine = await _signed(world, carol)
        async with patiently(), world.solver(carol).connect() as desk:
            auction = await anext(aiter(desk))
            (book,) = auction.snapshot.books
            ends = {intent.until_ms for intent in world.gateway.state.intents.values()}
            assert {order.until_ms for order in book.intents} == ends
            await desk.propose(auction, _filling(world, mine.digest), [mine])
            assert (await _answer(world, f"/v1/offers/{mine.digest}"))[0] == 404
            listed = await _answer(world, f"/v1/offers?account={carol.address}")
            assert listed == (200, {"offers": [], "next": None})
            after = f"/v1/offers?account={carol.address}&after={mine.digest}"
            assert (await _answer(world, after))[0] == 404
            world.clock.ahead_ms += OPEN_MS
            await world.do(Tick())
            (verdict,) = await desk.verdicts(auction)
            assert verdict.code == ""
        (lease,) = world.gateway.state.leases.values()
        assert (lease.seller, lease.offer, lease.units) == (carol.address, mine.digest, 5)
        status, told = await _answer(world, f"/v1/offers/{mine.digest}")
        assert (status, told["live"]) == (200, False)
        record = record_of(await auction_told(world.market, number))
        assert replayed(record).differs == ()
        assert replayed(record).winners[0].solver == carol.address


def test_a_rating_is_told_as_it_is_recorded() -> None:
    """The bid that was told at once names it: nobody can say another one afterwards."""
    order = SnapshotOrder(id="0x" + "01" * 32, account=carol.address, tick=1, units=5, minimum=1)
    ours = BroughtOffer(resource=EPOCHS, order=order, rating=Rating(success=950, latency=80))
    said = solution(
        1, [SolutionFill(intent="0x" + "02" * 32, offer="0x" + "01" * 32, units=5)], EPOCHS
    )
    made = Solution(books=said.books, brought=(ours,))
    proposed = Proposed(solver=carol.address, seq=1, bid=made.digest("s"), solution=made)
    wire = msgspec.json.encode(solution_told(proposed))
    told = msgspec.json.decode(wire, type=SolutionTold)
    assert msgspec.convert(told.brought, tuple[BroughtOffer, ...]) == (ours,)
    assert Solution(books=said.books).digest("s") != made.digest("s")


async def test_only_what_the_solver_signed_is_brought() -> None:
    """Another's offer, or an altered one, is refused by its code, and the market goes on."""
    async with a_world() as world:
        await _opened(world)
        others, mine = await _signed(world, bob), await _signed(world, carol)
        altered = SignedOffer(
            digest=mine.digest, document=mine.document, signature=others.signature
        )
        async with patiently(), world.solver(carol).connect() as desk:
            auction = await anext(aiter(desk))
            for wrong in (others, altered):
                with pytest.raises(Rejected) as caught:
                    await desk.propose(auction, _filling(world, mine.digest), [wrong])
                assert caught.value.code == "not_authorized"
            with pytest.raises(Rejected) as caught:
                await desk.propose(auction, _filling(world, mine.digest), [mine] * 17)
            assert caught.value.code == "malformed"
            assert await desk.propose(auction, _filling(world, mine.digest), [mine])


async def test_it_may_be_brought_over_http() -> None:
    """As over the socket; addresses of either case."""
    async with a_world() as world:
        number = await _opened(world)
        mine = await _signed(world, carol)
        body = {
            "snapshot": world.gateway.state.auctions[number].snapshot_digest,
            "books": [
                {"resource": book.resource, "tick": book.tick, "fills": list(book.fills)}
                for book in _filling(world, mine.digest).books
            ],
            "offers": [{"document": mine.document, "signature": mine.signature}],
        }
        target = f"/v1/auctions/{number}/solutions"
        status, told, _ = await world.signed(carol, "POST", target, body)
        assert (status, told["auction"]) == (201, number)
