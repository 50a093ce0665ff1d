"""What people do with the market, through the SDK, from the first signature to the last."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from openai import AsyncOpenAI

from intents.reject import RejectCode, reject
from intents.signature import SigningKey
from solver.client import Agent, Contributor, Market, NotFilled, Rejected, Solver, Unreachable
from solver.core.auction import seed_hash
from solver.core.command import CutBatch, KeyEnd, Limit, OpenAuction, RetireKey, SolutionFill
from solver.core.event import BatchCut, CallFinished
from solver.core.fact import BatchSettled, EpochBumped, FillSettled
from solver.core.quality import SEEN_MIN, SUCCESS_WHOLE
from solver.gateway.wire import PAGE_DEFAULT
from tests.builder import USDC, alice, bob, carol, dave
from tests.canary import CANARY
from tests.gateway.world import ATTESTATION, CHAT, DOCS, EPOCHS, RECEIPT_KEY, RICH, World
from tests.judging import SEED, solution
from tests.patience import a_while, patience_s, patiently, until


async def test_a_first_intent_takes_ten_lines(world: World) -> None:
    """The README's example works as it stands there."""
    await world.offering(bob)
    secret, url = alice.key.secret(), world.url
    async with Market(url) as market:
        agent = Agent(market, SigningKey(secret))
        intent = await agent.intent(DOCS, units=10, limit=50_000)
        await intent.filled()
        answer = await intent.call("GET", "/docs/pages.json", query={"_search": "kiwi"})
    assert answer.status == 200
    assert answer.json()["path"] == "/docs/pages.json"
    assert answer.json()["query"] == {"_search": "kiwi"}
    assert (answer.units, answer.lease) == (1, intent.state.leases[0])


async def test_waiting_hears_of_a_fill_that_comes_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`filled` returns when an offer arrives, without asking again and again."""
    agent = world.agent(alice)
    intent = await agent.intent(DOCS, units=10, limit=1_000)
    asked: list[object] = []
    ask = world.market.get

    async def counted(path: str, *arguments: Any, **query: Any) -> Any:
        asked.append(path)
        return await ask(path, *arguments, **query)

    monkeypatch.setattr(world.market, "get", counted)
    waiting = asyncio.create_task(intent.filled(timeout_seconds=patience_s()))
    await until(lambda: len(world.gateway.load.feeds))
    await a_while()
    assert len(asked) == 1, "one look, then the feed"
    await world.offering(bob)
    state = await waiting
    assert (state.filled_units, state.status) == (10, "filled")
    assert len(asked) <= 4


async def test_many_waiters_share_one_feed(world: World) -> None:
    """Twenty intents of one agent are waited for over one socket."""
    agent = world.agent(alice)
    intents = [await agent.intent(DOCS, units=1, limit=100) for _ in range(20)]
    waiting = [
        asyncio.create_task(intent.filled(timeout_seconds=patience_s())) for intent in intents
    ]
    await until(lambda: len(world.gateway.load.feeds))
    await a_while()
    assert len(world.gateway.load.feeds) == 1
    await world.offering(bob, units=20, limit=20)
    states = await asyncio.gather(*waiting)
    assert {state.status for state in states} == {"filled"}


async def test_from_signature_to_settled_payment(world: World) -> None:
    """Delivered units are paid, the rest is released, and both sides read the same."""
    await world.offering(bob, units=10, limit=100)
    agent, seller = world.agent(alice), world.contributor(bob)
    intent = await agent.intent(DOCS, units=10, limit=200)
    await intent.filled()
    for _ in range(3):
        await intent.call("GET", "/a")
    assert (await agent.balance()).usdc.held == 100
    await intent.done()
    state = await intent.refresh()
    assert (state.status, state.owed, state.delivered_units) == ("delivered", 30, 3)
    waiting = asyncio.create_task(intent.settled(timeout_seconds=patience_s()))
    await _settle(world)
    state = await waiting
    assert (state.status, state.paid, state.owed) == ("settled", 30, 0)
    assert (await agent.balance()).usdc.total == RICH - 30
    assert (await seller.balance()).usdc.total == RICH + 30


async def _settle(world: World) -> None:
    (cut,) = (await world.do(CutBatch(fills_max=10))).events
    assert isinstance(cut, BatchCut)
    paid = [FillSettled(fill=line.fill, payment=line.payment) for line in cut.lines]
    await world.chain(*paid, BatchSettled(number=cut.number, digest=cut.digest))


async def test_an_intent_that_ends_unfilled_says_so(world: World) -> None:
    """An immediate intent without supply is NotFilled, not a time-out."""
    intent = await world.agent(alice).intent(DOCS, units=1, limit=100, immediate=True)
    with pytest.raises(NotFilled) as caught:
        await intent.filled(timeout_seconds=patience_s())
    assert (caught.value.code, caught.value.filled_units) == ("intent_unfilled", 0)


async def test_cancelling_releases_money_and_is_refused_when_too_late(world: World) -> None:
    """What is not filled can be withdrawn; what is filled cannot."""
    agent = world.agent(alice)
    intent = await agent.intent(DOCS, units=1, limit=100)
    assert (await agent.balance()).usdc.held == 100
    await intent.cancel()
    assert (await agent.balance()).usdc.held == 0
    await world.offering(bob)
    filled = await agent.intent(DOCS, units=1, limit=100)
    with pytest.raises(Rejected) as caught:
        await filled.cancel()
    assert (caught.value.code, caught.value.status) == ("too_late", 409)


async def test_a_session_key_buys_within_its_cap_only(world: World) -> None:
    """An agent with a session key needs no other key, and cannot exceed its cap."""
    await world.granting(dave, alice, cap=150)
    await world.offering(bob)
    agent = world.agent(dave, alice.address)
    intent = await agent.intent(DOCS, units=1, limit=100)
    await intent.filled()
    assert (await intent.call("GET", "/a")).status == 200
    with pytest.raises(Rejected) as caught:
        await agent.intent(DOCS, units=1, limit=200)
    assert (caught.value.code, caught.value.status) == ("session_cap_exceeded", 402)
    session = (await agent.balance()).sessions[0]
    assert (session.address, session.cap, session.live) == (dave.address, 150, True)


async def test_the_sdk_finds_the_accounts_epoch_by_itself(world: World) -> None:
    """After an epoch ended on chain the next intent is signed for the new one."""
    await world.chain(EpochBumped(account=alice.address, epoch=3))
    intent = await world.agent(alice).intent(DOCS, units=1, limit=100)
    assert world.sequencer.market.state.intents[intent.digest].document.epoch == 3


async def test_submitting_the_same_document_twice_is_one_intent(world: World) -> None:
    """A retry whose first answer was lost returns the intent that got through."""
    agent = world.agent(alice)
    first = await agent.intent(DOCS, units=1, limit=100)
    document = world.sequencer.market.state.intents[first.digest].document
    again = await agent.submit(document)
    assert again.digest == first.digest
    assert len(world.sequencer.market.state.intents) == 1


async def test_contributor_pools_with_attestation_looks_and_revokes(world: World) -> None:
    """A key's life through the SDK; after revoke it serves nobody and is erased."""
    seller = world.contributor(bob)
    pooled = await seller.contribute("datasette", CANARY, attest=True)
    attested = world.vault.attested[0]
    assert attested is not None
    assert attested.document.statement == ATTESTATION
    assert (await seller.health(pooled.key)).status == "healthy"
    offer = await seller.offer(DOCS, key=pooled.key, units=5, limit=5, window=(2, 60))
    intent = await world.agent(alice).intent(DOCS, units=5, limit=50)
    await intent.filled()
    await intent.call("GET", "/a")
    await seller.revoke(pooled.key)
    assert world.vault.erased == [pooled.key]
    with pytest.raises(Rejected) as caught:
        await intent.call("GET", "/a")
    assert caught.value.code == "lease_ended"
    assert not (await seller.market.get(f"/v1/offers/{offer.digest}", dict))["live"]
    await seller.revoke(pooled.key)


async def test_contributors_find_their_keys_again(world: World) -> None:
    """Page by page each sees its own, in their order, and what became of them; nobody others'."""
    seller, world.vault.limits = world.contributor(bob), (Limit(units=100, seconds=60),)
    mine = [await world.key(bob, str(one)) for one in range(PAGE_DEFAULT + 1)]
    await world.key(carol)
    await world.do(RetireKey(key=mine[0], reason=KeyEnd.DEAD))
    await seller.offer(DOCS, key=mine[1], units=100, limit=100)
    intent = await world.agent(alice).intent(DOCS, units=SEEN_MIN + 1, limit=1_000)
    await intent.filled()
    for _ in range(SEEN_MIN):
        await intent.call("GET", "/a")

    found = await seller.keys()

    assert [one.key for one in found] == mine
    assert [one.live for one in found] == [False] + [True] * PAGE_DEFAULT
    assert DOCS in found[1].resources
    assert [one.leases for one in found[:3]] == [0, 1, 0]
    assert found[1].rating is not None
    assert found[1].rating.success == SUCCESS_WHOLE
    assert [(one.occupied, one.units) for one in found[1].windows] == [(SEEN_MIN, 100)]
    assert found[2].rating is None


async def test_a_dead_key_can_still_be_erased(world: World) -> None:
    """Revoking a key that already left the pool erases it all the same."""
    key = await world.key(bob)
    await world.do(RetireKey(key=key, reason=KeyEnd.DEAD))
    await world.contributor(bob).revoke(key)
    assert world.vault.erased == [key]


async def test_a_key_that_the_market_refuses_is_erased_again(world: World) -> None:
    """Custody and market agree: a sealed key that cannot be pooled does not stay sealed."""
    world.vault.resources = ("datasette/unlisted:call",)
    with pytest.raises(Rejected) as caught:
        await world.contributor(bob).contribute("datasette", "sk-2")
    assert (caught.value.code, caught.value.status) == ("resource_unknown", 404)
    assert world.vault.secrets == {}


async def test_withdrawing_an_offer_ends_it(world: World) -> None:
    """A withdrawn offer is out of the book, and cannot be withdrawn again."""
    seller = world.contributor(bob)
    offer = await seller.offer(DOCS, key=await world.key(bob), units=5, limit=50)
    _, book, _ = await world.raw("GET", f"/v1/book?resource={DOCS}")
    assert book["asks"] == [{"tick": 10_000_000, "units": 5, "orders": 1}]
    await seller.withdraw(offer.digest)
    _, book, _ = await world.raw("GET", f"/v1/book?resource={DOCS}")
    assert book["asks"] == []
    with pytest.raises(Rejected) as caught:
        await seller.withdraw(offer.digest)
    assert caught.value.code == "not_open"


async def test_an_answer_streams_chunk_by_chunk(world: World) -> None:
    """The first chunk arrives while the upstream still holds the second."""
    await world.offering(bob)
    intent = await world.agent(alice).intent(DOCS, units=1, limit=100)
    await intent.filled()
    async with intent.stream("GET", "/stream") as stream:
        chunks = aiter(stream)
        async with patiently():
            assert await anext(chunks) == b"data: 1\n\n"
        assert not world.upstream.release.is_set()
        world.upstream.release.set()
        assert b"".join([chunk async for chunk in chunks]) == b"data: 2\n\n"
    assert "keyfill-units" not in stream.headers
    assert stream.lease == intent.state.leases[0]


async def test_a_client_that_leaves_ends_its_call(world: World) -> None:
    """Leaving a stream early finishes the call and closes the upstream."""
    await world.offering(bob)
    intent = await world.agent(alice).intent(DOCS, units=1, limit=100)
    await intent.filled()
    async with intent.stream("GET", "/stream") as stream:
        await anext(aiter(stream))
    world.upstream.release.set()
    async with patiently():
        async for event in _events(world):
            if event == CallFinished.__name__:
                break
    assert world.vault.answers[0].closed == 1
    assert world.sequencer.market.state.calls == {}


async def _events(world: World) -> AsyncIterator[str]:
    async with world.market.feed() as events:
        async for event in events:
            yield event.event


async def test_a_broken_answer_is_cut_not_completed(world: World) -> None:
    """Where the upstream breaks off, the client sees a break, never a whole answer."""
    await world.offering(bob)
    intent = await world.agent(alice).intent(DOCS, units=1, limit=100)
    await intent.filled()
    with pytest.raises(Unreachable):
        await intent.call("GET", "/cut")
    await until(lambda: world.sequencer.market.state.calls == {})


async def test_upstream_errors_are_answers_and_ours_are_rejects(world: World) -> None:
    """A 404 of the upstream comes through as it is; a refusal of ours is raised."""
    await world.offering(bob)
    intent = await world.agent(alice).intent(DOCS, units=10, limit=1_000)
    await intent.filled()
    answer = await intent.call("GET", "/missing")
    assert (answer.status, answer.json()) == (404, {"error": "no such page"})
    world.vault.refusing = reject(RejectCode.UPSTREAM_FAILED)
    with pytest.raises(Rejected) as caught:
        await intent.call("GET", "/a")
    assert (caught.value.code, caught.value.status) == ("upstream_failed", 502)


async def test_large_answers_pass_whole(world: World) -> None:
    """300 KB come through unchanged, though more than is ever gathered."""
    await world.offering(bob)
    intent = await world.agent(alice).intent(DOCS, units=1, limit=100)
    await intent.filled()
    assert (await intent.call("GET", "/large")).body == b"x" * 300_000


async def test_headers_between_client_and_us_stay_there(world: World) -> None:
    """Neither grant nor cookies go to the upstream; nor do its private headers come back."""
    await world.offering(bob)
    intent = await world.agent(alice).intent(DOCS, units=2, limit=200)
    await intent.filled()
    answer = await intent.call(
        "GET",
        "/nasty",
        headers={
            "Cookie": "a=b",
            "X-Forwarded-For": "1.2.3.4",
            "Proxy-Thing": "1",
            "X-Mine": "1",
            "X-Hop": "1",
            "Connection": "X-Hop",
        },
    )
    seen = dict(world.vault.requests[0].headers)
    assert seen["x-mine"] == "1"
    gone = {"authorization", "cookie", "x-forwarded-for", "proxy-thing", "host", "x-hop"}
    assert gone.isdisjoint(seen)
    assert {"set-cookie", "settlement-overrides", "server"}.isdisjoint(answer.headers)
    assert answer.units == 1, "the upstream's Keyfill-Units is not ours"


async def test_a_call_described_in_json(world: World) -> None:
    """POST /v1/keys/proxy does the same as the pass-through."""
    await world.offering(bob)
    intent = await world.agent(alice).intent(DOCS, units=3, limit=300)
    await intent.filled()
    bearer = f"Bearer {await intent.grant()}"
    body = {
        "method": "POST",
        "path": "/echo",
        "query": {"a": ["1", "2"], "b": "ü"},
        "headers": {"X-Mine": "1"},
        "body": {"account": "0xAB" + "AB" * 19, "n": 1},
    }
    status, told, headers = await world.raw(
        "POST", "/v1/keys/proxy", msgspec.json.encode(body), Authorization=bearer
    )
    assert (status, headers["keyfill-units"]) == (200, "1")
    assert msgspec.json.decode(told["body"]) == body["body"], "passed on as it was"
    assert world.vault.requests[0].query == "a=1&a=2&b=%C3%BC"


async def test_an_unmodified_openai_client_works(world: World) -> None:
    """With the proxy as its base URL and a grant as its key, plain and streaming."""
    await world.offering(bob, units=100, limit=100, resource=CHAT)
    intent = await world.agent(alice).intent(CHAT, units=50, limit=500)
    await intent.filled()
    async with AsyncOpenAI(
        base_url=f"{intent.proxy_url}/v1", api_key=await intent.grant(), max_retries=0
    ) as client:
        said = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}]
        )
        assert said.choices[0].message.content == "echo hi"
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        words = [chunk.choices[0].delta.content async for chunk in stream]
    assert words == ["kiwi", "fruit"]
    assert world.upstream.seen[0].path == "/v1/chat/completions"


async def test_a_solver_bids_and_hears_its_verdict(world: World) -> None:
    """Auctions reach solvers, solutions are sealed until the close, each gets its reason."""
    await world.offering(bob, units=5, limit=50, resource=EPOCHS)
    buyer = await world.agent(alice).intent(EPOCHS, units=5, limit=100)
    async with world.solver(carol).connect() as desk, world.solver(dave).connect() as late:
        closes = world.sequencer.now_ms() + 1_500
        await world.do(OpenAuction(resources=(EPOCHS,), asset=USDC, closes_at_ms=closes, seed=SEED))
        auction = await anext(aiter(desk))
        (book,) = auction.snapshot.books
        bid, ask = book.intents[0], book.offers[0]
        best = [SolutionFill(intent=bid.id, offer=ask.id, units=5)]
        await desk.propose(auction, solution(15_000_000, best, EPOCHS))
        with pytest.raises(Rejected) as caught:
            await desk.propose(auction, solution(15_000_000, best, EPOCHS))
        assert caught.value.code == "solution_duplicate"
        worse = [SolutionFill(intent=bid.id, offer=ask.id, units=2)]
        await late.propose(await anext(aiter(late)), solution(15_000_000, worse, EPOCHS))
        _, sealed, _ = await world.raw("GET", f"/v1/auctions/{auction.number}")
        assert (sealed["closed"], sealed["solutions"], sealed["seed"]) == (False, [], "")
        assert sealed["snapshotHash"] == auction.snapshot_hash
        (won,) = await desk.verdicts(auction)
        (lost,) = await late.verdicts(auction)
    assert (won.rank, won.code, won.score) == (1, "", 5 * 10_000_000)
    assert (lost.rank, lost.code) == (2, "outbid")
    _, shown, _ = await world.raw("GET", f"/v1/auctions/{auction.number}")
    (winner,) = shown["winners"]
    assert (winner["solver"], winner["bids"]) == (carol.address, [won.bid])
    assert (winner["score"], winner["reference"]) == ("50000000", "20000000")
    assert (shown["score"], shown["gap"], shown["shrunk"]) == ("50000000", "0", {})
    assert seed_hash(shown["seed"]) == shown["snapshot"]["seedHash"]
    assert [solution["solver"] for solution in shown["solutions"]] == [carol.address, dave.address]
    assert (await buyer.refresh()).filled_units == 5


async def test_a_solver_that_comes_late_still_sees_the_open_auction(world: World) -> None:
    """Connecting during an auction shows it."""
    await world.offering(bob, units=5, limit=50, resource=EPOCHS)
    await world.agent(alice).intent(EPOCHS, units=5, limit=100)
    closes = world.sequencer.now_ms() + 5_000
    await world.do(OpenAuction(resources=(EPOCHS,), asset=USDC, closes_at_ms=closes, seed=SEED))
    async with Solver(world.market, carol.key).connect() as desk:
        assert (await anext(aiter(desk))).snapshot.books[0].resource == EPOCHS


async def test_reading_needs_no_account(world: World) -> None:
    """Market, providers, capacity, batches and pages of documents are public."""
    await world.offering(bob, units=10, limit=100)
    intents = [await world.agent(alice).intent(DOCS, units=1, limit=10) for _ in range(5)]
    _, market, _ = await world.raw("GET", "/v1/market")
    assert [listed["resource"] for listed in market["resources"]] == sorted([DOCS, CHAT, EPOCHS])
    _, capacity, _ = await world.raw("GET", f"/v1/keys/capacity?resource={DOCS}")
    (one,) = capacity["resources"]
    assert (one["keys"], one["offers"], one["unitsFree"], one["bestTick"]) == (1, 1, 5, 10_000_000)
    query = f"account={alice.address.upper().replace('0X', '0x')}"
    _, first, _ = await world.raw("GET", f"/v1/intents?{query}&limit=3")
    _, rest, _ = await world.raw("GET", f"/v1/intents?{query}&limit=3&after={first['next']}")
    listed = [told["digest"] for told in (*first["intents"], *rest["intents"])]
    assert listed == [intent.digest for intent in intents][::-1]
    assert rest["next"] is None
    for side in (alice, bob):
        _, fills, _ = await world.raw("GET", f"/v1/fills?account={side.address}&limit=2")
        assert [fill["intent"] for fill in fills["fills"]] == listed[:2]
    _, batches, _ = await world.raw("GET", "/v1/batches")
    assert batches == {"batches": []}


async def test_a_lone_contributor_is_not_attested_by_a_session(world: World) -> None:
    """A session key cannot give the account's word on a provider's terms."""
    await world.granting(dave, bob)
    with pytest.raises(Rejected) as caught:
        await Contributor(world.market, dave.key, bob.address).contribute(
            "datasette", "sk", attest=True
        )
    assert (caught.value.code, caught.value.status) == ("not_authorized", 403)
    assert world.vault.secrets == {}


async def test_a_receipt_says_what_was_used_over_the_markets_signature(world: World) -> None:
    """Cumulative, exact, and signed by the operator's key; a forged one is not taken."""
    await world.offering(bob)
    intent = await world.agent(alice).intent(DOCS, units=5, limit=5_000)
    await intent.filled()
    before = await intent.receipt()
    await intent.call("GET", "/a")
    after = await intent.receipt()
    lease = (await intent.leases())[0]
    assert (before.document.delivered, before.document.payment) == (0, 0)
    assert (after.document.delivered, after.document.payment) == (1, lease.payment)
    assert after.signer == RECEIPT_KEY.address
    more = msgspec.structs.replace(after.document, delivered=2)
    assert intent._market.signer_of(more, after.signature) != after.signer
