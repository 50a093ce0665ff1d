"""What a mandate covers: each term, to its edge."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.bound import AMOUNT_MAX, UNITS_MAX
from intents.document import Mandate
from intents.mandate import terms_fault
from intents.reject import RejectCode
from intents.rounding import bid_tick, payment_at
from tests.builder import CREDITS, START_S, TOKENS, alice, an_intent, bob
from tests.intents.mandate_builder import a_mandate


def test_an_intent_within_the_terms_is_covered() -> None:
    """The ground from which the faults below start; the price is at the mandate's edge."""
    assert terms_fault(a_mandate(alice), an_intent().limit(100).build(alice)) is None


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"account": bob.address}, "another account's"),
        ({"resource": TOKENS}, "is for openai"),
        ({"asset": CREDITS}, "pays in"),
        ({"tick_max": 99_999_999}, "goes to 99999999"),
        ({"valid_until": START_S + 3_599}, "ends at"),
    ],
)
def test_each_term_counts(terms: dict[str, Any], words: str) -> None:
    """An intent beyond any one term is refused, and told which."""
    fault = terms_fault(a_mandate(alice, **terms), an_intent().limit(100).build(alice))
    assert fault is not None
    assert fault.code is RejectCode.MANDATE_TERMS
    assert words in fault.message


def test_no_resource_means_any() -> None:
    """A mandate without a resource covers every one."""
    any_resource = a_mandate(alice, resource="")
    for resource in (TOKENS, "a/b:c"):
        assert terms_fault(any_resource, an_intent().of(resource).build(alice)) is None


@given(
    units=st.integers(1, UNITS_MAX),
    limit=st.integers(1, AMOUNT_MAX),
    tick_max=st.integers(1, AMOUNT_MAX),
    part=st.floats(0, 1),
)
def test_whatever_is_covered_can_settle(units: int, limit: int, tick_max: int, part: float) -> None:
    """A fill of a covered intent at its dearest keeps the contract's price check of the mandate."""
    mandate: Mandate = a_mandate(alice, tick_max=tick_max)
    intent = an_intent().units(units).limit(limit).build(alice)
    if terms_fault(mandate, intent) is None:
        delivered = round(units * part)
        payment = payment_at(bid_tick(limit, units), delivered)
        assert payment * 10**6 <= delivered * tick_max
