"""Each test of verifiers fails for the bug that it is there for."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import signature
from typing import Any

import pytest

from solver.verifier import pool
from solver.verifier.line import Body, Line
from solver.verifier.pool import Verifiers
from solver.verifier.process import Verifier
from tests.patience import impatient
from tests.verifier import test_pool

Plant = Callable[[pytest.MonkeyPatch], None]


def boundless(patch: pytest.MonkeyPatch) -> None:
    """Whatever comes is let in."""
    patch.setattr(Line, "has_room", lambda *_: True)


def never_again(patch: pytest.MonkeyPatch) -> None:
    """What a dead verifier had is refused at once."""
    patch.setattr(pool, "TRIES_MAX", 0)


def always_again(patch: pytest.MonkeyPatch) -> None:
    """What kills verifiers is sent to one after the other."""
    patch.setattr(pool, "TRIES_MAX", 10**6)


def lost(patch: pytest.MonkeyPatch) -> None:
    """What a dead verifier had is forgotten, and so is who waits for it."""
    patch.setattr(Verifiers, "_take_back", lambda self, one: self._with.pop(one))


def out_of_order(patch: pytest.MonkeyPatch) -> None:
    """A task's answers are given to the newest task."""

    def newest(self: Verifiers, verifier: Verifier, answers: Any) -> None:
        pool._hand_over(self._with[verifier].pop(), answers[0])
        self._feed()

    patch.setattr(Verifiers, "_take", newest)


def impatient_never(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks after verifiers that hang or bodies that wait."""

    async def asleep(_: Verifiers) -> None:
        await asyncio.sleep(3_600)

    patch.setattr(Verifiers, "_look_after", asleep)


def uncounted(patch: pytest.MonkeyPatch) -> None:
    """Room is taken and never given back."""
    leave = Line.leave

    def for_nothing(self: Line) -> Body:
        weight = self.weight
        body = leave(self)
        self.weight = weight
        return body

    patch.setattr(Line, "leave", for_nothing)


def always_room(patch: pytest.MonkeyPatch) -> None:
    """Senders that could wait are never told to."""

    async def at_once(_: Verifiers) -> None:
        """Nothing is waited for."""

    patch.setattr(Verifiers, "room", at_once)


def left_waiting(patch: pytest.MonkeyPatch) -> None:
    """At the end nobody is told anything."""
    patch.setattr(Verifiers, "_taken", lambda _: [])
    patch.setattr(Body, "settle", lambda *_: None)


def wrong_time(patch: pytest.MonkeyPatch) -> None:
    """Validity is held against another time than the caller's."""
    init = Body.__init__

    def late(self: Any, kind: Any, raw: bytes, now_s: int, *asked: Any) -> None:
        init(self, kind, raw, now_s - 10, *asked)

    patch.setattr(Body, "__init__", late)


def swapped(patch: pytest.MonkeyPatch) -> None:
    """Those who were verified together get each other's answers."""
    hand_over = pool._hand_over

    def backwards(bodies: list[Any], verdict: Any) -> None:
        hand_over(bodies[::-1], verdict)

    patch.setattr(pool, "_hand_over", backwards)


def one_by_one(patch: pytest.MonkeyPatch) -> None:
    """Each has a task of its own, however many there are."""
    patch.setattr(Body, "goes_with", lambda *_: False)


def never_apart(patch: pytest.MonkeyPatch) -> None:
    """What was with a poisoned body when it killed is sent with it again."""
    patch.setattr(Body, "goes_with", lambda first, other: first.now_s == other.now_s)


def all_suspected(patch: pytest.MonkeyPatch) -> None:
    """A verifier's next task counts as tried, too, when the one before it kills."""
    take_back = Verifiers._take_back

    def suspecting(self: Verifiers, verifier: Verifier) -> None:
        for body in [body for task in list(self._with[verifier])[1:] for body in task]:
            body.tries = 1
        take_back(self, verifier)

    patch.setattr(Verifiers, "_take_back", suspecting)


def all_alike(patch: pytest.MonkeyPatch) -> None:
    """A verifier that shares the market's core is given work as any other is."""
    _with_cores(patch, 99)


def no_reserve(patch: pytest.MonkeyPatch) -> None:
    """However much waits, only the first verifiers work."""
    patch.setattr(pool, "RESERVE_WAITING_MIN", 10**9)


def always_few(patch: pytest.MonkeyPatch) -> None:
    """However many wait, a reserve is given little."""
    patch.setattr(pool, "MANY_MIN", 10**9)


def all_reserves(patch: pytest.MonkeyPatch) -> None:
    """All but one verifier are reserves, however many cores there are."""
    _with_cores(patch, 2)


def _with_cores(patch: pytest.MonkeyPatch, cores: int) -> None:
    init = Verifiers.__init__

    def with_cores(self: Verifiers, *args: Any, **options: Any) -> None:
        init(self, *args, **options | {"cores": cores})

    patch.setattr(Verifiers, "__init__", with_cores)


CASES: list[tuple[Callable[..., Awaitable[None]], tuple[Any, ...], Plant]] = [
    (test_pool.test_beyond_the_line_it_is_busy_and_memory_does_not_grow, (), boundless),
    (test_pool.test_what_a_killed_verifier_had_is_verified_by_another, (), never_again),
    (test_pool.test_what_a_killed_verifier_had_is_verified_by_another, (), lost),
    (test_pool.test_what_kills_two_verifiers_is_refused, (), always_again),
    (test_pool.test_many_side_by_side_get_their_own_answers, (), out_of_order),
    (test_pool.test_intents_that_come_together_share_a_task_and_nothing_else, (), swapped),
    (test_pool.test_intents_that_come_together_share_a_task_and_nothing_else, (), one_by_one),
    (test_pool.test_a_reserve_is_given_little_and_only_if_much_waits, (), all_alike),
    (test_pool.test_a_reserve_is_given_little_and_only_if_much_waits, (), no_reserve),
    (test_pool.test_a_reserve_works_as_all_do_if_very_much_waits, (), always_few),
    (test_pool.test_verifiers_with_cores_of_their_own_share_what_waits, (), all_reserves),
    (test_pool.test_what_kills_verifiers_harms_nothing_that_came_with_it, (), never_apart),
    (test_pool.test_what_waits_behind_a_killer_was_not_tried, (), all_suspected),
    (test_pool.test_a_verifier_that_hangs_is_replaced, (), impatient_never),
    (test_pool.test_who_leaves_is_not_verified_and_leaves_room, (), uncounted),
    (test_pool.test_who_can_wait_is_told_when_there_is_room, (), always_room),
    (test_pool.test_stopping_leaves_neither_waiters_nor_processes, (), left_waiting),
    (test_pool.test_the_answer_is_admission_s_wherever_it_is_made, (1,), wrong_time),
]
FAILURES = (AssertionError, TimeoutError, KeyError, BaseExceptionGroup)


@pytest.mark.parametrize(
    ("check", "words", "plant"),
    CASES,
    ids=[f"{case[0].__name__}-{case[2].__name__}" for case in CASES],
)
async def test_a_promise_is_broken_by_a_planted_bug(
    monkeypatch: pytest.MonkeyPatch,
    check: Callable[..., Awaitable[None]],
    words: tuple[Any, ...],
    plant: Plant,
) -> None:
    """The test of that name notices the bug."""
    plant(monkeypatch)
    if "monkeypatch" in signature(check).parameters:
        words = (*words, monkeypatch)
    with impatient(), pytest.raises(FAILURES):
        async with asyncio.timeout(4):
            await check(*words)
