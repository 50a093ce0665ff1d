"""Every kind of intent that needs solvers, from a signature to payment on a real chain."""

import asyncio
from pathlib import Path
from typing import Any, Final

from contracts.anvil import Anvil, Options
from intents.signature import SigningKey
from solver.client import Agent, BoughtIntent, Contributor, Market, MarketFault, Purchase
from solver.client.competitor import Competitor, Outcome
from solver.demo.model_upstream import MODEL
from solver.run import Node
from solver.strategies.milp import milp
from tests.canary import CANARY
from tests.patience import patience_s, until
from tests.system.load import LISTING
from tests.system.test_award import DEPOSIT, a_market_of_auctions, deposit, on_chain

CHAT: Final = "openai-compatible/chat:token"
PRICE: Final = 1_000
TOKEN: Final = 50
TOKENS: Final = 200
LATER_S: Final = 3
KINDS: Final = 7


def calls(units: int = 2, limit: int = 2 * PRICE, **terms: Any) -> Purchase:
    """So many calls, for so much each."""
    return Purchase(resource=LISTING, units=units, limit=units * limit, **terms)


def tokens(limit: int = 2 * TOKEN) -> Purchase:
    """As many tokens as an answer takes, and some."""
    return Purchase(resource=CHAT, units=TOKENS, limit=TOKENS * limit)


async def paid(*intents: BoughtIntent) -> list[str]:
    """Use each once, be done, and wait for what the chain says: how each ended."""
    for intent in intents:
        await intent.filled(1, timeout_seconds=patience_s())
        if intent.state.resource == LISTING:
            answer = await intent.call("GET", "/v1/models")
        else:
            message = {"role": "user", "content": "What does open return?"}
            body = {"model": MODEL, "max_tokens": 8, "messages": [message]}
            answer = await intent.call("POST", "/v1/chat/completions", json=body)
        assert answer.status == 200
        await intent.done()
    return [(await one.settled(timeout_seconds=patience_s())).status for one in intents]


async def test_every_kind_is_signed_shown_filled_and_paid_on_chain(tmp_path: Path) -> None:
    """In parts and whole, later and so often, together, either of two, and from good keys alone.

    Each limit is its own, and in the end chain and book agree on every atom.
    """
    heard, faults = list[Outcome](), list[MarketFault]()
    epochs = {"epoch_resources": [LISTING, CHAT]}
    with Anvil.start(Options(block_time_ms=200)) as anvil:
        async with (
            a_market_of_auctions(tmp_path, anvil, **epochs) as node,
            Market(node.url) as seen,
        ):
            seller = Contributor(seen, SigningKey.generate())
            key = (await seller.contribute("openai-compatible", CANARY, attest=True)).key
            buyer = SigningKey.generate()
            await deposit(node, buyer)
            agent = Agent(seen, buyer)
            minimum = await agent.intent(LISTING, units=4, limit=4 * 2 * PRICE, units_min=2)
            whole = await agent.intent(LISTING, units=3, limit=3 * 2 * PRICE, units_min=3)
            told = await seen.get("/v1/book", dict[str, Any], resource=LISTING)
            assert (told["waiting"], told["asks"]) == (2, [])
            solver = Competitor(
                node.url, SigningKey.generate(), milp, tell=heard.append, tell_fault=faults.append
            )
            competing = asyncio.create_task(solver.run())
            await seller.offer(LISTING, key=key, units=1_000, limit=1_000 * PRICE)
            await seller.offer(CHAT, key=key, units=100_000, limit=100_000 * TOKEN)
            assert await paid(minimum, whole) == ["settled"] * 2
            assert (minimum.state.filled_units, whole.state.filled_units) == (4, 3)
            await _not_before(agent)
            await _each_period(agent)
            await _together_and_either(agent)
            assert node.sequencer.market.state.keys[key].seen.rating() is not None
            await _of_a_quality(agent)
            competing.cancel()
            assert not faults
            assert sum(one.won > 0 for one in heard) >= KINDS
            await _agrees(node, buyer.address)


async def _not_before(agent: Agent) -> None:
    """Nothing is filled of it before its time, whatever is offered."""
    begins_s = agent.market.time_s() + LATER_S
    later = await agent.intent(LISTING, units=1, limit=2 * PRICE, delay_seconds=LATER_S)
    await later.filled(timeout_seconds=patience_s())
    assert agent.market.time_s() >= begins_s
    assert await paid(later) == ["settled"]


async def _each_period(agent: Agent) -> None:
    """Two periods, one signature; the second is filled when its own has come."""
    bought = await agent.buy_recurring(calls(), every_seconds=2 * LATER_S, times=2)
    first, second = [await agent.find(one.intent()) for one in bought]
    await first.filled(timeout_seconds=patience_s())
    assert (await agent.find(second.digest)).state.filled_units == 0
    assert await paid(first, second) == ["settled"] * 2


async def _together_and_either(agent: Agent) -> None:
    """All legs of the one; of the other the leg whose limit is above what is asked."""
    both = await agent.buy_bundle([calls(), tokens()])
    legs = await both.filled(timeout_seconds=patience_s())
    assert await paid(*legs) == ["settled"] * 2
    either = await agent.buy_bundle([calls(limit=PRICE // 2), tokens()], any_of=True)
    (leg,) = await either.filled(timeout_seconds=patience_s())
    assert leg.state.resource == CHAT
    assert await paid(leg) == ["settled"]


async def _of_a_quality(agent: Agent) -> None:
    """The one key has served enough calls by now to be known as good."""
    good = await agent.buy_bundle([calls()], success_min=900)
    (leg,) = await good.filled(timeout_seconds=patience_s())
    assert (leg.state.units, leg.state.filled_units) == (2, 2)
    assert await paid(leg) == ["settled"]


async def _agrees(node: Node, buyer: str) -> None:
    """What the buyer has on chain is what the market says, less than it had, and no alarm."""
    state = node.sequencer.market.state
    left = state.ledger.balance(buyer, state.usdc)
    await until(lambda: not left.debits_pending)
    assert await on_chain(node, buyer) == left.total < DEPOSIT
    assert (await node.reconcile()).is_clean
    assert not node.submitter.alarms
