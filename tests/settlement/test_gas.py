"""How much gas a batch is sent with."""

import pytest

from solver.core.command import Authority
from solver.settlement.batch import asks_contracts
from tests.builder import a_bench, a_mandate, alice, an_intent, an_offer, bob


@pytest.mark.parametrize("seller", list(Authority)[:2])
@pytest.mark.parametrize("buyer", list(Authority)[:2])
def test_any_account_contract_counts(buyer: Authority, seller: Authority) -> None:
    """On either side of any line."""
    bench = a_bench()
    bench.do(an_offer().units(1).limit(1).signed_by(bob, seller))
    bid = an_intent().units(1).signed_by(alice, buyer)
    bench.do(bid)
    bench.use(bench.lease(bid), 1)
    bench.cut()
    state = bench.market.state
    expected = Authority.CONTRACT in (buyer, seller)
    assert asks_contracts(state, state.batches[0]) is expected


@pytest.mark.parametrize("authority", list(Authority)[:2])
def test_a_mandate_s_signature_counts(authority: Authority) -> None:
    """Whoever signed the mandate is asked, not the intent under it."""
    bench = a_bench()
    mandate = a_mandate().signed_by(alice, authority)
    bench.do(mandate)
    bench.do(an_offer().units(1).limit(1).signed_by(bob))
    bid = an_intent().units(1).under(mandate, alice)
    bench.do(bid)
    bench.use(bench.lease(bid), 1)
    bench.cut()
    state = bench.market.state
    assert asks_contracts(state, state.batches[0]) is (authority is Authority.CONTRACT)
