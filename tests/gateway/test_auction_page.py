"""A page of an auction's record: bounded, and all pages together are the record."""

from typing import Final

import msgspec
import pytest

from solver.core.auction import Auction, SnapshotBundle
from solver.core.command import SolutionFill
from solver.engine.award import SignedAward
from solver.gateway import auction_page
from solver.gateway.auction_page import ROWS_MAX, auction_told
from solver.gateway.competition import AuctionTold
from tests.core.sabotage import edited
from tests.judging import an_auction, book, order, snapshot, solution

BOOKS: Final = 9
SIDE: Final = 1_500


def _id(side: int, place: int, number: int) -> str:
    return f"0x{side:02x}{place:02x}{number:060x}"


SHRUNK: Final = {_id(1, 0, 1): 3, _id(2, 8, 2): 0}
"""Of the first book's intents, and of the last one's offers."""


def _large() -> Auction:
    """Nine books of 3,000 orders, a bundle, and a solution of a thousand fills for each book."""
    books = [
        book(
            [order(_id(1, b, n), "buyer", 90, 9) for n in range(SIDE)],
            [order(_id(2, b, n), "seller", 10, 9) for n in range(SIDE)],
            resource=f"r{b}",
        )
        for b in range(BOOKS)
    ]
    legs = SnapshotBundle(id="all", any_of=False, legs=(_id(1, 0, 0), _id(1, 1, 0)))
    made = [
        (
            f"s{b}",
            solution(
                50,
                [
                    SolutionFill(intent=_id(1, b, n), offer=_id(2, b, n), units=9)
                    for n in range(1_000)
                ],
                f"r{b}",
            ),
        )
        for b in range(BOOKS)
    ]
    auction = an_auction(snapshot(*books, bundles=[legs]), made, SHRUNK)
    auction.closed = True
    return auction


def _unsigned(_: object) -> SignedAward:
    raise AssertionError("nobody won an award")


def _pages(auction: Auction) -> list[AuctionTold]:
    pages = [auction_told(auction, (), _unsigned)]
    while (after := pages[-1].next) is not None:
        pages.append(auction_told(auction, (), _unsigned, after))
    return pages


def check_pages() -> None:
    """Pages are bounded; put together they have every part once, in the record's order."""
    auction = _large()
    pages = _pages(auction)
    for page in pages:
        orders = sum(len(one.intents) + len(one.offers) for one in page.snapshot.books)
        lines = sum(len(one.fills) for made in page.solutions for one in made.books)
        assert 0 < orders + lines <= ROWS_MAX
    told = [one.resource for page in pages for one in page.snapshot.books]
    assert told == [f"r{b}" for b in range(BOOKS)]
    assert [one.id for page in pages for one in page.snapshot.bundles] == ["all"]
    assert [made.solver for page in pages for made in page.solutions] == [
        f"s{b}" for b in range(BOOKS)
    ]
    assert [page.shrunk for page in pages if page.shrunk] == [
        {name: units} for name, units in SHRUNK.items()
    ]
    assert len(pages) == 6
    assert max(len(msgspec.json.encode(page)) for page in pages) < 2_000_000


def test_pages_are_bounded_and_whole() -> None:
    """As `check_pages` says."""
    check_pages()


def test_a_part_that_is_too_large_is_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told alone, so that every page goes on."""
    monkeypatch.setattr(auction_page, "ROWS_MAX", 1)
    assert len(_pages(_large())) == 2 * BOOKS + 1


def test_an_open_auction_is_sealed_on_every_page() -> None:
    """No page, however far, has a solution, its seed or who is in it."""
    auction = _large()
    auction.closed = False
    for after in (0, 4, BOOKS, BOOKS + 1, BOOKS + 5, 10**9):
        page = auction_told(auction, (), _unsigned, after)
        assert (page.solutions, page.seed) == ((), "")
    assert auction_told(auction, (), _unsigned, BOOKS).next is None


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("_page", "rows > ROWS_MAX", "rows > 10 * ROWS_MAX"),
        ("_page", "islice(parts, after, None)", "islice(parts, after + 1, None)"),
        ("auction_told", "after + len(page)", "after + len(page) + 1"),
        ("_rows", "part.solution.fills_count", "0"),
        ("_shrunk", "if name in shrunk", "if shrunk.get(name)"),
    ],
)
def test_planted_bugs_are_found(
    name: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left out, told twice or too long is noticed."""
    edited(auction_page, name, old, new)(monkeypatch)
    monkeypatch.setitem(globals(), "auction_told", auction_page.auction_told)
    with pytest.raises(AssertionError):
        check_pages()
