"""Rolling caps and the policy of session keys, in pure integers."""

from dataclasses import dataclass, field
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents import cap_word
from intents.bound import PERIOD_S_MAX
from intents.cap_word import Bearer, CapPeriodInvalid
from intents.policy import (
    TERMED,
    Act,
    CounterpartyRule,
    Line,
    Permission,
    Verdict,
    Words,
    evaluate,
    granted,
    resource_of,
)
from tests.builder import SEARCH, START_S, a_grant, alice, bob

DAY_S: Final = 86_400
SELLER: Final = 0x5E11E2
OTHER: Final = 0x5E11E3

charges = st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 1_100)), max_size=40)


@dataclass
class History:
    """What was let pass, and when."""

    charges: list[tuple[int, int]] = field(default_factory=list)

    def since(self, time_s: int) -> int:
        """All that was charged at `time_s` or later."""
        return sum(amount for at, amount in self.charges if at >= time_s)


@given(steps=charges, cap=st.integers(0, 1_000), period=st.integers(1, 2 * DAY_S))
def test_no_window_holds_more_than_the_cap(
    steps: list[tuple[int, int]], cap: int, period: int
) -> None:
    """Whatever is asked for and when, a period that ends with a charge holds at most the cap."""
    word = cap_word.with_cap(0, cap, period, START_S)
    history, now = History(), START_S
    for wait, amount in steps:
        now += wait
        left = cap_word.left_at(word, now)
        assert left is not None
        after = cap_word.charge(word, amount, now)
        assert (after is not None) == (amount <= left)
        if after is not None:
            word = after
            history.charges.append((now, amount))
        assert history.since(now - period) <= cap
        assert history.since(now - period) <= cap_word.spent_at(word, now)


def test_a_calendars_edge_lets_nothing_twice() -> None:
    """A cap spent a second before midnight is not there a second after it, but 9/8 days later."""
    midnight = START_S // DAY_S * DAY_S + DAY_S
    word = cap_word.charge(cap_word.with_cap(0, 10**9, DAY_S, START_S), 10**9, midnight - 1)
    assert word is not None
    assert cap_word.left_at(word, midnight) == 0
    assert cap_word.left_at(word, midnight + DAY_S - 1) == 0
    assert cap_word.left_at(word, midnight - 1 + DAY_S + DAY_S // 8) == 10**9


@given(
    caps=st.lists(st.integers(1, 10**12), min_size=1, max_size=8),
    periods=st.lists(st.integers(1, PERIOD_S_MAX), min_size=1, max_size=8),
    amounts=st.lists(st.integers(0, 10**12), min_size=1, max_size=8),
)
def test_setting_a_cap_lowers_nothing(
    caps: list[int], periods: list[int], amounts: list[int]
) -> None:
    """Whatever cap is set, or lifted and set again, what counted before still counts."""
    word = 0
    for cap, period, amount in zip(caps, periods, amounts, strict=False):
        spent = cap_word.spent_at(word, START_S)
        word = cap_word.with_cap(cap_word.without_cap(word), cap, period, START_S)
        assert cap_word.spent_at(word, START_S) >= spent
        assert cap_word.cap_of(word) <= cap
        assert cap_word.period_of(word) >= period
        word = cap_word.charge(word, amount, START_S) or word


@pytest.mark.parametrize("period", [0, PERIOD_S_MAX + 1])
def test_a_period_that_no_word_keeps(period: int) -> None:
    """No seconds, or more than 91 days, are refused rather than cut."""
    with pytest.raises(CapPeriodInvalid):
        cap_word.with_cap(0, 1, period, START_S)


@given(
    expires_at=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 2**24 - 1),
    permissions=st.integers(0, 255),
    team=st.integers(0, 2**11 - 1),
    word=st.integers(0, 2**256 - 1),
)
def test_a_bearer_reads_back(
    expires_at: int, epoch: int, permissions: int, team: int, word: int
) -> None:
    """Each field keeps to its bits, and the cap stays as it was."""
    bearer = Bearer(expires_at, epoch, permissions, team)
    after = cap_word.with_bearer(word, bearer)
    assert cap_word.bearer_of(after) == bearer
    assert cap_word.with_bearer(after, cap_word.bearer_of(word)) == word


# -- the policy


def _words() -> Words:
    """Of the builder's grant: ten searches, or 2 USDC of them, an hour."""
    return granted(Words(), a_grant(alice, bob), START_S)


def _call(**terms: int | tuple[Line, ...]) -> Act:
    """One search for 0.2 USDC, now."""
    fields = {
        "permission": Permission.SIGN,
        "resource": resource_of(SEARCH),
        "units": 1,
        "amount": 200_000,
        "session_epoch": 0,
        "time_s": START_S,
    }
    return Act(**{**fields, **terms})  # type: ignore[arg-type]


def test_a_granted_key_buys_what_it_may() -> None:
    """Ten calls pass, the eleventh does not until the hour is over, and a bit."""
    words = _words()
    for _ in range(10):
        verdict, words = evaluate(words, _call())
        assert verdict is Verdict.ALLOWED
    assert evaluate(words, _call())[0] is Verdict.UNITS_EXCEEDED
    assert evaluate(words, _call(time_s=START_S + 3_600 * 9 // 8))[0] is Verdict.ALLOWED


@pytest.mark.parametrize(
    ("verdict", "terms"),
    [
        (Verdict.NOT_LIVE, {"session_epoch": 1}),
        (Verdict.EXPIRED, {"time_s": START_S + 86_401}),
        (Verdict.PERMISSION_MISSING, {"permission": Permission.CANCEL}),
        (Verdict.RESOURCE_FORBIDDEN, {"resource": resource_of("tavily/extract:call")}),
        (Verdict.PRICE_ABOVE_TICK, {"amount": 1_000_001}),
        (Verdict.UNITS_EXCEEDED, {"units": 11}),
        (Verdict.KEY_CAP_EXCEEDED, {"amount": 2_000_001, "units": 10}),
    ],
)
def test_each_reason_in_its_order(verdict: Verdict, terms: dict[str, int]) -> None:
    """Each reason is told, and together with any later one it is the earlier that is told."""
    words = _words()
    assert evaluate(words, _call(**terms)) == (verdict, words)
    later = {"amount": 3_000_000} | terms
    assert evaluate(words, _call(**later))[0] <= max(verdict, Verdict.PRICE_ABOVE_TICK)


def test_a_session_serves_to_its_last_second_and_settles_in_its_grace() -> None:
    """The market serves no second longer; what was served before settles for the grace after."""
    words, end = _words(), START_S + 86_400
    assert evaluate(words, _call(time_s=end))[0] is Verdict.ALLOWED
    assert evaluate(words, _call(time_s=end + 1))[0] is Verdict.EXPIRED
    assert evaluate(words, _call(time_s=end + 60, grace_s=60))[0] is Verdict.ALLOWED


def test_a_total_is_not_held_against_terms() -> None:
    """A receipt names no resource: its terms were kept before each call; caps hold."""
    act = _call(permission=Permission.RECEIPT, resource=0, units=10**6, amount=2_000_000)
    assert evaluate(_words(), act)[0] is Verdict.ALLOWED
    assert evaluate(_words(), msgspec.structs.replace(act, amount=2_000_001))[0] is (
        Verdict.KEY_CAP_EXCEEDED
    )


def test_team_and_account_share_their_caps() -> None:
    """What one key spent counts against the next one's team and account."""
    team = cap_word.with_cap(0, 500_000, DAY_S, START_S)
    root = cap_word.with_cap(0, 600_000, DAY_S, START_S)
    words = msgspec.structs.replace(_words(), team=team, root=root)
    verdict, words = evaluate(words, _call(amount=400_000))
    assert verdict is Verdict.ALLOWED
    other = msgspec.structs.replace(_words(), team=words.team, root=words.root)
    assert evaluate(other, _call(amount=100_001))[0] is Verdict.TEAM_CAP_EXCEEDED
    teamless = msgspec.structs.replace(other, team=0)
    assert evaluate(teamless, _call(amount=200_001))[0] is Verdict.ROOT_CAP_EXCEEDED
    assert evaluate(teamless, _call(amount=200_000))[0] is Verdict.ALLOWED


def _paying(rule: CounterpartyRule, *words: int) -> Words:
    root = cap_word.with_bearer(0, Bearer(permissions=rule))
    return msgspec.structs.replace(_words(), root=root, counterparties=words)


def test_counterparties_within_their_caps() -> None:
    """A counterparty's cap holds for all lines or none; who is not listed is not paid."""
    cap = cap_word.with_cap(0, 100, DAY_S, START_S)
    lines = (Line(SELLER, 100), Line(OTHER, 1))
    act = _call(amount=101, lines=lines)
    assert evaluate(_paying(CounterpartyRule.CAPPED, cap, 0), act)[0] is Verdict.ALLOWED
    assert evaluate(_paying(CounterpartyRule.LISTED, cap, 0), act)[0] is (
        Verdict.COUNTERPARTY_UNLISTED
    )
    assert evaluate(_paying(CounterpartyRule.LISTED, cap, cap), act)[0] is Verdict.ALLOWED
    assert evaluate(_paying(CounterpartyRule.CAPPED, 0, cap), act)[0] is Verdict.ALLOWED
    more = _call(amount=102, lines=(Line(SELLER, 101), Line(OTHER, 1)))
    assert evaluate(_paying(CounterpartyRule.CAPPED, cap, 0), more)[0] is (
        Verdict.COUNTERPARTY_CAP_EXCEEDED
    )


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (Line(SELLER, 50), Line(SELLER, 51)),
        (Line(OTHER, 50), Line(SELLER, 51)),
        (Line(SELLER, 50), Line(OTHER, 50)),
    ],
)
def test_lines_that_do_not_add_up(lines: tuple[Line, ...]) -> None:
    """No one twice, none out of order, and neither more nor less than the act's atoms."""
    words = _paying(CounterpartyRule.CAPPED, *(0 for _ in lines))
    assert evaluate(words, _call(amount=101, lines=lines)) == (
        Verdict.COUNTERPARTIES_INVALID,
        words,
    )


def test_granting_again_gives_nothing_back() -> None:
    """With the same, other or no terms between, units and atoms count on."""
    words = evaluate(_words(), _call(units=10, amount=2_000_000))[1]
    bare = msgspec.structs.replace(
        a_grant(alice, bob), resource="", tick_max=0, units=0, spend=0, period=0
    )
    between = granted(words, bare, START_S)
    assert cap_word.permissions_of(between.key) & TERMED == 0
    assert not cap_word.is_capped(between.key)
    again = granted(between, a_grant(alice, bob), START_S)
    assert again == words
    assert evaluate(again, _call(units=1, amount=0))[0] is Verdict.UNITS_EXCEEDED
    assert evaluate(again, _call(units=0, amount=1))[0] is Verdict.PRICE_ABOVE_TICK


def test_a_price_at_the_limit_passes() -> None:
    """⌊d·t/10⁶⌋ atoms for d units are allowed, one more is not."""
    assert evaluate(_words(), _call(amount=10**6))[0] is Verdict.ALLOWED
    assert evaluate(_words(), _call(amount=10**6 + 1))[0] is Verdict.PRICE_ABOVE_TICK


def test_a_key_of_any_resource_keeps_to_its_price() -> None:
    """Terms may name a price alone, or units alone; either is held."""
    anywhere = msgspec.structs.replace(a_grant(alice, bob), resource="", units=0)
    words = granted(Words(), anywhere, START_S)
    other = resource_of("tavily/extract:call")
    assert evaluate(words, _call(resource=other))[0] is Verdict.ALLOWED
    assert evaluate(words, _call(resource=other, amount=10**6 + 1))[0] is Verdict.PRICE_ABOVE_TICK
    counted = msgspec.structs.replace(a_grant(alice, bob), resource="", tick_max=0)
    words = granted(Words(), counted, START_S)
    assert evaluate(words, _call(resource=other, units=10))[0] is Verdict.ALLOWED
    assert evaluate(words, _call(resource=other, units=11))[0] is Verdict.UNITS_EXCEEDED


def test_terms_that_are_not_marked_bind_nobody() -> None:
    """A word of terms that an earlier grant left behind is not the key's."""
    bare = msgspec.structs.replace(
        a_grant(alice, bob), resource="", tick_max=0, units=0, spend=0, period=0
    )
    words = granted(_words(), bare, START_S)
    assert words.terms
    act = _call(resource=resource_of("tavily/extract:call"), units=99, amount=10**9)
    assert evaluate(words, act)[0] is Verdict.ALLOWED


def test_a_key_that_never_was_is_told_so() -> None:
    """No permissions at all is no session, whatever is asked; a single one is a session."""
    assert evaluate(Words(), _call())[0] is Verdict.NOT_LIVE
    for permission in Permission:
        key = cap_word.with_bearer(0, Bearer(START_S, 0, permission, 0))
        act = _call(permission=permission)
        assert evaluate(Words(key=key), act)[0] is Verdict.ALLOWED


def test_what_counterparties_were_paid_is_kept() -> None:
    """Each line's word has its own charge; without a rule none changes."""
    cap = cap_word.with_cap(0, 100, DAY_S, START_S)
    act = _call(amount=101, lines=(Line(SELLER, 100), Line(OTHER, 1)))
    _, after = evaluate(_paying(CounterpartyRule.CAPPED, cap, cap), act)
    assert [cap_word.spent_at(word, START_S) for word in after.counterparties] == [100, 1]
    _, after = evaluate(_paying(CounterpartyRule.ANY, cap, cap), act)
    assert after.counterparties == (cap, cap)


def test_lines_ascend_throughout() -> None:
    """Two that are in order do not excuse a third that is not; words must be as many as lines."""
    lines = (Line(SELLER, 50), Line(OTHER, 50), Line(SELLER, 1))
    words = _paying(CounterpartyRule.CAPPED, 0, 0, 0)
    assert evaluate(words, _call(amount=101, lines=lines))[0] is Verdict.COUNTERPARTIES_INVALID
    with pytest.raises(ValueError, match="longer"):
        evaluate(_paying(CounterpartyRule.CAPPED, 0), _call(amount=100, lines=lines[:2]))
