"""Each test of many intents at once fails for the bug that it is there for."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from intents.admission import Verified
from intents.document import Intent
from intents.reject import Reject
from solver.client import MarketFault
from solver.core.command import Authority
from solver.core.document import IntentState, intent_record
from solver.gateway import intake, mac, mandate, stream
from solver.gateway.auth import Caller
from solver.gateway.gateway import Gateway
from solver.gateway.limit import Buckets
from solver.gateway.mac import Macs, mac_of
from solver.gateway.many import IntakeRefused, OutcomeTold
from solver.verifier import batch
from solver.verifier.batch import REJECT_FIELDS, Kind, Verdict
from solver.verifier.line import Body, Line
from solver.verifier.pool import Verifiers
from solver.verifier.record import signed_records
from tests.gateway import test_flood, test_intake, test_mandate
from tests.gateway.test_property import patching
from tests.gateway.world import a_world
from tests.patience import impatient

Check = Callable[..., Awaitable[None]]
Plant = Callable[[pytest.MonkeyPatch], None]


def all_or_nothing(patch: pytest.MonkeyPatch) -> None:
    """One malformed item refuses the batch."""
    each = batch._take_each

    def strict(raw: bytes, whole: Any, single: Any, take: Any) -> Any:
        bad: list[Reject] = []

        def noting(value: Any) -> None:
            if isinstance(value, Reject):
                bad.append(value)
            take(value)

        found = each(raw, whole, single, noting)
        return bad[0] if bad else found

    patch.setattr(batch, "_take_each", strict)


def mixed_up(patch: pytest.MonkeyPatch) -> None:
    """Outcomes come in the order in which they were decided: refusals of form first."""
    submit = intake._submit

    async def sorted_by_code(
        gateway: Gateway, records: Sequence[IntentState | Reject]
    ) -> list[OutcomeTold]:
        return sorted(await submit(gateway, records), key=lambda one: not one.code)

    patch.setattr(intake, "_submit", sorted_by_code)


def asked_about_the_intent(patch: pytest.MonkeyPatch) -> None:
    """A contract is asked about an intent's own digest, though the tree was signed."""
    ask = intake._ask

    async def wrong(gateway: Gateway, verified: Verified[Intent], sender: str) -> intake.Bound:
        alone = Verified(
            document=verified.document,
            digest=verified.digest,
            signer=verified.signer,
            signature=verified.signature,
        )
        return await ask(gateway, alone, sender)

    patch.setattr(intake, "_ask", wrong)


def without_proofs(patch: pytest.MonkeyPatch) -> None:
    """A bulk's intents go to the core as if they had been signed alone."""

    def bare(verdict: Verdict, *words: Any) -> list[IntentState | Reject | None]:
        rows = [(*row[:-1], None) if len(row) > REJECT_FIELDS else row for row in verdict.rows]
        return signed_records(replace(verdict, rows=rows), *words)

    patch.setattr(intake, "signed_records", bare)


def answered_when_ready(patch: pytest.MonkeyPatch) -> None:
    """The socket answers whichever message is done first: here the last one."""

    async def last_first(self: Any) -> None:
        answers = []
        while (answer := await self._answers.get()) is not None:
            self._slots.release()
            answers.append(answer)
            if len(answers) == 5:
                for one in reversed(answers):
                    await self._say(await one)

    patch.setattr(stream._Intake, "_tell", last_first)


def told_to_anyone(patch: pytest.MonkeyPatch) -> None:
    """Whoever shows a mandate is told its secret."""
    patch.setattr(Caller, "may_spend_by", lambda *_: True)


def one_secret(patch: pytest.MonkeyPatch) -> None:
    """All mandates share a secret."""
    patch.setattr(Macs, "secret_of", lambda *_: bytes(32))


def counters_ignored(patch: pytest.MonkeyPatch) -> None:
    """The MAC does not cover its counter."""

    def uncounted(secret: bytes, _: int, body: bytes) -> str:
        return mac_of(secret, 0, body)

    patch.setattr(mac, "mac_of", uncounted)
    patch.setattr(test_mandate, "mac_of", uncounted)


def ended_is_taken(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks whether a mandate is registered."""

    def found(gateway: Gateway, digest: str) -> Any:
        return next(iter(gateway.state.mandates.values()))

    patch.setattr(mandate, "_find", found)


def any_account(patch: pytest.MonkeyPatch) -> None:
    """Intents under a mandate are whosever account they name, over the account's key."""

    def lax(verdict: Verdict, mandate: str, account: str) -> list[IntentState | Reject]:
        found = batch.read(Kind.MANDATED, verdict)
        assert isinstance(found, list)
        return [
            one
            if isinstance(one, Reject)
            else intent_record(
                one.document,
                digest=one.digest,
                signer=mandate
                if (own := one.document.account == account)
                else one.document.account,
                authority=Authority.MANDATE if own else Authority.KEY,
                signature="",
            )
            for one in found
        ]

    patch.setattr(intake, "mandated_records", lax)


def unpaced(patch: pytest.MonkeyPatch) -> None:
    """The socket is read as fast as it sends."""

    async def at_once(*_: object) -> None:
        """Nothing is waited for."""

    patch.setattr(stream._Intake, "_pace", at_once)


def refusing_at_once(patch: pytest.MonkeyPatch) -> None:
    """The socket does not ask whether verifiers have room."""

    async def at_once(*_: object) -> None:
        """Nothing is waited for."""

    patch.setattr(Verifiers, "room", at_once)
    patch.setattr(Verifiers, "_let_in", at_once)


def boundless(patch: pytest.MonkeyPatch) -> None:
    """Whatever comes is let in line."""
    patch.setattr(Line, "has_room", lambda *_: True)


def doubled(patch: pytest.MonkeyPatch) -> None:
    """What a dead verifier had is answered as busy, and verified all the same."""
    settle = Body.settle

    def early(self: Body, verdict: Any) -> None:
        settle(self, Verdict() if self.tries else verdict)

    patch.setattr(Body, "settle", early)


def cut_short(patch: pytest.MonkeyPatch) -> None:
    """Who leaves takes what it sent with it."""
    answer = stream._Intake._answer

    async def late(self: Any, head: Any, body: bytes) -> Any:
        await asyncio.sleep(0.05)
        if self._channel.socket.closed:
            return IntakeRefused(id=0, code="", message="", hint="")
        return await answer(self, head, body)

    patch.setattr(stream._Intake, "_answer", late)


def forgetful(patch: pytest.MonkeyPatch) -> None:
    """The last counter of a mandate is not remembered."""
    patch.setattr(Macs, "_remember", lambda *_: None)


def unverified(patch: pytest.MonkeyPatch) -> None:
    """A bulk's tree is made over what is good, not over what was signed."""
    many = Verifiers.many

    async def first_only(self: Verifiers, kind: Kind, raw: bytes, now_s: int, **how: Any) -> Any:
        found = await many(self, kind, raw, now_s, **how)
        if isinstance(found, Reject):
            return found
        return replace(found, rows=found.rows[:1] * len(found.rows))

    patch.setattr(Verifiers, "many", first_only)


PLANTED: list[tuple[Check, Plant]] = [
    (test_intake.test_a_bad_intent_does_not_harm_its_neighbours, all_or_nothing),
    (test_intake.test_a_bad_intent_does_not_harm_its_neighbours, mixed_up),
    (test_intake.test_a_batch_is_taken_as_if_each_had_come_alone, unverified),
    (test_intake.test_a_contract_account_is_asked_about_the_tree, asked_about_the_intent),
    (test_intake.test_a_bulk_is_taken_over_one_signature, without_proofs),
    (test_intake.test_the_socket_answers_in_the_order_of_asking, answered_when_ready),
    (test_intake.test_what_was_sent_before_leaving_is_carried_out, cut_short),
    (test_mandate.test_a_session_key_is_told_its_own_secrets_only, told_to_anyone),
    (test_mandate.test_a_mac_is_good_once, forgetful),
    (test_mandate.test_a_mac_is_of_its_mandate_its_counter_and_its_bytes, one_secret),
    (test_mandate.test_a_mac_is_of_its_mandate_its_counter_and_its_bytes, counters_ignored),
    (test_mandate.test_a_mandate_nobody_registered_is_unknown, ended_is_taken),
    (test_mandate.test_a_mandate_buys_for_its_account_alone, any_account),
]
BOUNDS: list[tuple[Check, Plant]] = [
    (test_flood.test_the_socket_is_not_read_while_there_is_no_room, refusing_at_once),
    (test_flood.test_a_flood_is_refused_with_a_time_to_come_back, boundless),
    (test_flood.test_a_batch_that_finds_no_room_is_refused_as_a_whole, boundless),
    (test_flood.test_a_verifier_killed_under_load_loses_and_doubles_nothing, doubled),
    (
        test_intake.test_an_account_has_a_rate_over_all_its_batches,
        patching(intake, "_within_rates", lambda _, commands: commands),
    ),
    (
        test_intake.test_a_network_has_a_rate_of_signatures,
        patching(intake, "within_rate", lambda *_: None),
    ),
    (test_intake.test_a_sender_that_is_too_fast_is_not_read_from, unpaced),
    (
        test_mandate.test_a_busy_mandate_is_held_to_its_account_s_rate,
        patching(Buckets, "take", lambda *_: 0),
    ),
    (
        test_mandate.test_a_counter_may_be_older_than_the_market,
        patching(Macs, "check", lambda *_: None),
    ),
]
FAILURES = (
    AssertionError,
    TimeoutError,
    MarketFault,
    KeyError,
    StopIteration,
    RuntimeError,
    ExceptionGroup,
)


def _name(case: tuple[Check, Plant]) -> str:
    return f"{case[0].__name__.removeprefix('test_')}-{case[1].__name__}"


@pytest.mark.parametrize(("check", "plant"), PLANTED, ids=map(_name, PLANTED))
async def test_a_promise_is_broken_by_a_planted_bug(
    monkeypatch: pytest.MonkeyPatch, check: Check, plant: Plant
) -> None:
    """The test of that name notices the bug."""
    async with a_world() as world:
        plant(monkeypatch)
        with impatient(), pytest.raises(FAILURES):
            await _in_time(check(world))
        monkeypatch.undo()


@pytest.mark.parametrize(("check", "plant"), BOUNDS, ids=map(_name, BOUNDS))
async def test_a_bound_is_broken_by_a_planted_bug(
    monkeypatch: pytest.MonkeyPatch, check: Check, plant: Plant
) -> None:
    """The test of that name, which makes a world of its own, notices the bug."""
    plant(monkeypatch)
    with impatient(), pytest.raises(FAILURES):
        await _in_time(check())


async def _in_time(work: Awaitable[None]) -> None:
    async with asyncio.timeout(10):
        await work
