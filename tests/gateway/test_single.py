"""Signed intents that come one by one, at the same time."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from intents.reject import Reject
from solver.core.command import Authority, Command
from solver.engine.sequencer import Sequencer
from solver.gateway import single
from solver.gateway.document import take_intent
from solver.verifier import pool
from solver.verifier.batch import REJECT_FIELDS, Verdict
from solver.verifier.pool import Verifiers
from tests.builder import alice, an_intent, bob
from tests.gateway.test_intake import encoded, signed
from tests.gateway.test_reject import body_of
from tests.gateway.world import RULES, World, a_world
from tests.patience import until
from tests.verifier.test_pool import sent_by


def groups_of(patch: pytest.MonkeyPatch) -> list[int]:
    """How many commands are entered together from now on, each time."""
    groups: list[int] = []
    enter = Sequencer.enter

    def noted(self: Sequencer, commands: Sequence[Command]) -> Any:
        groups.append(len(commands))
        return enter(self, commands)

    patch.setattr(Sequencer, "enter", noted)
    return groups


async def told(world: World, body: dict[str, Any]) -> str:
    """The units that an intent was accepted with, or the code of its refusal."""
    answer = await take_intent(world.gateway, encoded(body), "127.0.0.1")
    return answer.code if isinstance(answer, Reject) else str(answer.units)


async def check_each_has_its_own_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """One frame and one group for all; whoever lacks something lacks it alone."""
    async with (
        Verifiers(RULES, processes=1).running() as verifiers,
        a_world(verifiers=verifiers) as world,
    ):
        await until(lambda: verifiers._verifiers)
        world.contracts.valid.add(alice.address)
        good = [signed(world, units=number) for number in range(1, 8)]
        by_contract = body_of(world, an_intent().units(9).for_account(alice), bob)
        unsigned = signed(world) | {"signature": "0x"}
        bodies = [*good[:3], {}, unsigned, by_contract, good[0], *good[3:]]
        tasks, groups = sent_by(monkeypatch), groups_of(monkeypatch)
        found = await asyncio.gather(*(told(world, body) for body in bodies))
        assert [len(task.bodies) for task in tasks] == [11]
        assert groups == [8, 1], "the contract was asked apart"
        lacking = ["malformed", "signature_malformed", "9", "already_known"]
        assert found == ["1", "2", "3", *lacking, "4", "5", "6", "7"]
        authorities = [one.authority for one in world.gateway.state.intents.values()]
        assert authorities == [Authority.KEY] * 7 + [Authority.CONTRACT]


async def test_each_has_its_own_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """One frame and one group for all; whoever lacks something lacks it alone."""
    await check_each_has_its_own_outcome(monkeypatch)


def swapped_by_verifiers(patch: pytest.MonkeyPatch) -> None:
    """Verified together, told each other's answers."""
    hand_over = pool._hand_over

    def backwards(bodies: list[Any], verdict: Any) -> None:
        hand_over(bodies[::-1], verdict)

    patch.setattr(pool, "_hand_over", backwards)


def swapped_by_the_market(patch: pytest.MonkeyPatch) -> None:
    """Written together, told each other's digests."""
    tell = single._tell

    def backwards(askers: Any, *applied: Any) -> None:
        tell(askers[::-1], *applied)

    patch.setattr(single, "_tell", backwards)


def all_or_nothing(patch: pytest.MonkeyPatch) -> None:
    """What one lacks, its neighbours are told, too."""
    answer_all = single.Singles._verified

    def together(self: single.Singles, askers: Any, verdict: Verdict) -> None:
        bad = [row for row in verdict.rows if len(row) == REJECT_FIELDS]
        rows = bad[:1] * len(askers) if bad else verdict.rows
        answer_all(self, askers, Verdict(rows, verdict.names))

    patch.setattr(single.Singles, "_verified", together)


@pytest.mark.parametrize("plant", [swapped_by_verifiers, swapped_by_the_market, all_or_nothing])
async def test_a_planted_bug_breaks_it(
    monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """The test notices each of these bugs."""
    plant(monkeypatch)
    with pytest.raises((AssertionError, BaseExceptionGroup)):
        await check_each_has_its_own_outcome(monkeypatch)


async def test_an_accident_of_ours_is_told_to_all_it_concerns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody waits forever: each request fails, and the next one is served."""
    async with (
        Verifiers(RULES, processes=1).running() as verifiers,
        a_world(verifiers=verifiers) as world,
    ):
        await until(lambda: verifiers._verifiers)
        with monkeypatch.context() as patch:
            patch.setattr(Sequencer, "enter", lambda *_: 1 // 0)
            posts = (told(world, signed(world)) for _ in range(3))
            failed = await asyncio.gather(*posts, return_exceptions=True)
        assert [type(one) for one in failed] == [ZeroDivisionError] * 3
        assert await told(world, signed(world, units=2)) == "2"
