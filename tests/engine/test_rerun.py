"""A group carried out from its bytes leads to what its commands lead to, one by one."""

from collections.abc import Iterator

import msgspec
import pytest

from intents.reject import Reject
from solver.core.check import Violation
from solver.core.command import CancelDocument, Command, SubmitIntent, SubmitOffer
from solver.core.event import Event
from solver.core.market import Market
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


def test_a_group_of_an_older_version_is_carried_out_as_its_commands() -> None:
    """What it does not say has its default: here intents without a proof."""
    again = Market(USDC)
    cut = 0
    for seq, accepted, told in groups(1):
        parts = msgspec.msgpack.decode(encode(accepted))
        for kind, columns in zip(parts[1], parts[-1], strict=True):
            if kind == "SubmitIntent" and columns[-1] == [None]:
                columns.pop()
                cut += 1
        assert rerun(again, msgspec.msgpack.encode(parts), seq)[1] == told
    assert cut


def test_a_command_that_is_refused_now_stops_at_its_place() -> None:
    """The number of that very command, not of its group."""
    market = Market(USDC)
    seq, accepted, _ = next(groups(2))
    with pytest.raises(Violation, match="replay_accepts_what_was_accepted") as caught:
        rerun(market, encode([*accepted, accepted[0]]), seq)
    assert caught.value.facts["seq"] == seq + GROUP


INTENT = [[0], [0], [0], [1], [1], [1], [1], [1], [True], [0], [1], ["d"], [0], [0], ["x"], ["y"]]
OFFER = [[0], [0], [0], [0], [1], [1], [1], [1], [1], [1], [0], [1], ["d"], [0], [0], ["x"]]


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("Tick", ["no column"]),
        ("Tick", [[1]]),
        ("Unknown", []),
        ("CancelDocument", [[1], ["0x"]]),
        ("CancelDocument", [[0], []]),
        ("SubmitIntent", [[1], [2]]),
        ("SubmitIntent", [[9], *INTENT[1:]]),
        ("SubmitIntent", [*INTENT[:13], [7], *INTENT[14:]]),
        ("SubmitIntent", [*INTENT[:14], ["x", "x"], ["y"]]),
        ("SubmitOffer", [[1], [2]]),
        ("SubmitOffer", [*OFFER[:3], ["key"], *OFFER[4:]]),
        ("SubmitOffer", [*OFFER[:14], [7], ["x"]]),
    ],
)
def test_what_is_no_group_is_refused(kind: str, columns: object) -> None:
    """Bytes that are no commands of ours raise the one fault of the payload."""
    said = [["a"], [kind], b"\0", [1], [columns]]
    with pytest.raises(PayloadUnreadable):
        rerun(Market(USDC), msgspec.msgpack.encode(said), 1)


def test_a_command_of_a_kind_that_is_not_there_is_refused() -> None:
    """Nothing of such a group is carried out."""
    market = Market(USDC)
    said = [[], ["OpenResource"], b"\0\1", [1], [[["a/b:call"], ["continuous"]]]]
    with pytest.raises(PayloadUnreadable):
        rerun(market, msgspec.msgpack.encode(said), 1)
    assert not market.state.resources
