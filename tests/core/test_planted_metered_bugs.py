"""Bugs in metered settlement, planted: the walks and tests of it find each."""

from collections.abc import Callable
from typing import Final

import pytest

from solver.core import delivery, metered, metering
from solver.core.check import Violation
from tests.core.sabotage import Patch, edited, never, pure_only, seeds_until_caught
from tests.core.test_metered import (
    a_walk_of_meters,
    test_a_batch_that_is_not_ours_stops_the_market,
    test_a_claim_voids_a_receipt_that_met_the_end_of_an_epoch,
    test_a_receipt_outlives_the_epoch_that_its_batch_met,
    test_a_refused_attestation_pays_nobody,
    test_a_refused_receipt_is_signed_anew,
    test_another_refusal_voids_a_receipt_all_the_same,
    test_batches_take_whole_records_within_their_bounds,
    test_calls_under_way_count,
    test_receipts_that_do_not_fit_are_refused,
    test_what_the_cap_does_not_hold_waits_for_a_signature,
    test_who_does_not_sign_is_served_up_to_the_cap,
)

SEEDS: Final = 30

BY_WALKS: Final[dict[str, Patch]] = {
    "a settled record leaves the base": edited(metered, "_pay", "meter.base += paid.paid", "pass"),
    "attested sums are not counted": edited(
        metered, "_pay", "meter.uncovered + paid.paid if record.receipt is None else 0", "0"
    ),
    "a receipt does not cover what was attested": edited(
        metered,
        "_pay",
        "meter.uncovered + paid.paid if record.receipt is None else 0",
        "meter.uncovered",
    ),
    "what was refused is forgotten": never("_wait_again", metered),
    "what was refused is not owed again": edited(
        metered,
        "_wait_again",
        "meter.owed += sum(lease.payment for lease in leases)",
        "pass",
    ),
    "a receipt outlives the base it rests on": never("drop_receipt", metered),
    "a claim pays what is under way only": edited(
        metered, "_owed", " + [state.leases[fill] for fill in meter.waiting]", ""
    ),
    "a claim forgets what is under way": edited(metered, "_owed", "return under_way + ", "return "),
    "a paid fill goes on waiting": never("_wait_no_more", metered),
    "a batch pays again what a claim paid": edited(
        metered, "_still_batched", "lease.status is LeaseStatus.BATCHED and ", ""
    ),
    "a claim leaves the base": edited(
        metered, "claim_paid", "meter.base, meter.uncovered = fact.spent, 0", "pass"
    ),
    "fills that were taken wait on": edited(
        metered, "_take", "del meter.waiting[: record.fills]", "pass"
    ),
    "calls do not count": never("note_reach", delivery),
    "who signed is not listed": edited(
        metering, "list_meter", "metering.signed.setdefault(account)", "pass"
    ),
    "a statement forgets what was signed before": edited(
        metering,
        "statement",
        "{line.seller: line.amount for line in before.lines}",
        "{}",
    ),
}

BY_TESTS: Final[dict[str, tuple[Patch, Callable[[], None]]]] = {
    "nobody has to sign": (
        never("fault_in_meter", metering),
        test_who_does_not_sign_is_served_up_to_the_cap,
    ),
    "calls in flight do not count": (
        edited(
            metering,
            "fault_in_meter",
            "lease.delivered + lease.in_flight + units",
            "lease.delivered + units",
        ),
        test_calls_under_way_count,
    ),
    "the operator attests beyond the cap": (
        edited(metered, "_attestable", "if left < 0", "if left < -999"),
        test_what_the_cap_does_not_hold_waits_for_a_signature,
    ),
    "anyone signs": (
        edited(
            metering, "_fault_in_receipt", "command.signer != receipt.account", "not command.signer"
        ),
        test_receipts_that_do_not_fit_are_refused,
    ),
    "any sum is accepted": (
        edited(
            metering,
            "_fault_in_sum",
            "(receipt.spent, receipt.lines) == (said.spent, lines_hash(said.lines))",
            "receipt.lines == lines_hash(said.lines)",
        ),
        test_receipts_that_do_not_fit_are_refused,
    ),
    "any lines are accepted": (
        edited(
            metering,
            "_fault_in_sum",
            "(receipt.spent, receipt.lines) == (said.spent, lines_hash(said.lines))",
            "receipt.spent == said.spent",
        ),
        test_receipts_that_do_not_fit_are_refused,
    ),
    "any base is accepted": (
        edited(
            metering, "_fault_in_receipt", "receipt.base != meter.next_base", "receipt.base < 0"
        ),
        test_receipts_that_do_not_fit_are_refused,
    ),
    "an unpaid attestation waits for ever": (
        edited(metered, "record_skipped", "record.receipt is None and", "False and"),
        test_a_refused_attestation_pays_nobody,
    ),
    "a refused receipt is skipped for good": (
        edited(metered, "record_skipped", "record.receipt is None and", "True and"),
        test_a_refused_receipt_is_signed_anew,
    ),
    "who ends its epoch unsays what it signed": (
        never("_count_again", metered),
        test_a_receipt_outlives_the_epoch_that_its_batch_met,
    ),
    "whatever was refused counts again": (
        edited(metered, "_is_overtaken", "return fact.problem == BAD_SIGNATURE", "return True"),
        lambda: test_another_refusal_voids_a_receipt_all_the_same(1, 2),
    ),
    "a receipt counts in any epoch": (
        edited(
            metered,
            "_is_overtaken",
            "state.accounts[account].epoch != receipt.epoch + 1",
            "False",
        ),
        lambda: test_another_refusal_voids_a_receipt_all_the_same(0, 7),
    ),
    "a receipt counts from any base": (
        edited(
            metered, "_is_overtaken", "state.metering.of(account).base != receipt.base", "False"
        ),
        test_a_claim_voids_a_receipt_that_met_the_end_of_an_epoch,
    ),
    "a batch has no bounds": (
        edited(metered, "_records", "(records and record.fills > fills_left)", "False"),
        test_batches_take_whole_records_within_their_bounds,
    ),
    "any batch is ours": (
        edited(metered, "metered_settled", "batch.digest == fact.root", "True"),
        lambda: test_a_batch_that_is_not_ours_stops_the_market("root"),
    ),
}


@pure_only
@pytest.mark.parametrize("patch", BY_WALKS.values(), ids=BY_WALKS)
def test_walks_find_it(patch: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a few seeds an invariant fails, or book and chain differ."""
    patch(monkeypatch)
    assert seeds_until_caught(a_walk_of_meters, SEEDS) < SEEDS


@pure_only
@pytest.mark.parametrize(("patch", "found_by"), BY_TESTS.values(), ids=BY_TESTS)
def test_tests_find_it(
    patch: Patch, found_by: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test that is named for it fails."""
    patch(monkeypatch)
    with pytest.raises((AssertionError, Violation, ValueError)):
        found_by()
