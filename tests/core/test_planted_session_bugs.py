"""Bugs in what session keys may buy, planted: a test of it finds each."""

from collections.abc import Callable
from typing import Final

import pytest

from solver.core import chain, delivery, intake, metered, metering, session, settling, trade
from solver.core.check import Violation
from tests.core.sabotage import Patch, edited, never, pure_only
from tests.core.test_session import (
    test_a_claims_signer_is_charged,
    test_a_fill_is_charged_as_on_chain,
    test_a_key_is_held_to_its_terms,
    test_a_key_without_the_permission_signs_no_receipt,
    test_a_keys_units_are_counted_call_by_call,
    test_a_receipt_beyond_the_caps_is_refused,
    test_a_receipt_counts_what_is_under_way,
    test_a_revoked_keys_receipt_is_void,
    test_a_window_ends,
    test_another_keys_receipt_does_not_spare_who_bought,
    test_rotation_moves_words_and_promises,
    test_the_chain_can_pay_for_whatever_a_key_buys,
    test_the_chain_takes_the_receipt_of_a_key_that_did_not_buy,
    test_the_smallest_cap_counts,
    test_units_of_a_fill_stay_promised_until_the_chain_counts_them,
    test_what_a_key_for_receipts_buys_is_metered,
    test_what_a_key_signs_for_others_it_has_promised,
    test_what_is_bought_under_a_cap_is_promised_under_it_once,
    test_what_is_left_of_a_lowered_cap_is_taken,
    test_what_is_not_metered_is_settled_fill_by_fill,
    test_what_settles_is_charged_as_on_chain,
    test_whatever_takes_from_a_key_ends_what_it_signed,
)

BUGS: Final[dict[str, tuple[Patch, Callable[[], None]]]] = {
    "who signs no receipts is metered": (
        edited(session, "may_receipt", "& MAY_RECEIPT", "& -1"),
        test_what_a_key_for_receipts_buys_is_metered,
    ),
    "whatever a key buys is metered": (
        edited(trade, "_is_metered", "and not intent.has_minimum", ""),
        test_what_is_not_metered_is_settled_fill_by_fill,
    ),
    "a fill is not charged": (never("charge_fill", settling), test_a_fill_is_charged_as_on_chain),
    "a fill's units are not charged": (
        edited(session, "charge_fill", "session.units, units,", "session.units, 0,"),
        test_a_fill_is_charged_as_on_chain,
    ),
    "a fill's units are counted twice": (
        edited(session, "note_units", "if lease.metered:", "if True:"),
        test_units_of_a_fill_stay_promised_until_the_chain_counts_them,
    ),
    "what was skipped is charged": (
        edited(settling, "settle", "if skipped_reason is None else 0)", ")"),
        test_units_of_a_fill_stay_promised_until_the_chain_counts_them,
    ),
    "a mandate for anything will do": (
        edited(session, "_fault_in_terms", "if mandate is None else mandate.resource", ""),
        test_a_key_is_held_to_its_terms,
    ),
    "any resource is sold": (
        edited(session, "_fault_in_terms", "(0, resource_of", "(0, named, resource_of"),
        test_a_key_is_held_to_its_terms,
    ),
    "any price is paid": (
        edited(session, "_fault_in_terms", "if tick_max and", "if False and"),
        test_a_key_is_held_to_its_terms,
    ),
    "units are not bounded": (
        never("fault_in_units", delivery),
        test_a_keys_units_are_counted_call_by_call,
    ),
    "units in flight are not counted": (
        edited(session, "note_units", "session.units_in_flight += in_flight", "pass"),
        test_a_keys_units_are_counted_call_by_call,
    ),
    "units that were used are not counted": (
        edited(
            session,
            "note_units",
            "_charged(session.units, delivered, state.now_ms // 1_000)",
            "session.units",
        ),
        test_a_keys_units_are_counted_call_by_call,
    ),
    "caps bound nothing": (never("fault_in_session", intake), test_the_smallest_cap_counts),
    "a team's cap bounds nothing": (
        edited(session, "_caps_over", 'caps.teams.get(team, "")', '""'),
        test_the_smallest_cap_counts,
    ),
    "a sibling's promises do not count": (
        edited(session, "_caps_over", "(own, teams, sessions)", "(own, teams, own)"),
        test_the_smallest_cap_counts,
    ),
    "what settles is not charged": (
        never("charge", metered),
        test_what_settles_is_charged_as_on_chain,
    ),
    "charges are of no time": (
        edited(chain, "_apply_to_keys", "state.metering.chain_s = fact.time_s", "pass"),
        test_what_settles_is_charged_as_on_chain,
    ),
    "a cap is for life": (
        edited(session, "_now_s", "state.now_ms // 1_000 - LAG_S", "0"),
        test_a_window_ends,
    ),
    "who bought is spared": (
        never("charge_purchase", metered),
        test_another_keys_receipt_does_not_spare_who_bought,
    ),
    "a claim is not charged": (never("charge", chain), test_a_claims_signer_is_charged),
    "any receipt is taken": (
        never("may_sign_receipt", metering),
        test_a_receipt_beyond_the_caps_is_refused,
    ),
    "the account's cap spares receipts": (
        edited(session, "_caps_over", "caps.root)", '"")'),
        test_a_receipt_beyond_the_caps_is_refused,
    ),
    "what is under way spares the key": (
        edited(session, "_left", "if one.signer in cap.keys", "if False"),
        test_a_receipt_counts_what_is_under_way,
    ),
    "what is under way is charged to all keys": (
        edited(session, "_left", "if one.signer in cap.keys", ""),
        test_a_receipt_counts_what_is_under_way,
    ),
    "what is under way spares a lowered cap": (
        edited(session, "_room_for", "if one.signer in cap.keys", "if False"),
        test_a_receipt_counts_what_is_under_way,
    ),
    "a lowered cap pays nothing": (
        edited(session, "_room_for", "_promisable(state, cap) - uncharged", "left"),
        test_what_is_left_of_a_lowered_cap_is_taken,
    ),
    "what others bought is promised already": (
        edited(session, "_room_for", "left + cap.bought(receipt)", "left + receipt.amount"),
        test_the_chain_takes_the_receipt_of_a_key_that_did_not_buy,
    ),
    "what keys bought is promised again": (
        edited(metering, "_bought", "+ lease.payment", "+ 0"),
        test_what_is_bought_under_a_cap_is_promised_under_it_once,
    ),
    "what a key signs for others it can promise again": (
        edited(session, "left_of", "_keys_receipts(state, account)", "[]"),
        test_what_a_key_signs_for_others_it_has_promised,
    ),
    "a promise is what one charge can be": (
        edited(session, "_promisable", "cap_word.promisable_at", "cap_word.left_at"),
        test_the_chain_can_pay_for_whatever_a_key_buys,
    ),
    "any key signs receipts": (
        edited(session, "may_sign_receipt", "session.permissions & MAY_RECEIPT", "True"),
        test_a_key_without_the_permission_signs_no_receipt,
    ),
    "a lower cap ends nothing": (
        never("_end_beyond_caps", chain),
        test_whatever_takes_from_a_key_ends_what_it_signed,
    ),
    "a revoked key's receipt is kept": (
        never("void_receipt", chain),
        test_a_revoked_keys_receipt_is_void,
    ),
    "rotation is a new cap": (
        edited(session, "rotate", "old, live=True", "old, word='0x0', live=True"),
        test_rotation_moves_words_and_promises,
    ),
    "rotation forgets promises": (
        edited(session, "_caps_over", "or name == before", ""),
        test_rotation_moves_words_and_promises,
    ),
}


@pure_only
@pytest.mark.parametrize(("patch", "test"), BUGS.values(), ids=BUGS)
def test_a_test_finds_it(
    patch: Patch, test: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test that is named for it fails."""
    patch(monkeypatch)
    with pytest.raises((AssertionError, Violation)):
        test()
