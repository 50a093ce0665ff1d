"""What a book refuses and counts, on its edges."""

from solver.core.book import Book, Order, ask_order, bid_order
from solver.core.ledger import Balance


def _bid(book: Book, seq: int, *, units: int = 5, minimum: int = 1) -> Order:
    order = bid_order(f"bid-{seq}", book, Balance("alice", "usdc"), units, 50, minimum, 1)
    order.seq = seq
    return order


def test_one_unit_rests() -> None:
    """The least that can be filled."""
    book = Book(continuous=True)
    order = _bid(book, 1, units=1)
    book.buy.append(order)
    assert list(book.bids()) == [order]


def test_an_ask_has_no_minimum_and_holds_nothing() -> None:
    """Whatever part of it a bid takes is served; its seller pays for none of it."""
    ask = ask_order("ask", Book(continuous=True), Balance("bob", "usdc"), 5, 50, 1)
    assert (ask.minimum, ask.held, ask.buys, ask.total, ask.limit) == (1, 0, False, 5, 50)


def test_a_bid_holds_its_whole_limit() -> None:
    """What it may cost at most, whatever its tick rounds to."""
    bid = bid_order("bid", Book(continuous=True), Balance("alice", "usdc"), 3, 50, 2, 7)
    assert (bid.minimum, bid.held, bid.buys, bid.total, bid.until_ms) == (2, 50, True, 3, 7)
    assert bid.tick == 16_666_666


def test_the_count_of_waiting_bids_is_exact() -> None:
    """Where none waits, no ask looks for one; a stranger's leaving changes nothing."""
    book = Book(continuous=True)
    first, second, stranger = (_bid(book, seq, minimum=3) for seq in (1, 2, 3))
    assert book.waiting_count == 0
    book.wait(first)
    assert book.waiting_count == 1
    book.wait(second)
    assert book.waiting_count == 2
    book.stop_waiting(stranger)
    assert (book.waiting_count, book.waiting()) == (2, [first, second])
    book.stop_waiting(first)
    assert (book.waiting_count, book.waiting()) == (1, [second])
    assert book.holds(second)
    assert not book.holds(first)


def test_who_waits_is_told_down_to_a_price() -> None:
    """The best first, as many as are asked for, and none that would pay less."""
    book = Book(continuous=True)
    low, middle, high = (_bid(book, seq, units=units) for seq, units in ((1, 10), (2, 5), (3, 2)))
    for order in (low, middle, high):
        book.wait(order)
    assert book.waiting_from(middle.tick, 9) == [high, middle]
    assert book.waiting_from(middle.tick, 1) == [high]


def test_a_parted_book_leaves_no_order_that_refers_to_another() -> None:
    """Nor a level or a side that does: reference counts free all of it."""
    book = Book(continuous=True)
    bids, waiting = [_bid(book, seq) for seq in (1, 2)], _bid(book, 3, minimum=3)
    ask = ask_order("ask", book, Balance("bob", "usdc"), 5, 90, 1)
    ask.seq = 4
    for bid in bids:
        book.buy.append(bid)
    book.sell.append(ask)
    book.wait(waiting)
    book.part()
    assert [(one.level, one.previous, one.next) for one in (*bids, ask)] == [(None,) * 3] * 3
    assert (list(book.bids()), list(book.asks()), book.waiting()) == ([], [], [])
    for side in (book.buy, book.sell):
        assert (side.best, list(side.ladder), list(side.ranks)) == (None, [], [])
        assert side._levels == {}
