"""Auctions told by what changed: shorter, led to the same hash, and in full where not."""

from typing import Any

import msgspec
import pytest

from solver.client.record import difference_of, snapshot_of
from solver.core.auction import Snapshot, Solution
from solver.core.command import OpenAuction, SolutionFill, Tick
from solver.core.difference import applied
from tests.builder import USDC, Person, alice, bob, carol, dave
from tests.gateway.bidding import OPEN_MS, Message, bidding
from tests.gateway.world import EPOCHS, World, a_world
from tests.judging import SEED, solution
from tests.patience import patience_s, patiently

ORDERS = 12


async def _an_epoch(world: World) -> int:
    """The auction before closes, another opens."""
    world.clock.ahead_ms += OPEN_MS
    await world.do(Tick())
    closes = world.sequencer.now_ms() + OPEN_MS
    await world.do(OpenAuction(resources=(EPOCHS,), asset=USDC, closes_at_ms=closes, seed=SEED))
    return next(reversed(world.gateway.state.auctions))


async def _a_book(world: World) -> None:
    """Demand above a supply that nobody clears."""
    world.stop_clock()
    await world.offering(bob, units=5, limit=50, resource=EPOCHS)
    for _ in range(ORDERS):
        await _bid(world, alice)
    await _an_epoch(world)


async def _bid(world: World, who: Person) -> None:
    await world.agent(who).intent(EPOCHS, units=5, limit=100)


async def test_who_asks_is_told_what_changed() -> None:
    """One new bid and one closed epoch are one order, in a tenth of the bytes."""
    async with a_world() as world:
        await _a_book(world)
        async with bidding(world, carol) as socket, bidding(world, dave) as whole:
            await socket.send_str('{"type": "deltas"}')
            assert await socket.receive_json(timeout=5) == {"type": "deltas"}
            before = next(reversed(world.gateway.state.auctions.values())).snapshot
            await _bid(world, dave)
            await _an_epoch(world)
            text = await socket.receive_str(timeout=5)
            told: Message = msgspec.json.decode(text)
            assert (told["type"], told["base"]) == ("delta", before.auction)
            (side,) = [book["intents"] for book in told["delta"]["books"]]
            assert [place for place, _ in side["came"]] == [ORDERS]
            full = await whole.receive_str(timeout=5)
            after = snapshot_of(msgspec.json.decode(full)["snapshot"])
            assert applied(before, difference_of(told["delta"])) == after
            assert after.digest() == told["snapshotHash"]
            assert 5 * len(text) < len(full)


async def test_a_longer_difference_is_not_told() -> None:
    """Where nearly all is new, the whole is shorter, and told."""
    async with a_world() as world:
        await _a_book(world)
        async with bidding(world, carol) as socket:
            await socket.send_str('{"type": "deltas"}')
            await socket.receive_json(timeout=5)
            auctions = world.gateway.state.auctions
            kept = next(reversed(auctions.values()))
            kept.snapshot = msgspec.structs.replace(kept.snapshot, books=())
            await _an_epoch(world)
            assert (await socket.receive_json(timeout=5))["type"] == "auction"


async def test_who_does_not_ask_is_told_all() -> None:
    """Solvers of before hear what they always heard."""
    async with a_world() as world:
        await _a_book(world)
        async with bidding(world, carol) as socket:
            for _ in range(2):
                await _an_epoch(world)
                assert (await socket.receive_json(timeout=5))["type"] == "auction"


async def test_the_sdk_follows_by_deltas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its strategies see every auction with the market's hash, though only the first came whole."""
    whole = list[object]()

    def counted(told: dict[str, Any]) -> Snapshot:
        whole.append(told)
        return snapshot_of(told)

    monkeypatch.setattr("solver.client.solver.snapshot_of", counted)
    async with a_world() as world:
        await _a_book(world)
        async with patiently(), world.solver(carol).connect() as desk:
            numbers = [next(reversed(world.gateway.state.auctions))]
            assert (await anext(aiter(desk))).number == numbers[0]
            for _ in range(3):
                await _bid(world, dave)
                number = await _an_epoch(world)
                auction = await anext(aiter(desk))
                assert auction.number == number
                kept = world.gateway.state.auctions[number]
                assert auction.snapshot == kept.snapshot
                assert auction.snapshot_hash == kept.snapshot_digest
        assert len(whole) == 1


@pytest.mark.parametrize("harm", ["lost", "altered", "misfit"])
async def test_the_sdk_asks_anew(monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    """What it missed, or has otherwise than the market, it gets in full; then deltas go on."""
    async with a_world() as world:
        await _a_book(world)
        async with patiently(), world.solver(carol).connect() as desk:
            first = await anext(aiter(desk))
            if harm == "lost":
                desk._snapshots.clear()
            else:
                desk._snapshots[first.number] = _harmed(first.snapshot, whole=harm == "misfit")
            for _ in range(2):
                await _bid(world, dave)
                number = await _an_epoch(world)
                auction = await anext(aiter(desk))
                kept = world.gateway.state.auctions[number]
                assert (auction.number, auction.snapshot) == (number, kept.snapshot)
            assert await desk.propose(auction, _all_of(auction.snapshot))
            assert not desk._answers


async def test_a_wish_is_answered_in_its_turn() -> None:
    """Solutions and wishes that are under way at once get their own answers."""
    async with a_world() as world:
        await _a_book(world)
        async with bidding(world, carol) as socket:
            for said in (
                '{"type": "deltas"}',
                '{"type": "deltas", "full": 1}',
                '{"type": "delta"}',
            ):
                await socket.send_str(said)
            await socket.send_str('{"type": "deltas", "full": true}')
            told = [await socket.receive_json(timeout=patience_s()) for _ in range(5)]
        kinds = [one["type"] for one in told]
        assert kinds == ["deltas", "rejected", "rejected", "deltas", "auction"]
        assert [one["code"] for one in told[1:3]] == ["malformed", "malformed"]


def _harmed(snapshot: Snapshot, *, whole: bool) -> Snapshot:
    """The same without its first bid, or without all of them."""
    (book,) = snapshot.books
    left = book.intents[:0] if whole else book.intents[1:]
    return msgspec.structs.replace(snapshot, books=(msgspec.structs.replace(book, intents=left),))


def _all_of(snapshot: Snapshot) -> Solution:
    (book,) = snapshot.books
    fill = SolutionFill(intent=book.intents[0].id, offer=book.offers[0].id, units=5)
    return solution(15_000_000, [fill], EPOCHS)
