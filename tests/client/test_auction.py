"""Anyone judges a past auction again, and comes to the same, byte for byte."""

import asyncio
import sys
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import pytest

from intents.document import Award
from intents.typed_data import digest
from solver.client import Rejected, Unexpected
from solver.client import auction_page as fetching
from solver.client.auction_page import all_of, auction_told, page_told
from solver.client.competitor import outcome
from solver.client.model import AuctionsTold, AuctionTold
from solver.client.record import awards_differ, record_of, replayed
from solver.core.auction import Auction
from solver.core.command import OpenAuction, SolutionFill, Tick
from solver.core.market import Market
from solver.gateway import auction_page as telling
from solver.strategies import price_time
from tests.builder import USDC, alice, bob, carol, dave
from tests.gateway.world import EPOCHS, World, a_world
from tests.journal.history import History, a_log
from tests.judging import SEED, solution

DEADLINE_BLOCK: Final = 1_000
LONG_MS: Final = 600_000
"""No auction closes by itself while a test runs."""


async def _an_auction(world: World, *, closed: bool = True) -> int:
    """Two solvers, one over HTTP alone, three solutions; a buyer withdraws before the close."""
    await world.offering(bob, units=9, limit=90, resource=EPOCHS)
    buyers = [await world.agent(who).intent(EPOCHS, units=4, limit=80) for who in (alice, dave)]
    closes = world.sequencer.now_ms() + LONG_MS
    await world.do(
        OpenAuction(
            resources=(EPOCHS,),
            asset=USDC,
            closes_at_ms=closes,
            seed=SEED,
            deadline_block=DEADLINE_BLOCK,
        )
    )
    async with world.solver(carol).connect() as desk:
        auction = await anext(aiter(desk))
        (book,) = auction.snapshot.books
        lines = [
            SolutionFill(intent=one.id, offer=book.offers[0].id, units=4) for one in book.intents
        ]
        await desk.propose(auction, solution(15_000_000, lines, EPOCHS))
        await desk.propose(auction, solution(16_000_000, lines[:1], EPOCHS))
        body = {
            "snapshot": auction.snapshot_hash,
            "books": msgspec.to_builtins(solution(17_000_000, lines[1:], EPOCHS).books),
        }
        target = f"/v1/auctions/{auction.number}/solutions"
        status, told, _ = await world.signed(dave, "POST", target, body)
        assert (status, told["auction"]) == (201, auction.number)
        status, again, _ = await world.signed(dave, "POST", target, body)
        assert (status, again["code"]) == (409, "solution_duplicate")
        await buyers[1].cancel()
        if closed:
            world.clock.ahead_ms += LONG_MS
            await world.do(Tick())
            verdicts = await desk.verdicts(auction)
            assert {verdict.bid for verdict in verdicts} & {told["bid"]} == set()
    return auction.number


async def _record(world: World, number: int) -> AuctionTold:
    return await auction_told(world.market, number)


async def test_a_record_leads_to_what_the_market_told() -> None:
    """In whatever order its solutions come; what was withdrawn before the close is in it."""
    async with a_world() as world:
        number = await _an_auction(world)
        told = await _record(world, number)
        found = replayed(record_of(told))
        assert found.differs == ()
        assert told.shrunk
        assert [place.code for place in found.ranking].count("") == 1
        shuffled = list(told.solutions)
        for seed in range(6):
            Random(seed).shuffle(shuffled)  # noqa: S311  test data
            other = msgspec.structs.replace(told, solutions=tuple(shuffled))
            assert replayed(record_of(other)).text() == found.text()
        listed = await world.market.get("/v1/auctions", AuctionsTold, limit=5)
        (one,) = listed.auctions
        assert (one.auction, one.resources, one.solutions) == (number, (EPOCHS,), 3)
        assert (one.winners, one.score, one.gap) == (told.winners, told.score, "0")


async def test_a_record_in_pages_is_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pages it has, and if it closes between two of them."""
    async with a_world() as world:
        number = await _an_auction(world)
        whole = await _record(world, number)
        assert whole.next is None
        monkeypatch.setattr(telling, "ROWS_MAX", 1)
        first = await page_told(world.market, number)
        assert (len(first.snapshot["books"]), first.solutions, first.next) == (1, (), 1)
        sealed = msgspec.structs.replace(first, closed=False)
        for start in (first, sealed):
            again = await all_of(world.market, start)
            assert msgspec.json.encode(again) == msgspec.json.encode(whole)
        past = await page_told(world.market, number, after=5)
        assert (past.snapshot["books"], past.solutions, past.next) == ([], (), None)


async def test_pages_without_an_end_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A market that tells of a next page again and again is a fault, after so many."""
    async with a_world() as world:
        number = await _an_auction(world)
        monkeypatch.setattr(telling, "ROWS_MAX", 1)
        monkeypatch.setattr(fetching, "PAGES_MAX", 4)
        with pytest.raises(Unexpected, match="pages"):
            await _record(world, number)


async def test_the_winners_award_is_told_as_it_was_signed() -> None:
    """What it is for follows from the record; other prices, units, fills or roots do not."""
    async with a_world() as world:
        told = await _record(world, await _an_auction(world))
        (award,) = told.awards
        document = Award(
            auction=told.auction,
            solver=carol.address,
            solution=award.solution,
            deadline_block=DEADLINE_BLOCK,
        )
        hashed = digest(world.gateway.rules.domain.prefix(), document)
        assert award.signature == world.gateway.receipt_key.sign(hashed)
        assert not awards_differ(told)
        (fill,) = award.fills
        assert (fill["buyer"], fill["seller"], fill["units"]) == (alice.address, bob.address, 4)
        won = outcome(record_of(told), carol.address, [], shadow=False)
        assert won.reward - 2 * 4 <= won.charged == 4 * fill["charge"] <= won.reward
        forged: list[dict[str, Any]] = [
            *({"fills": ({**fill, name: fill[name] + 1},)} for name in ("tick", "charge", "units")),
            {"fills": ({**fill, "buyerNonce": fill["buyerNonce"] + 1},)},
            {"fills": ()},
            {"solution": "0x" + "00" * 32},
            {"solver": dave.address},
        ]
        for change in forged:
            other = msgspec.structs.replace(award, **change)
            assert awards_differ(msgspec.structs.replace(told, awards=(other,))), change
        assert awards_differ(msgspec.structs.replace(told, awards=()))


async def test_what_the_market_tells_wrongly_is_named() -> None:
    """Another winner, score, seed, bid or snapshot than follows from the record."""
    async with a_world() as world:
        told = await _record(world, await _an_auction(world))
        first = told.solutions[0]
        forged: dict[str, dict[str, Any]] = {
            "score": {"score": "1"},
            "gap": {"gap": "1"},
            "winners": {"winners": ()},
            "seed": {"seed": "00" * 32},
            "bids": {"solutions": (msgspec.structs.replace(first, solver=bob.address),)},
            "snapshot": {"snapshot_hash": "0x" + "00" * 32},
        }
        for name, change in forged.items():
            found = replayed(record_of(msgspec.structs.replace(told, **change)))
            assert name in found.differs, name


async def test_an_open_auction_is_sealed() -> None:
    """There is nothing to judge, and the list does not say how many have bid."""
    async with a_world() as world:
        number = await _an_auction(world, closed=False)
        with pytest.raises(Rejected, match="sealed"):
            record_of(await _record(world, number))
        (one,) = (await world.market.get("/v1/auctions", AuctionsTold)).auctions
        assert (one.closed, one.solutions) == (False, 0)


async def test_the_command_prints_the_same_bytes_everywhere(tmp_path: Path) -> None:
    """In other processes, whatever their hashes of strings; from the market or from its journal."""
    async with a_world() as world:
        number = await _an_auction(world)
        url = ("--url", world.url)
        texts = {await _command(str(number), *url, hashseed=str(seed)) for seed in (0, 1, 2)}
        assert texts == {(0, replayed(record_of(await _record(world, number))).text() + b"\n")}
        code, _ = await _command(str(number + 9), *url)
        assert code == 1
    log = a_log(89, 320)
    History.at(tmp_path).play(log).journal.close()
    market = Market(USDC)
    for command in log:
        market.apply(command)
    closed = [auction for auction in market.state.auctions.values() if auction.closed]
    assert closed
    for auction in closed:
        number = auction.snapshot.auction
        code, text = await _command(str(number), "--journal", str(tmp_path))
        assert (code, text) == (0, _text(auction))
    code, _ = await _command("999999", "--journal", str(tmp_path))
    assert code == 1


def _text(auction: Auction) -> bytes:
    found = replayed(auction)
    assert found.differs == ()
    return found.text() + b"\n"


async def _a_floor(world: World) -> int:
    """A closed auction that the book alone won, who passed over an intent that is all or none."""
    await world.offering(bob, units=10, limit=100, resource=EPOCHS)
    await world.agent(alice).intent(EPOCHS, units=8, limit=800, units_min=8)
    await world.agent(alice).intent(EPOCHS, units=5, limit=250)
    closes = world.sequencer.now_ms() + LONG_MS
    await world.do(OpenAuction(resources=(EPOCHS,), asset=USDC, closes_at_ms=closes, seed=SEED))
    async with world.solver(carol).connect() as desk:
        auction = await anext(aiter(desk))
        (floor,) = price_time(auction.snapshot)
        await desk.propose(auction, floor)
        world.clock.ahead_ms += LONG_MS
        await world.do(Tick())
    return auction.number


ROOT: Final = Path(__file__).parents[2]
IDLE: Final = "\ndef idle(snapshot):\n    return []\n"


def _own() -> str:
    """The strategy that README.md shows, and one that never bids."""
    shown = (ROOT / "README.md").read_text().split("```python\n# mine.py")
    return "#" + shown[1].split("```")[0] + IDLE


async def test_a_strategy_is_tried_on_a_past_auction_without_a_trace(tmp_path: Path) -> None:
    """Ours would have won what the book passed over, as README.md's own would; nothing changes.

    Who proposes nothing would have won nothing; from the market's record and from its journal
    alike. What is no strategy, and an auction that is open, is refused with the reason.
    """
    (tmp_path / "mine.py").write_text(_own())
    async with a_world() as world:
        number = str(await _a_floor(world))
        before, record = world.state_hash(), record_of(await _record(world, int(number)))
        found = {
            name: await _shadow(number, "--strategy", name, "--url", world.url, cwd=tmp_path)
            for name in ("batch", "mine:best", "mine:idle", "mine:absent", "none")
        }
        again = await world.market.get("/v1/auctions", AuctionsTold, limit=5)
        assert (world.state_hash(), len(again.auctions)) == (before, 1)
    assert replayed(record).differs == ()
    for name in ("batch", "mine:best"):
        code, told = found[name]
        assert (code, told["won"], told["shadow"], told["differs"]) == (0, 1, True, [])
        assert told["score"] > int(record.score) == told["reference"]
        assert told["reward"] == told["score"] - told["reference"]
    assert (found["mine:idle"][0], found["mine:idle"][1]["won"]) == (0, 0)
    assert [found[name] for name in ("mine:absent", "none")] == [(1, {}), (1, {})]


async def test_a_strategy_is_tried_on_what_the_journal_has(tmp_path: Path) -> None:
    """However old the auction is; the folder is as it was."""
    log = a_log(89, 320)
    History.at(tmp_path).play(log).journal.close()
    market = Market(USDC)
    for command in log:
        market.apply(command)
    number = next(name for name, one in market.state.auctions.items() if one.closed)
    before = _files(tmp_path)
    code, told = await _shadow(
        str(number), "--strategy", "milp", "--journal", str(tmp_path), cwd=tmp_path
    )
    assert (code, told["auction"], told["differs"]) == (0, number, [])
    assert int(market.state.auctions[number].score) == told["market_score"]
    assert _files(tmp_path) == before


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def _shadow(*arguments: str, cwd: Path) -> tuple[int, dict[str, Any]]:
    code, text = await _command(*arguments, "--json", command="shadow", cwd=cwd)
    return code, msgspec.json.decode(text) if text else {}


async def _command(
    *arguments: str, hashseed: str = "0", command: str = "replay", cwd: Path | None = None
) -> tuple[int, bytes]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "solver.cli", "auction", command, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=cwd,
        env={"PYTHONHASHSEED": hashseed, "PATH": "", "PYTHONPATH": ":".join(sys.path)},
    )
    text, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, text
