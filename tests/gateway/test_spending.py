"""Metered settlement over HTTP: what is owed is told, and signed by the SDK."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from intents.leaf import Leaf, tree
from intents.receipt import ReceiptLine, lines_hash
from solver.client import Agent, Market, NotOwed, Purchase, Rejected
from solver.client.owed import Statement
from solver.client.spending import Spending
from solver.core.command import CutMetered, SetMetering
from solver.core.fact import EpochBumped
from tests.builder import USDC, alice, bob, carol, dave
from tests.gateway.world import DOCS, World
from tests.patience import until

CAP = 300
MAY_SIGN_RECEIPTS = 16
Reply = tuple[int, dict[str, Any], dict[str, str]]


async def metering(world: World, cap: int = CAP) -> Market:
    """The world meters small intents; a market that has heard of it."""
    await world.do(SetMetering(payment_max=100, uncovered_max=cap))
    await world.offering(bob, units=90, limit=900)
    await world.market.now()
    return world.market


async def use(agent: Agent, calls: int = 1) -> None:
    """Buy one call for up to 100 atoms, and make it; so many times."""
    for _ in range(calls):
        intent = await agent.intent(DOCS, units=1, limit=100)
        await intent.filled()
        await intent.call("GET", "/a")


async def until_signed(world: World, spent: int) -> None:
    """Until a receipt over so much is in."""
    meters = world.gateway.state.metering.meters
    await until(lambda: alice.address in meters and meters[alice.address].acknowledged >= spent)


def silent(agent: Agent) -> Agent:
    """A buyer that does not sign by itself."""
    agent.spending.due = lambda: None  # type: ignore[method-assign]
    return agent


async def post(world: World, told: Statement, signer: Any = alice, **changes: Any) -> Reply:
    """Sign a statement, or what is made of it, and post it."""
    fills = changes.pop("fills", told.fills)
    document = msgspec.structs.replace(told.document, **changes)
    _, signature = world.market.sign(signer.key, document)
    body = {"receipt": {"document": document, "signature": signature}, "fills": fills}
    return await world.raw("POST", "/v1/spending", msgspec.json.encode(body))


async def test_the_sdk_signs_by_itself(world: World) -> None:
    """While it calls, without a word of its user: one receipt for several calls, none waits."""
    await metering(world)
    agent = world.agent(alice)
    await use(agent, 12)
    await until_signed(world, 120)
    told = await agent.spending.statement()
    assert (told.owed, told.exposure, agent.spending.fault) == ((), 0, None)
    assert told.receipt is not None
    assert (told.receipt.document.spent, told.receipt.signer) == (120, alice.address)


async def test_the_sdk_signs_for_what_was_bought_under_a_mandate(world: World) -> None:
    """Nothing else was ever signed for these calls: one document, one receipt."""
    await metering(world)
    agent = world.agent(alice)
    mandate = await agent.mandate(limit=1_000, tick_max=100 * 10**6)
    bought = await mandate.buy_many([Purchase(resource=DOCS, units=1, limit=100)] * 3)
    for one in bought:
        await (await agent.find(one.intent())).call("GET", "/a")
    await until_signed(world, 30)


async def test_who_does_not_sign_is_refused_at_the_cap(world: World) -> None:
    """402 with what to do; the SDK then signs and goes on with the same call."""
    market = await metering(world, cap=100)
    agent = silent(world.agent(alice))
    await use(agent, 10)
    intent = await agent.intent(DOCS, units=1, limit=100)
    other = silent(Agent(market, alice.key))
    other.spending.sign = _nothing  # type: ignore[assignment]
    with pytest.raises(Rejected) as refused:
        await (await other.find(intent.digest)).call("GET", "/a")
    assert (refused.value.code, refused.value.status) == ("receipt_due", 402)
    assert "/v1/spending" in refused.value.hint
    answer = await intent.call("GET", "/a")
    assert answer.units == 1


async def _nothing(**_: object) -> None:
    return None


async def test_who_leaves_signs_before(world: World) -> None:
    """A process that makes one call and ends leaves no call unsigned, and a false one alone."""
    await metering(world)
    async with Market(world.url) as seen:
        await use(Agent(seen, alice.key), 2)
    meter = world.gateway.state.metering.meters[alice.address]
    assert (meter.acknowledged, meter.exposure) == (20, 0)
    stranger = silent(world.agent(alice))
    await use(stranger)
    async with Market(world.url) as seen:
        await use(Agent(seen, alice.key))
    assert meter.exposure == 20, "what it did not use is signed for by nobody here"


async def test_a_market_without_the_rule_is_asked_for_nothing(world: World) -> None:
    """The SDK counts nothing and asks nothing where nothing is metered."""
    await world.offering(bob)
    agent = world.agent(alice)
    await use(agent, 2)
    assert (agent.spending.counted, agent.spending._task) == (0, None)


async def test_a_stream_counts_all_that_was_bought(world: World) -> None:
    """Nobody tells its client what it used: what was bought is the most that is believed."""
    await metering(world)
    agent = silent(world.agent(alice))
    intent = await agent.intent(DOCS, units=5, limit=50)
    agent.spending.used(intent.state, None)
    assert agent.spending.counted == 50
    agent.spending.used(intent.state, None)
    assert agent.spending.counted == 50


# -- the market's word against the agent's


async def a_statement(world: World, agent: Agent, calls: int = 2) -> Statement:
    """What the market says after some calls that nobody signed for."""
    await metering(world)
    await use(silent(agent), calls)
    return await agent.spending.statement()


@pytest.mark.parametrize(
    ("field", "value"),
    [("payment", 101), ("delivered", 2), ("intent", "0x" + "ab" * 32)],
)
async def test_the_sdk_signs_for_nothing_that_it_did_not_use(
    world: World, field: str, value: object
) -> None:
    """Above the limit, more units than were used, an intent of somebody else: NotOwed."""
    agent = world.agent(alice)
    told = await a_statement(world, agent)
    false = msgspec.structs.replace(told.owed[0], **{field: value})
    statement = msgspec.structs.replace(told, owed=(false,), fills=1)
    agent.spending.statement = _telling(statement)  # type: ignore[method-assign]
    with pytest.raises(NotOwed):
        await agent.spending.sign()
    assert world.gateway.state.metering.meters[alice.address].receipt is None


async def test_the_sdk_never_signs_above_its_count_in_all(world: World) -> None:
    """The same fill told again and again under new names: the sum of all calls is the bound."""
    agent = world.agent(alice)
    told = await a_statement(world, agent)
    assert agent.spending.counted == 200
    moved = msgspec.structs.replace(told.document, base=200, spent=220)
    agent.spending._base = 0
    statement = msgspec.structs.replace(told, document=moved)
    agent.spending.statement = _telling(statement)  # type: ignore[method-assign]
    with pytest.raises(NotOwed, match="by our count 200 atoms"):
        await agent.spending.sign()


async def test_the_sdk_signs_its_own_sums(world: World) -> None:
    """Whatever document the market tells: what is signed is made of the fills."""
    agent = world.agent(alice)
    told = await a_statement(world, agent)
    false = msgspec.structs.replace(told.document, spent=1_000, lines="0x" + "00" * 32)
    agent.spending.statement = _telling(  # type: ignore[method-assign]
        msgspec.structs.replace(told, document=false)
    )
    await agent.spending.sign()
    receipt = world.gateway.state.metering.meters[alice.address].receipt
    assert receipt is not None
    assert receipt.spent == 20


async def test_the_sdk_signs_as_far_as_it_counted(world: World) -> None:
    """A call that another task has not ended yet waits for the next receipt."""
    agent = world.agent(alice)
    await a_statement(world, agent)
    stranger = silent(world.agent(alice))
    await use(stranger)
    told = await agent.spending.sign()
    assert [len(told.owed), told.fills] == [1, 3]
    with pytest.raises(NotOwed, match="did not use"):
        await agent.spending.sign()
    trusted = await agent.spending.sign(trusting=True)
    assert trusted.owed == ()


async def test_the_sdk_builds_on_its_own_receipts_only(world: World) -> None:
    """A receipt of another key that the market shows as ours adds to nothing."""
    agent = world.agent(alice)
    await a_statement(world, agent)
    await agent.spending.sign()
    await use(agent)
    told = await agent.spending.statement()
    assert told.receipt is not None
    other = msgspec.structs.replace(told.receipt, signature="0x" + "11" * 65)
    agent.spending.statement = _telling(  # type: ignore[method-assign]
        msgspec.structs.replace(told, receipt=other)
    )
    with pytest.raises(NotOwed, match="not of this key"):
        await agent.spending.sign()


def _telling(statement: Statement) -> Any:
    async def tell() -> Statement:
        return statement

    return tell


# -- the route


async def test_what_is_owed_is_told_exactly(world: World) -> None:
    """Base, sum, lines, and each fill that they are made of; nobody else is told of."""
    agent = world.agent(alice)
    told = await a_statement(world, agent)
    assert (told.document.base, told.document.spent, told.fills) == (0, 20, 2)
    assert [(owed.seller, owed.payment) for owed in told.owed] == [(bob.address, 10)] * 2
    assert told.document.lines == lines_hash([ReceiptLine(seller=bob.address, amount=20)])
    assert (told.exposure, told.uncovered_max, told.payment_max) == (20, CAP, 100)
    _, nothing, _ = await world.raw("GET", f"/v1/spending?account={carol.address}")
    assert (nothing["owed"], nothing["fills"], nothing["receipt"]) == ([], 0, None)


async def test_receipts_that_do_not_fit_are_refused(world: World) -> None:
    """Each with its code and status, and no trace in the state."""
    told = await a_statement(world, world.agent(alice))
    before = world.state_hash()
    for changes, status, code in (
        ({"signer": dave}, 403, "not_authorized"),
        ({"base": 1}, 409, "receipt_stale"),
        ({"epoch": 1}, 409, "epoch_ended"),
        ({"spent": 21}, 422, "receipt_invalid"),
        ({"fills": 1}, 422, "receipt_invalid"),
        ({"fills": 3}, 422, "receipt_invalid"),
        ({"fills": 0}, 400, "malformed"),
        ({"fills": 5_000}, 400, "malformed"),
        ({"account": carol.address}, 409, "receipt_stale"),
    ):
        found, said, _ = await post(world, told, **changes)
        assert (found, said["code"]) == (status, code), changes
    assert world.state_hash() == before
    assert (await post(world, told))[0] == 200
    status, said, _ = await post(world, told)
    assert (status, said["code"]) == (409, "receipt_stale")


async def test_a_key_of_the_registry_signs(world: World) -> None:
    """A session key that may sign receipts, and no other, speaks for its account."""
    told = await a_statement(world, world.agent(alice))
    assert (await post(world, told, dave))[0] == 403
    world.contracts.sessions.add((alice.address, dave.address, MAY_SIGN_RECEIPTS))
    status, said, _ = await post(world, told, dave)
    assert (status, said["receipt"]["authority"], said["receipt"]["signer"]) == (
        200,
        2,
        dave.address,
    )


async def test_an_agent_signs_with_its_receipt_key(world: World) -> None:
    """The key that spends by signature can be another than the one that buys."""
    market = await metering(world)
    world.contracts.sessions.add((alice.address, dave.address, MAY_SIGN_RECEIPTS))
    agent = Agent(market, alice.key, receipt_key=dave.key)
    await use(agent, 2)
    await until_signed(world, 20)
    receipt = world.gateway.state.metering.meters[alice.address].receipt
    assert receipt is not None
    assert receipt.signer == dave.address


async def test_a_contract_account_signs(world: World) -> None:
    """EIP-1271: its contract is asked about the receipt."""
    told = await a_statement(world, world.agent(alice))
    world.contracts.valid.add(alice.address)
    status, said, _ = await post(world, told, dave)
    assert (status, said["receipt"]["authority"]) == (200, 1)


async def test_a_node_that_fails_refuses_nobody_for_good(world: World) -> None:
    """429 and try again, never a 5xx."""
    told = await a_statement(world, world.agent(alice))

    async def broken(*_: object) -> bool:
        raise ConnectionError

    world.contracts.is_session = broken  # type: ignore[assignment]
    status, said, _ = await post(world, told, dave)
    assert (status, said["code"]) == (429, "busy")


async def test_an_old_epoch_is_signed_anew(world: World) -> None:
    """The statement carries the epoch that the account is in."""
    agent = world.agent(alice)
    await a_statement(world, agent)
    await world.chain(EpochBumped(account=alice.address, epoch=1))
    told = await agent.spending.sign()
    assert told.receipt is not None
    assert told.receipt.document.epoch == 1


async def test_leaves_are_published(world: World) -> None:
    """What the market tells of a metered batch hashes to its root; other batches have none."""
    agent = world.agent(alice)
    await a_statement(world, agent)
    await agent.spending.sign()
    await world.do(CutMetered(fills_max=9, unsigned_ms=0))
    _, told, _ = await world.raw("GET", "/v1/batches/0/leaves")
    leaves = [msgspec.convert(leaf, Leaf) for leaf in told["leaves"]]
    assert tree([leaf.digest() for leaf in leaves]).root == told["root"]
    assert (told["number"], len(leaves)) == (0, 2)
    status, said, _ = await world.raw("GET", "/v1/batches/1/leaves")
    assert (status, said["code"]) == (404, "batch_unknown")


def test_a_spending_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered is bounded; what was counted stays counted."""
    monkeypatch.setattr("solver.client.spending.USES_MAX", 2)

    assets = SimpleNamespace(usdc=USDC)
    market: Any = SimpleNamespace(
        metered_max=100,
        signing=SimpleNamespace(assets=assets),
        keep=lambda work: work.close(),
        on_leaving=lambda _: None,
    )
    spending = Spending(market, alice.address, alice.key)
    for place in range(3):
        intent: Any = SimpleNamespace(digest=str(place), units=1, limit=10, asset=USDC)
        spending.used(intent, 1)
    assert (len(spending._uses), spending.counted) == (2, 30)
