"""From an auction to the solver's balance on chain, on a real Anvil."""

from typing import Final

import msgspec
import pytest

from intents.signature import SigningKey
from intents.typed_data import Domain
from solver.core.award import AwardState
from solver.core.command import (
    ClearedBook,
    Mode,
    OpenAuction,
    OpenResource,
    ProposeSolution,
    SolutionFill,
    Tick,
)
from solver.core.event import Filled, PaymentSkipped
from solver.core.state import Batch
from solver.core.weight import Load
from solver.engine.award import AwardSigner, SignedAward
from solver.settlement.batch import CALLDATA_BYTES_MAX, encode_batch
from solver.settlement.transaction import GAS_MAX
from tests.judging import SEED
from tests.settlement.world import CHAIN_ID, DEPLOYER, USD, World

EPOCHAL: Final = "serper/search:call"
PRICE: Final = 1_500 * 10**6
AWARD_EXPIRED: Final = 18
AWARD_REFUSED: Final = 19
AWARD_MISMATCH: Final = 20
FOREVER: Final = 10**9


class _Greedy(AwardSigner):
    """Says that every fill is charged a little more than was signed."""

    def signed(self, award: AwardState) -> SignedAward:
        honest = super().signed(award)
        fills = [msgspec.structs.replace(fill, charge=fill.charge + 1) for fill in honest.fills]
        return msgspec.structs.replace(honest, fills=tuple(fills))


async def _contested(
    world: World,
    buyers: list[SigningKey],
    seller: SigningKey,
    solver: str,
    *,
    deadline_block: int = FOREVER,
) -> list[tuple[str, str]]:
    """Each buyer's intent and lease: 10 units at up to 2,000 atoms, of an offer at 1,000.

    The solver's proposal is for all of them, and another one's for half of the first's.
    """
    await world.do(OpenResource(resource=EPOCHAL, mode=Mode.EPOCH))
    for buyer in buyers:
        await world.deposit(buyer.address, 5 * USD)
    await world.finalize()
    offer = await world.sell(seller, resource=EPOCHAL)
    intents = [(await world.bid(buyer, resource=EPOCHAL))[0] for buyer in buyers]
    await world.do(
        OpenAuction(
            resources=(EPOCHAL,),
            asset=world.deployment.usdc,
            closes_at_ms=world.clock.now_ms() + 1_000,
            seed=SEED,
            deadline_block=deadline_block,
        )
    )
    await _propose(world, solver, [(intent, offer, 10) for intent in intents])
    await _propose(world, "book", [(intents[0], offer, 5)])
    world.clock.advance(1_000)
    closed = await world.do(Tick())
    fills = {event.intent: event.fill for event in closed.events if isinstance(event, Filled)}
    return [(intent, fills[intent]) for intent in intents]


async def _propose(world: World, solver: str, lines: list[tuple[str, str, int]]) -> None:
    number, auction = next(iter(world.state.auctions.items()))
    fills = tuple(SolutionFill(intent=i, offer=o, units=units) for i, o, units in lines)
    await world.do(
        ProposeSolution(
            auction=number,
            solver=solver,
            snapshot=auction.snapshot_digest,
            books=(ClearedBook(resource=EPOCHAL, tick=PRICE, fills=fills),),
        )
    )


async def _an_awarded_batch(
    world: World, solver: str, *, deadline_block: int = FOREVER
) -> tuple[Batch, SigningKey, SigningKey]:
    """Eight of ten units were delivered: surplus 10,000, the other's best 5,000."""
    buyer, seller = SigningKey.generate(), SigningKey.generate()
    ((intent, lease),) = await _contested(
        world, [buyer], seller, solver, deadline_block=deadline_block
    )
    await world.consume(intent, [lease], units=8)
    return await world.cut(), buyer, seller


async def test_a_solver_is_paid_its_reward_on_chain(world: World) -> None:
    """Its balance there grows by exactly its reward for delivered units, and the books agree."""
    solver = SigningKey.generate().address
    batch, buyer, seller = await _an_awarded_batch(world, solver)
    await world.settle()
    assert (batch.paid, batch.skipped) == (8 * 1_750, 0)
    assert world.total(solver) == await world.balance(solver) == 8 * 500
    assert world.total(seller.address) == await world.balance(seller.address) == 8 * 1_250
    assert await world.balance(buyer.address) == 5 * USD - 8 * 1_750
    assert (await world.reconcile()).is_clean
    assert not world.alarms


async def test_many_fills_of_one_award_are_proven(world: World) -> None:
    """Five buyers, one award; what the core weighs is no less than what the chain needs."""
    solver, seller = SigningKey.generate().address, SigningKey.generate()
    buyers = [SigningKey.generate() for _ in range(5)]
    for intent, lease in await _contested(world, buyers, seller, solver):
        await world.consume(intent, [lease], units=10)
    batch = await world.cut()
    data = encode_batch(world.state, batch, world.awards)
    load = Load(CALLDATA_BYTES_MAX, GAS_MAX)
    assert load.takes(world.state, [world.state.leases[line.fill] for line in batch.lines])
    call = {
        "from": world.session.address,
        "to": world.deployment.operator_account,
        "data": "0x" + data.hex(),
    }
    assert len(data) <= load.bytes
    assert int(world.anvil.rpc("eth_estimateGas", call), 16) <= load.gas
    await world.settle()
    (award,) = world.state.awards.values()
    charges = {(fill.units, fill.charge) for fill in award.fills}
    assert (batch.skipped, len(charges)) == (0, 1)
    (_, charge), *_ = charges
    assert world.total(solver) == await world.balance(solver) == 5 * 10 * charge // 10**6
    assert (await world.reconcile()).is_clean


@pytest.mark.parametrize("planted", ["deadline", "key", "charge"])
async def test_what_the_award_does_not_cover_is_skipped(world: World, planted: str) -> None:
    """Too late, not signed by the operator's owner, or at another charge: nobody pays."""
    solver = SigningKey.generate().address
    deadline = 1 if planted == "deadline" else FOREVER
    batch, buyer, seller = await _an_awarded_batch(world, solver, deadline_block=deadline)
    expected = AWARD_EXPIRED
    domain = Domain(chain_id=CHAIN_ID, verifying_contract=world.deployment.settlement)
    if planted == "key":
        world.submitter._awards = AwardSigner(SigningKey.generate(), domain)
        expected = AWARD_REFUSED
    if planted == "charge":
        world.submitter._awards = _Greedy(DEPLOYER, domain)
        expected = AWARD_MISMATCH
    await world.settle()
    assert (batch.paid, batch.skipped) == (0, 1)
    told = [entry.event for entry in world.sequencer.feed.after(0, 1_000)]
    assert [event.reason for event in told if isinstance(event, PaymentSkipped)] == [expected]
    for account in (solver, seller.address):
        assert world.total(account) == await world.balance(account) == 0
    assert await world.balance(buyer.address) == 5 * USD
    assert (await world.reconcile()).is_clean
