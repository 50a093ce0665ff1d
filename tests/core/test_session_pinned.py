"""Session keys to the atom: whom they pay, which caps are whose, and what is promised twice."""

import pytest

from intents.reject import RejectCode
from solver.core.fact import CounterpartyRuleChanged
from solver.core.session import is_within_caps, left_of
from tests.builder import alice
from tests.core.test_session import a_cap, a_keyed_bench, bid_by, erin, frank, granted


def test_an_account_with_a_rule_for_payees_buys_by_its_own_key() -> None:
    """The market picks sellers, and no key of it may pay just anybody; until the rule ends."""
    bench = a_keyed_bench()
    granted(bench)
    bench.chain(CounterpartyRuleChanged(account=alice.address, rule=1))
    assert bench.refuse(bid_by(erin, 1)) is RejectCode.SESSION_TERMS
    bench.chain(CounterpartyRuleChanged(account=alice.address, rule=0))
    bench.do(bid_by(erin, 1))


@pytest.mark.parametrize(("team", "left"), [(4, 100), (5, 500)])
def test_a_teams_cap_is_for_its_own_keys(team: int, left: int) -> None:
    """What a key of another team promised takes nothing from it."""
    bench = a_keyed_bench()
    bench.chain(a_cap(bench, 500, team=4), a_cap(bench, 500, team=5))
    granted(bench, erin, team=4)
    granted(bench, frank, team=team)
    bench.do(bid_by(erin, 200, 400))
    session = bench.market.state.accounts[alice.address].sessions[frank.address]
    assert left_of(bench.market.state, alice.address, session) == left


def test_a_key_that_promised_all_is_within_its_caps() -> None:
    """Nothing is left, and all of it can be paid."""
    bench = a_keyed_bench()
    granted(bench)
    bench.do(bid_by(erin, 200, 1_000))
    session = bench.market.state.accounts[alice.address].sessions[erin.address]
    left = left_of(bench.market.state, alice.address, session)
    more = bid_by(erin, 1, left + 1)
    assert bench.refuse(more) is RejectCode.SESSION_CAP_EXCEEDED
    if left:
        bench.do(bid_by(erin, 1_000, left))
    assert left_of(bench.market.state, alice.address, session) == 0
    assert is_within_caps(bench.market.state, alice.address, session)
