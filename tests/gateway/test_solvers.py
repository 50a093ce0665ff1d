"""How solvers conduct themselves, as anyone may read it, and what a benched one hears."""

from typing import Any

from solver.core.command import ApplyBlocks, KeyEnd, OpenAuction, RetireKey, SetBonds, Tick
from solver.core.conduct import BENCH_MS
from solver.core.fact import BondDeposited, BondWithdrawalRequested
from tests.builder import USDC, Person, alice, bob, carol
from tests.gateway.bidding import OPEN_MS, TICK, Message, answered, bidding
from tests.gateway.world import EPOCHS, World, a_world
from tests.judging import SEED


async def _solvers(world: World) -> dict[str, Any]:
    async with world.http.get(world.url + "/v1/solvers") as answer:
        assert answer.status == 200
        told: dict[str, Any] = await answer.json()
        return told


async def _opened(world: World, key: str, seller: Person = bob) -> Message:
    """An open auction of what the seller offers from its key, and what wins it."""
    intent = await world.agent(alice).intent(EPOCHS, units=5, limit=100)
    offer = await world.contributor(seller).offer(EPOCHS, key=key, units=5, limit=50)
    closes = world.sequencer.now_ms() + OPEN_MS
    opening = OpenAuction(
        resources=(EPOCHS,), asset=USDC, closes_at_ms=closes, seed=SEED, breaker=True
    )
    await world.do(opening)
    number, auction = next(reversed(world.gateway.state.auctions.items()))
    fill = {"intent": intent.digest, "offer": offer.digest, "units": 5}
    return {
        "type": "solution",
        "auction": number,
        "snapshot": auction.snapshot_digest,
        "books": [{"resource": EPOCHS, "tick": TICK, "fills": [fill]}],
    }


async def _bob_wins_and_fails(world: World) -> None:
    """With an offer of its own, whose key dies before anything was served."""
    key = await world.key(bob)
    message = await _opened(world, key)
    async with bidding(world, bob) as socket:
        assert (await answered(socket, message))["type"] == "accepted"
        world.clock.ahead_ms += OPEN_MS + 1
        await world.do(Tick())
        assert (await socket.receive_json(timeout=5))["code"] == ""
    (before,) = (await _solvers(world))["solvers"]
    assert (before["answering"], before["benchedUntilMs"]) == (1, 0)
    await world.do(RetireKey(key=key, reason=KeyEnd.DEAD))


async def test_anyone_can_read_who_is_benched() -> None:
    """The rule with its bounds, and each solver's standing under it."""
    async with a_world() as world:
        world.stop_clock()
        empty = await _solvers(world)
        assert empty["solvers"] == []
        assert (empty["rule"]["ratePercentMax"], empty["rule"]["cleanMs"]) == (12, 3_600_000)
        await _bob_wins_and_fails(world)
        (standing,) = (await _solvers(world))["solvers"]
        assert standing == {
            "solver": bob.address,
            "answering": 0,
            "answered": 0,
            "faded": 0,
            "level": 1,
            "benchedUntilMs": world.sequencer.now_ms() + BENCH_MS,
            "bond": 0,
            "withdrawing": 0,
            "exposure": 0,
            "penaltiesPaid": 0,
        }


async def test_anyone_can_read_who_is_bonded() -> None:
    """The rule with its contract, each bond and what is asked back; bids without are refused."""
    async with a_world() as world:
        world.stop_clock()
        rule = SetBonds(bond_min=200, exposure_percent=150, penalty_max=100, contract="0xb0")
        await world.do(rule)
        key = await world.key(bob)
        message = await _opened(world, key)
        async with bidding(world, bob) as socket:
            told = await answered(socket, message)
            assert (told["code"], bool(told["hint"])) == ("bond_missing", True)
            facts = (
                BondDeposited(solver=bob.address, amount=1_000),
                BondWithdrawalRequested(solver=bob.address, amount=900),
            )
            number = world.gateway.state.cursor + 1
            await world.do(ApplyBlocks(number=number, block_hash="0x01", facts=facts))
            assert (await answered(socket, message))["code"] == "bond_too_small"
        told = await _solvers(world)
        assert told["bondRule"] == {
            "bondMin": 200,
            "exposurePercent": 150,
            "penaltyMax": 100,
            "contract": "0xb0",
        }
        (bonded,) = told["solvers"]
        assert (bonded["bond"], bonded["withdrawing"], bonded["exposure"]) == (1_000, 900, 0)


async def test_a_benched_solver_hears_until_when() -> None:
    """At once, by socket and by HTTP, with a hint; another solver is not concerned."""
    async with a_world() as world:
        world.stop_clock()
        await _bob_wins_and_fails(world)
        until_ms = world.sequencer.now_ms() + BENCH_MS
        message = await _opened(world, await world.key(carol), carol)
        async with bidding(world, bob) as benched, bidding(world, carol) as other:
            told = await answered(benched, message)
            assert (told["type"], told["code"]) == ("rejected", "solver_benched")
            assert str(until_ms) in told["message"]
            assert "/v1/solvers" in told["hint"]
            assert (await answered(other, message))["type"] == "accepted"
