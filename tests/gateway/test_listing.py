"""What an account has in the market is listed newest first, a page at a time, and is complete."""

from collections.abc import Awaitable, Callable

import pytest

from solver.client import Purchase, Rejected, Unreachable
from solver.client.market import ATTEMPTS_MAX, Market
from solver.gateway import document
from tests.builder import alice, bob, carol
from tests.core.sabotage import Patch, edited
from tests.gateway.world import DOCS, World, a_world

ONE = Purchase(resource=DOCS, units=1, limit=1)
PAGE = 3
PAGES_MAX = 10
SERVER_PAGE = 50


async def listed(world: World, path: str, account: str) -> list[str]:
    """All digests that pages of `PAGE` tell, each page as full as it can be."""
    pages: list[list[str]] = []
    after = ""
    while len(pages) < PAGES_MAX:
        target = f"/v1/{path}?account={account}&limit={PAGE}{after}"
        status, told, _ = await world.raw("GET", target)
        assert status == 200
        pages.append([one["digest"] for one in told[path]])
        if told["next"] is None:
            assert all(len(page) == PAGE for page in pages[:-1])
            assert pages[-1] or len(pages) == 1
            return [digest for page in pages for digest in page]
        after = f"&after={told['next']}"
    raise AssertionError("it goes on and on")


async def check_pages(world: World) -> None:
    """Newest first, each document once, each kind alone, and no one else's."""
    agent, seller, key = world.agent(alice), world.contributor(alice), await world.key(alice)
    bought, offered = list[str](), list[str]()
    for _ in range(2 * PAGE):
        bought.append((await agent.intent(DOCS, units=1, limit=1)).digest)
        await agent.mandate(limit=1, tick_max=1)
        offered.append((await seller.offer(DOCS, key=key, units=1, limit=10)).digest)
        await world.agent(carol).intent(DOCS, units=1, limit=1)
    assert await listed(world, "intents", alice.address) == bought[::-1]
    assert await listed(world, "offers", alice.address) == offered[::-1]
    bought.append((await agent.intent(DOCS, units=1, limit=1)).digest)
    assert await listed(world, "intents", alice.address) == bought[::-1]
    assert await listed(world, "intents", bob.address) == []


async def check_a_page_goes_on_after_its_own(world: World) -> None:
    """What is nowhere, or of another account, is no place to go on: it says so."""
    other = await world.agent(carol).intent(DOCS, units=1, limit=1)
    await world.agent(alice).intent(DOCS, units=1, limit=1)
    for after in (other.digest, "0x" + "ab" * 32):
        target = f"/v1/intents?account={alice.address}&after={after}"
        status, told, _ = await world.raw("GET", target)
        assert (status, told.get("code")) == (404, "not_found")


async def check_a_page_looks_at_so_many(world: World) -> None:
    """However few of a kind there are among others: it is short, then, and goes on."""
    key, agent, seller = await world.key(alice), world.agent(alice), world.contributor(alice)
    offered = list[str]()
    for _ in range(2):
        offered.append((await seller.offer(DOCS, key=key, units=1, limit=10)).digest)
        for _ in range(3):
            await agent.mandate(limit=1, tick_max=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "LOOKED_AT_MAX", 2)
        after, found, pages = "", list[str](), 0
        while pages < PAGES_MAX:
            _, told, _ = await world.raw("GET", f"/v1/offers?account={alice.address}{after}")
            found += [one["digest"] for one in told["offers"]]
            pages += 1
            if told["next"] is None:
                break
            after = f"&after={told['next']}"
    assert (found, pages) == (offered[::-1], 4)


CHECKS: list[tuple[Callable[[World], Awaitable[None]], list[Patch]]] = [
    (
        check_pages,
        [
            edited(document, "_page", "account.before(after)", "account.documents"),
            edited(document, "_page", "page[-1].digest", "found.digest"),
            edited(document, "_page", "== query.limit", "== query.limit + 1"),
        ],
    ),
    (
        check_a_page_looks_at_so_many,
        [
            edited(document, "_page", "looked_at == LOOKED_AT_MAX", "False"),
            edited(document, "_page", "_Page(page, cursor)", "_Page(page, None)"),
        ],
    ),
    (
        check_a_page_goes_on_after_its_own,
        [
            edited(document, "_page", "after is None or", "after is not None and"),
            edited(document, "_page", "or after.account != query.account", ""),
        ],
    ),
]


@pytest.mark.parametrize("check", [check for check, _ in CHECKS])
async def test_lists_are_whole(check: Callable[[World], Awaitable[None]], world: World) -> None:
    """As each check says."""
    await check(world)


@pytest.mark.parametrize(("check", "plant"), [(c, p) for c, plants in CHECKS for p in plants])
async def test_a_planted_bug_breaks_a_list(
    check: Callable[[World], Awaitable[None]], plant: Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told twice, left out or somebody else's is noticed."""
    async with a_world() as world:
        plant(monkeypatch)
        with pytest.raises((AssertionError, Rejected, AttributeError)):
            await check(world)


async def test_the_client_lists_all_there_are(world: World) -> None:
    """Over as many pages as it takes."""
    agent, seller, key = world.agent(alice), world.contributor(bob), await world.key(bob)
    bought = [one.digest for one in await agent.buy_many([ONE] * (SERVER_PAGE + 1))]
    offers = [await seller.offer(DOCS, key=key, units=1, limit=10) for _ in range(3)]
    assert [one.digest async for one in agent.intents()] == bought[::-1]
    assert [one.digest async for one in seller.offers()] == [one.digest for one in offers][::-1]


async def test_what_got_no_answer_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its fault names it, the list has it, and it is ended like any other: no money stays held."""
    await world.offering(bob)
    agent, seller, key = world.agent(alice), world.contributor(bob), await world.key(bob)
    once, lost = Market._once, list[str]()

    async def unheard(market: Market, method: str, target: str, *rest: object) -> object:
        try:
            return await once(market, method, target, *rest)  # type: ignore[arg-type]
        finally:
            lost.append(method)
            raise Unreachable("the line is cut")

    monkeypatch.setattr(Market, "_once", unheard)
    monkeypatch.setattr("solver.client.market.pause_seconds", lambda *_: 0.0)
    with pytest.raises(Unreachable) as told:
        await agent.intent(DOCS, units=2, limit=200)
    with pytest.raises(Unreachable) as told_offer:
        await seller.offer(DOCS, key=key, units=1, limit=100)
    monkeypatch.undo()
    assert lost == ["POST"] * 2 * ATTEMPTS_MAX
    (intent,) = [one async for one in agent.intents()]
    assert intent.digest in str(told.value)
    assert (await anext(seller.offers())).digest in str(told_offer.value)
    assert (await agent.balance()).usdc.held
    assert intent.state.filled_units == 2
    await intent.done()
    assert (await agent.balance()).usdc.held == 0
