"""A group carried out from its bytes leads to what its commands lead to, one by one."""

from collections.abc import Iterator

import msgspec
import pytest

from intents.reject import Reject
from solver.core.check import Violation
from solver.core.command import CancelDocument, Command, SubmitIntent, SubmitOffer
from solver.core.event import Event
from solver.core.market import Market
from solver.engine import payload
from solver.engine.payload import PayloadUnreadable, encode
from solver.engine.rerun import rerun
from tests.builder import USDC
from tests.core.floor import a_walk

GROUP = 7


def groups(seed: int) -> Iterator[tuple[int, list[Command], list[list[Event]]]]:
    """What a market accepts of a walk, and what it says: the number of each group's first."""
    market = Market(USDC)
    accepted: list[Command] = []
    told: list[list[Event]] = []
    seq = 1
    for command in a_walk(seed, 400).log:
        events = market.apply(command)
        if isinstance(events, Reject):
            continue
        accepted.append(command)
        told.append(events)
        if len(accepted) == GROUP:
            yield seq, accepted, told
            seq += GROUP
            accepted, told = [], []


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5, 6])
def test_a_group_leads_to_what_its_commands_lead_to(seed: int) -> None:
    """The same events and times, and in the end the same state, to the bit."""
    again, commands = Market(USDC), Market(USDC)
    kinds = set()
    for seq, accepted, told in groups(seed):
        times_ms, events = rerun(again, encode(accepted), seq)
        assert (times_ms, events) == ([command.at_ms for command in accepted], told)
        for command in accepted:
            commands.apply(command)
        assert again.state.hash() == commands.state.hash()
        kinds |= {type(command) for command in accepted}
    assert {SubmitIntent, SubmitOffer, CancelDocument} <= kinds


def test_a_row_of_an_older_version_is_carried_out_as_its_command() -> None:
    """What it does not say has its default: here an intent without a proof."""
    again = Market(USDC)
    cut = 0
    for seq, accepted, told in groups(1):
        names, rows = payload.rows_of(encode(accepted))
        for row in rows:
            if names[row[0]] == "SubmitIntent" and row[-1] == "":
                del row[-1]
                cut += 1
        assert rerun(again, msgspec.msgpack.encode([names, rows]), seq)[1] == told
    assert cut


def test_a_command_that_is_refused_now_stops_at_its_place() -> None:
    """The number of that very command, not of its group."""
    market = Market(USDC)
    seq, accepted, _ = next(groups(2))
    with pytest.raises(Violation, match="replay_accepts_what_was_accepted") as caught:
        rerun(market, encode([*accepted, accepted[0]]), seq)
    assert caught.value.facts["seq"] == seq + GROUP


@pytest.mark.parametrize(
    "said",
    [
        "no group",
        [["Tick"], ["no row"]],
        [["Tick"], [[]]],
        [["Tick"], [[1, 1]]],
        [["Unknown"], [[0, 1]]],
        [["SubmitIntent"], [[0, 1]]],
        [["SubmitIntent"], [[0, 1, [1, 2, 3], "d", 0, 0, "x", "y"]]],
        [["SubmitIntent"], [[0, 1, [0, 0, 9, 1, 1, 1, 1, 1, True, 0, 1], "d", 0, 0, "x", "y"]]],
        [["SubmitIntent"], [[0, 1, [0, 0, 0, 1, 1, 1, 1, 1, True, 0, 1], "d", 0, 7, "x", "y"]]],
        [["CancelDocument"], [[0, 1, 1, "0x"]]],
        [["SubmitOffer"], [[0, 1, [1, 2, 3], "d", 0, 0, "x"]]],
        [["SubmitOffer"], [[0, 1, [0, 0, 0, "key", 1, 1, 1, 1, 1, 1, 0, 1], "d", 0, 0, "x"]]],
    ],
)
def test_what_is_no_group_is_refused(said: object) -> None:
    """Bytes that are no commands of ours raise the one fault of the payload."""
    with pytest.raises(PayloadUnreadable):
        rerun(Market(USDC), msgspec.msgpack.encode(said), 1)
