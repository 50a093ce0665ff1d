"""What an auction's judge and its snapshot promise on their edges."""

from typing import Final

import pytest

from intents.reject import RejectCode
from solver.core.auction import (
    FILLS_MAX,
    FILLS_PER_AUCTION_MAX,
    FILLS_PER_SOLVER_MAX,
    SOLUTIONS_MAX,
    SOLUTIONS_PER_SOLVER_MAX,
    Auction,
    Snapshot,
    seed_hash,
)
from solver.core.book import MATCHES_MAX
from solver.core.command import SolutionFill
from tests.judging import SEED, book, codes, judged, order, snapshot, solution

HEX_DIGITS: Final = frozenset("0123456789abcdef")


def _snapshot(offers: int) -> Snapshot:
    return snapshot(
        book(
            (order("i", "alice", 9, 1_000), order("j", "carol", 9, 1_000)),
            [order(f"o{n}", f"seller-{n}", 1, 2) for n in range(offers)],
        )
    )


def test_a_seed_is_told_by_a_hash_that_anyone_can_make() -> None:
    """`printf keyfill | b2sum -l 256`: BLAKE2b of the seed's bytes, with 32 bytes."""
    told = "0xc785bbe45391827daa633af96c256a52f62ddeeab0615ffccdbda42e6bdffb91"
    assert seed_hash(b"keyfill".hex()) == told


def test_a_snapshots_digest_is_32_bytes_of_hex() -> None:
    """Solvers sign over it as a bytes32; another snapshot has another one."""
    digest = _snapshot(1).digest()
    assert digest.startswith("0x")
    assert len(digest) == 66
    assert set(digest[2:]) <= HEX_DIGITS
    assert digest != _snapshot(2).digest()


@pytest.mark.parametrize(
    ("count", "code"), [(MATCHES_MAX, ""), (MATCHES_MAX + 1, RejectCode.SOLUTION_LIMIT)]
)
def test_one_intent_with_too_many_fills_is_too_many(count: int, code: str) -> None:
    """However few the fills of its neighbours are."""
    seen = _snapshot(MATCHES_MAX + 1)
    offers = seen.books[0].offers[:count]
    lines = [SolutionFill(intent="i", offer=one.id, units=1) for one in offers]
    lines.append(SolutionFill(intent="j", offer="o0", units=1))
    assert codes(judged(seen, ("s", solution(5, lines)))) == [code]


def test_the_published_limits_of_solvers() -> None:
    """Solvers plan by them: an epoch's solutions, a solver's, and the fills of one."""
    assert (SOLUTIONS_MAX, SOLUTIONS_PER_SOLVER_MAX, FILLS_MAX) == (1_024, 64, 4_096)
    assert (FILLS_PER_SOLVER_MAX, FILLS_PER_AUCTION_MAX) == (8_192, 65_536)
    assert MATCHES_MAX == 128, "half of what the contract takes of an intent, or less"


def test_a_new_auction_is_open_and_nobodys() -> None:
    """Until it closes there is no winner, and a score of nothing."""
    auction = Auction(snapshot=_snapshot(1), snapshot_digest="", seed=SEED)
    assert (auction.closed, auction.winners, auction.score) == (False, (), "0")
    assert (auction.gap, auction.shrunk, auction.proposed) == ("0", {}, [])


def test_a_bid_is_named_for_what_it_says() -> None:
    """The same from the same solver again, another from another, or for another fill."""
    one, other = solution(5, "i o 1"), solution(5, "i o 2")
    names = [one.digest("s"), one.digest("t"), other.digest("s")]
    assert len(set(names)) == 3
    assert names[0] == solution(5, "i o 1").digest("s")
    assert {len(name) for name in names} == {34}
