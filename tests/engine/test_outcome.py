"""What commands led to, as one running hash."""

from solver.core.event import AuctionClosed, Event, IntentEnded, IntentStatus
from solver.engine.outcome import NOTHING_YET, outcome_after

ENDED = IntentEnded(intent="0x01", account="0x02", status=IntentStatus.EXPIRED)


def closed(score: int) -> Event:
    """An event with a number that may outgrow a machine word."""
    return AuctionClosed(
        auction=1,
        resources=("a/b:call",),
        asset="0x",
        seed="",
        ticks={"a/b:call": 3},
        winners=(),
        score=score,
        gap=0,
    )


def test_an_outcome_tells_every_event_and_whose_it_was() -> None:
    """Another event, another order, another command's event or another past: another outcome."""
    past = outcome_after(NOTHING_YET, [[ENDED]])
    told: list[list[list[Event]]] = [
        [[ENDED], [closed(1)]],
        [[closed(1)], [ENDED]],
        [[ENDED, closed(1)]],
        [[ENDED], []],
    ]
    outcomes = [outcome_after(before, events) for before in (NOTHING_YET, past) for events in told]
    assert len({past, *outcomes}) == 1 + len(outcomes)
    assert outcome_after(past, told[0]) == outcome_after(past, [[ENDED], [closed(1)]])


def test_scores_beyond_64_bits_are_told_exactly() -> None:
    """A score that no machine word holds still decides the outcome, to its last digit."""
    scores = (2**63 - 1, 2**64 - 1, 2**64, 2**64 + 1, 2**200, 2**200 + 1)
    outcomes = {outcome_after(NOTHING_YET, [[closed(score)]]) for score in scores}
    assert len(outcomes) == len(scores)
