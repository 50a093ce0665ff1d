"""Bugs in whom the market trusts how far, planted: a test of it finds each."""

from collections.abc import Callable
from typing import Final

import pytest

from solver.core import chain, delivery, intake, metering, settling, trust
from solver.core.check import Violation
from solver.core.command import Authority
from solver.core.trust import BAD_SIGNATURE, SESSION_REFUSED
from tests.core.sabotage import Patch, edited, never, pure_only
from tests.core.test_trust import (
    test_a_barred_accounts_mandates_end,
    test_a_claim_that_overtakes_a_receipt_bars_nobody,
    test_a_failed_call_makes_room,
    test_a_plain_key_is_not_bounded,
    test_a_refused_receipt_bars_too,
    test_a_sellers_session_that_ended_bars_no_buyer,
    test_again_and_again_takes_less_than_twice_the_bound,
    test_no_more_is_served_than_may_be_taken_back,
    test_one_matter_counts_once,
    test_other_refusals_of_receipts_bar_nobody,
    test_receipts_that_can_be_taken_back_do_not_raise_the_bound,
    test_the_chain_lets_it_go_on_with_half,
    test_what_is_final_makes_room,
    test_what_is_not_the_buyers_doing_bars_nobody,
    test_what_is_under_a_mandate_counts_as_the_mandate,
    test_who_takes_its_word_back_is_barred,
)

SESSION: Final = Authority.SESSION

BUGS: Final[dict[str, tuple[Patch, Callable[[], None]]]] = {
    "nobody is bounded": (
        never("fault_in_trust", delivery),
        lambda: test_no_more_is_served_than_may_be_taken_back(SESSION),
    ),
    "calls in flight are not bounded": (
        edited(
            trust, "fault_in_trust", "lease.delivered + lease.in_flight + units", "lease.delivered"
        ),
        lambda: test_no_more_is_served_than_may_be_taken_back(SESSION),
    ),
    "what is served is not counted": (
        never("count", metering),
        lambda: test_no_more_is_served_than_may_be_taken_back(SESSION),
    ),
    "what is final counts for ever": (never("count", settling), test_what_is_final_makes_room),
    "a failed call counts": (
        edited(
            metering,
            "note_reach",
            "count(state, lease, atoms)",
            "count(state, lease, max(atoms, 0))",
        ),
        test_a_failed_call_makes_room,
    ),
    "plain keys are bounded": (
        edited(trust, "is_counted", "is not _KEY", "is not None"),
        test_a_plain_key_is_not_bounded,
    ),
    "a mandate hides who signed it": (
        edited(
            trust,
            "authority_of",
            "record.authority if mandate is None else mandate.authority",
            "_KEY if mandate else record.authority",
        ),
        test_what_is_under_a_mandate_counts_as_the_mandate,
    ),
    "any receipt counts as paid": (
        edited(trust, "_is_receipt_doubtful", "word is not None and", "False and"),
        test_receipts_that_can_be_taken_back_do_not_raise_the_bound,
    ),
    "a receipt under way counts as paid": (
        edited(trust, "_is_receipt_doubtful", "(meter.receipt, under_way)", "(meter.receipt,)"),
        test_receipts_that_can_be_taken_back_do_not_raise_the_bound,
    ),
    "nobody is barred": (
        never("_bar", chain),
        lambda: test_who_takes_its_word_back_is_barred(SESSION, SESSION_REFUSED),
    ),
    "the barred buy on": (
        never("fault_in_bar", intake),
        lambda: test_who_takes_its_word_back_is_barred(SESSION, SESSION_REFUSED),
    ),
    "leases of the barred serve on": (
        never("_end_leases", chain),
        lambda: test_who_takes_its_word_back_is_barred(SESSION, SESSION_REFUSED),
    ),
    "mandates of the barred go on": (
        edited(chain, "_bar", "IntentState | MandateState", "IntentState"),
        test_a_barred_accounts_mandates_end,
    ),
    "plain keys of the barred are barred": (
        edited(chain, "_bar", "is Authority.KEY", "is None"),
        test_a_barred_accounts_mandates_end,
    ),
    "any refusal is the buyer's": (
        edited(trust, "is_buyers_fault", "authority is _CONTRACT", "True"),
        lambda: test_what_is_not_the_buyers_doing_bars_nobody(SESSION, BAD_SIGNATURE),
    ),
    "a seller's end is its buyers'": (
        edited(
            trust,
            "_is_offer_good",
            "session.live and session.expires_at * 1_000 >= lease.filled_ms",
            "True",
        ),
        test_a_sellers_session_that_ended_bars_no_buyer,
    ),
    "nothing is lost by it": (
        edited(trust, "unsettled_max", " >> trust.refusals", ""),
        test_again_and_again_takes_less_than_twice_the_bound,
    ),
    "there is no way out": (
        never("regain_trust", chain),
        lambda: test_the_chain_lets_it_go_on_with_half("grant"),
    ),
    "an old matter counts again": (
        edited(trust, "lose_trust", "filled_ms >= trust.barred_ms", "True"),
        test_one_matter_counts_once,
    ),
    "a refused receipt is nothing": (never("_skip_record", chain), test_a_refused_receipt_bars_too),
    "whatever waits was refused": (
        edited(
            chain,
            "_skip_record",
            "if unpaid and",
            "unpaid = [state.leases[one] for one in state.metering.of(fact.account).waiting]\n"
            "    if unpaid and",
        ),
        test_a_claim_that_overtakes_a_receipt_bars_nobody,
    ),
    "a plain key's receipt is taken back": (
        edited(chain, "_skip_record", " or receipt.authority is Authority.KEY", ""),
        lambda: test_other_refusals_of_receipts_bar_nobody(Authority.KEY, 7),
    ),
}


@pure_only
@pytest.mark.parametrize(("patch", "test"), BUGS.values(), ids=BUGS)
def test_a_test_finds_it(
    patch: Patch, test: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test that is named for it fails."""
    patch(monkeypatch)
    with pytest.raises((AssertionError, Violation, ValueError)):
        test()
