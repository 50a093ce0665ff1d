"""A winner's line in a buyer's receipt: told with its award, held against it, or not signed."""

from typing import Any

import msgspec
import pytest

from intents.bound import ADDRESS_ZERO
from intents.leaf import Leaf, tree
from intents.receipt import in_order, lines_hash
from intents.signature import SigningKey
from solver.client import Agent, NotOwed
from solver.client.owed import FillAward, Owed, Statement
from solver.core.command import CutMetered, OpenAuction, ProposeSolution, SetMetering, Tick
from tests.builder import USDC, Person, alice, bob, carol
from tests.gateway.bidding import OPEN_MS, TICK
from tests.gateway.test_spending import CAP, silent, until_signed
from tests.gateway.world import EPOCHS, RECEIPT_KEY, World, a_world
from tests.judging import SEED, solution

UNITS = 4
CHARGE = 10_000_000
"""Micro-atoms: all of the surplus of a unit, between 20 atoms and 10."""


async def won(world: World, agent: Agent, solver: Person = carol) -> str:
    """Four units between 20 atoms and 10, won by a solver alone at 15; the intent."""
    key = await world.key(bob, f"bob-{world.sequencer.now_ms()}")
    intent = await agent.intent(EPOCHS, units=UNITS, limit=20 * UNITS)
    offer = await world.contributor(bob).offer(EPOCHS, key=key, units=UNITS, limit=10 * UNITS)
    closes = world.sequencer.now_ms() + OPEN_MS
    opening = OpenAuction(
        resources=(EPOCHS,), asset=USDC, closes_at_ms=closes, seed=SEED, deadline_block=99
    )
    await world.do(opening)
    number, auction = next(reversed(world.gateway.state.auctions.items()))
    books = solution(TICK, f"{intent.digest} {offer.digest} {UNITS}", EPOCHS).books
    proposed = ProposeSolution(
        auction=number, solver=solver.address, snapshot=auction.snapshot_digest, books=books
    )
    await world.do(proposed)
    world.clock.ahead_ms += OPEN_MS + 1
    await world.do(Tick())
    await world.market.now()
    return intent.digest


async def a_statement(world: World, agent: Agent, auctions: int = 1) -> Statement:
    """What the market says after three calls of each of some auctions, not signed for."""
    await world.do(SetMetering(payment_max=100, uncovered_max=CAP))
    await world.market.now()
    silent(agent)
    for _ in range(auctions):
        intent = await agent.find(await won(world, agent))
        for _ in range(3):
            await intent.call("GET", "/a")
        await intent.done()
    return await agent.spending.statement()


async def test_the_sdk_signs_for_the_winner() -> None:
    """Three units at 20 atoms, of which 10 are the solver's: two lines, of 30 each."""
    async with a_world() as world:
        agent = world.agent(alice)
        told = await a_statement(world, agent)
        (owed,) = told.owed
        assert (owed.payment, owed.reward, owed.delivered) == (60, 30, 3)
        assert told.document.lines == lines_hash(in_order({bob.address: 30, carol.address: 30}))
        assert world.market.signing.award_signer == RECEIPT_KEY.address
        await agent.spending.sign()
        await until_signed(world, 60)
        receipt = world.gateway.state.metering.meters[alice.address].receipt
        assert receipt is not None
        assert {line.seller: line.amount for line in receipt.lines} == {
            bob.address: 30,
            carol.address: 30,
        }


async def test_leaves_say_who_won() -> None:
    """What the market tells of a batch hashes to its root, the solver's part with it."""
    async with a_world() as world:
        agent = world.agent(alice)
        await a_statement(world, agent)
        await agent.spending.sign()
        await world.do(CutMetered(fills_max=9, unsigned_ms=0))
        _, told, _ = await world.raw("GET", "/v1/batches/0/leaves")
        (leaf,) = [msgspec.convert(leaf, Leaf) for leaf in told["leaves"]]
        assert tree([leaf.digest()]).root == told["root"]
        assert (leaf.solver, leaf.reward, leaf.payment) == (carol.address, 30, 60)


def _awarded(owed: Owed, **fields: Any) -> Owed:
    assert owed.award is not None
    return msgspec.structs.replace(owed, award=msgspec.structs.replace(owed.award, **fields))


FORGED: dict[str, Any] = {
    "a reward by no award": lambda owed: msgspec.structs.replace(owed, award=None),
    "more than its charge": lambda owed: msgspec.structs.replace(owed, reward=31),
    "less than its charge": lambda owed: msgspec.structs.replace(owed, reward=29),
    "a dearer price": lambda owed: msgspec.structs.replace(owed, payment=61),
    "a cheaper price": lambda owed: msgspec.structs.replace(owed, payment=59),
    "another charge": lambda owed: msgspec.structs.replace(
        _awarded(owed, charge=CHARGE // 2), reward=15
    ),
    "another solver": lambda owed: _awarded(owed, solver=alice.address),
    "another auction": lambda owed: _awarded(owed, auction=owed.award.auction + 1),
    "another seller": lambda owed: msgspec.structs.replace(owed, seller=carol.address),
    "another nonce": lambda owed: _awarded(owed, buyer_nonce=owed.award.buyer_nonce + 1),
    "another place": lambda owed: _awarded(owed, proof="0x01" + "00" * 34),
    "no proof": lambda owed: _awarded(owed, proof="0x"),
    "half a proof": lambda owed: _awarded(owed, proof="0x010000ff"),
}


@pytest.mark.parametrize("forgery", FORGED)
async def test_the_sdk_signs_for_no_charge_that_no_award_shows(forgery: str) -> None:
    """Whatever differs from the signed award, in favour of whomever: NotOwed, and no receipt."""
    async with a_world() as world:
        agent = world.agent(alice)
        told = await a_statement(world, agent)
        forged = msgspec.structs.replace(told, owed=(FORGED[forgery](told.owed[0]),))
        agent.spending.statement = _telling(forged)  # type: ignore[method-assign]
        with pytest.raises(NotOwed):
            await agent.spending.sign()
        assert world.gateway.state.metering.meters[alice.address].receipt is None


async def test_the_sdk_believes_the_awards_of_the_market_alone() -> None:
    """Signed by another, or for other terms: as if there were none."""
    async with a_world() as world:
        agent = world.agent(alice)
        told = await a_statement(world, agent)
        (award,) = told.awards
        for fields in (
            {"signature": "0x" + "11" * 65},
            {"deadline_block": 98},
            {"solution": "0x" + "22" * 32},
        ):
            forged = msgspec.structs.replace(award, **fields)
            agent.spending.statement = _telling(  # type: ignore[method-assign]
                msgspec.structs.replace(told, awards=(forged,))
            )
            with pytest.raises(NotOwed, match="not signed by the market"):
                await agent.spending.sign()
        world.market.signing = msgspec.structs.replace(
            world.market.signing, award_signer=SigningKey.generate().address
        )
        agent.spending.statement = _telling(told)  # type: ignore[method-assign]
        with pytest.raises(NotOwed, match="not signed by the market"):
            await agent.spending.sign()


async def test_a_fill_of_an_award_is_signed_for_once() -> None:
    """Told again under another name, within what was used and bought: refused."""
    async with a_world() as world:
        agent = world.agent(alice)
        told = await a_statement(world, agent)
        half = msgspec.structs.replace(told.owed[0], delivered=1, payment=20, reward=10)
        twice = (half, msgspec.structs.replace(half, fill="again"))
        agent.spending.statement = _telling(  # type: ignore[method-assign]
            msgspec.structs.replace(told, owed=twice, fills=2)
        )
        document, fills = agent.spending._counted_part(await agent.spending.statement())
        assert (document.spent, fills) == (20, 1)


async def test_more_units_than_were_awarded_are_refused() -> None:
    """An award is of units: what it shows is no price for more."""
    async with a_world() as world:
        agent = world.agent(alice)
        told = await a_statement(world, agent)
        said = told.owed[0].award
        assert isinstance(said, FillAward)
        many = msgspec.structs.replace(told.owed[0], delivered=UNITS + 1, payment=100, reward=50)
        agent.spending._uses[many.intent].units = UNITS + 1
        agent.spending.statement = _telling(  # type: ignore[method-assign]
            msgspec.structs.replace(told, owed=(many,))
        )
        with pytest.raises(NotOwed, match="follow from"):
            await agent.spending.sign()


async def test_as_many_awards_are_told_as_can_be_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is told once these are signed for: no statement signs without a bound."""
    monkeypatch.setattr("solver.gateway.spending.AWARDS_TOLD_MAX", 1)
    async with a_world() as world:
        agent = world.agent(alice)
        told = await a_statement(world, agent, auctions=2)
        assert (len(told.owed), len(told.awards), told.fills) == (1, 1, 1)
        again = await agent.spending.sign()
        assert (len(again.owed), again.fills) == (1, 2)
        assert (await agent.spending.sign()).owed == ()


async def test_a_statement_without_awards_says_so(world: World) -> None:
    """Nobody is told of a solver where none has won."""
    await world.do(SetMetering(payment_max=100, uncovered_max=CAP))
    await world.offering(bob, units=9, limit=90)
    await world.market.now()
    agent = silent(world.agent(alice))
    intent = await agent.intent("datasette/docs:call", units=1, limit=100)
    await intent.call("GET", "/a")
    told = await agent.spending.statement()
    assert (told.awards, told.owed[0].award, told.owed[0].reward) == ((), None, 0)
    await agent.spending.sign()
    await world.do(CutMetered(fills_max=9, unsigned_ms=0))
    _, leaves, _ = await world.raw("GET", "/v1/batches/0/leaves")
    assert (leaves["leaves"][0]["solver"], leaves["leaves"][0]["reward"]) == (ADDRESS_ZERO, 0)


def _telling(statement: Statement) -> Any:
    async def tell() -> Statement:
        return statement

    return tell
