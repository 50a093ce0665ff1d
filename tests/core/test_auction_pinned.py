"""What an auction's judge and its snapshot promise on their edges."""

from typing import Final

import pytest

from intents.reject import RejectCode
from solver.core.auction import (
    FILLS_MAX,
    SOLUTIONS_MAX,
    SOLUTIONS_PER_SOLVER_MAX,
    Auction,
    Proposed,
    Snapshot,
    SnapshotOrder,
    Solution,
    judge,
)
from solver.core.book import MATCHES_MAX
from solver.core.command import SolutionFill

HEX_DIGITS: Final = frozenset("0123456789abcdef")


def _order(name: str, account: str, tick: int, units: int) -> SnapshotOrder:
    return SnapshotOrder(id=name, account=account, tick=tick, units=units, minimum=1)


def _snapshot(offers: int) -> Snapshot:
    return Snapshot(
        auction=1,
        resource="a/b:c",
        asset="0x",
        closes_at_ms=1,
        intents=(_order("i", "alice", 9, 1_000), _order("j", "carol", 9, 1_000)),
        offers=tuple(_order(f"o{n}", f"seller-{n}", 1, 2) for n in range(offers)),
    )


def test_a_snapshots_digest_is_32_bytes_of_hex() -> None:
    """Solvers sign over it as a bytes32; another snapshot has another one."""
    digest = _snapshot(1).digest()
    assert digest.startswith("0x")
    assert len(digest) == 66
    assert set(digest[2:]) <= HEX_DIGITS
    assert digest != _snapshot(2).digest()


@pytest.mark.parametrize(
    ("count", "code"), [(MATCHES_MAX, None), (MATCHES_MAX + 1, RejectCode.SOLUTION_LIMIT)]
)
def test_one_intent_with_too_many_fills_is_too_many(count: int, code: RejectCode | None) -> None:
    """However few the fills of its neighbours are."""
    snapshot = _snapshot(MATCHES_MAX + 1)
    fills = [SolutionFill(intent="i", offer=one.id, units=1) for one in snapshot.offers[:count]]
    fills.append(SolutionFill(intent="j", offer="o0", units=1))
    proposed = [Proposed(solver="s", seq=1, solution=Solution(tick=5, fills=tuple(fills)))]
    auction = Auction(snapshot=snapshot, snapshot_digest="", proposed=proposed)
    (ranked,) = judge(auction, lambda _: 1_000)
    assert (ranked.reason.code if ranked.reason else None) is code


def test_the_published_limits_of_solvers() -> None:
    """Solvers plan by them: an epoch's solutions, a solver's, and the fills of one."""
    assert (SOLUTIONS_MAX, SOLUTIONS_PER_SOLVER_MAX, FILLS_MAX) == (64, 3, 4_096)
    assert MATCHES_MAX == 128, "half of what the contract takes of an intent, or less"


def test_a_new_auction_is_open_and_nobodys() -> None:
    """Until it closes there is no winner, and a score of nothing."""
    auction = Auction(snapshot=_snapshot(1), snapshot_digest="")
    assert (auction.closed, auction.winner, auction.score) == (False, "", "0")
    assert auction.proposed == []
