"""One policy, two evaluators: `intents.policy` and the contracts', case by case on a real Anvil.

`KEYFILL_POLICY_CASES` sets how many acts are judged (50,000 unless said). The seed is in
every failure and repeats it as `KEYFILL_SEED`.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

import msgspec
import pytest
from tiny_keccak import keccak256

from contracts.anvil import Anvil
from contracts.bindings import load
from intents import cap_word, policy
from intents.bound import PERIOD_S_MAX, TEAM_MAX
from intents.cap_word import Bearer
from intents.document import SessionGrant
from intents.policy import Act, CounterpartyRule, Line, Permission, Verdict, Words, evaluate
from tests.seed import SEED

CASES: Final = int(os.environ.get("KEYFILL_POLICY_CASES", "50000"))
PLANTED_CASES: Final = 8_000
ACCOUNTS: Final = 500
"""Judged at once, in one call; each goes on with the words that the last act left."""
GRANTED_KEYS: Final = 40
GRANTS: Final = 50
LINES: Final = 2
CALL_GAS: Final = "0x1c9c380"
RECEIPT_ATTEMPTS_MAX: Final = 1_000
DEV: Final = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
START_S: Final = 1_800_000_000
RESOURCES: Final = tuple(policy.resource_of(name) for name in ("a/b:call", "a/c:call", ""))
SELLERS: Final = (0x5E11E2, 0x5E11E3)

_WORD: Final = 32
_LENS: Final = load("SessionLens")


class Account(msgspec.Struct):
    """An account with one key: its words, its session epoch, and the time that it has come to."""

    words: Words
    session_epoch: int
    time_s: int
    size: int
    """About as many atoms as its caps."""


# -- random accounts and acts


def _cap(random: Random, size: int) -> int:
    return random.choice((size, size, random.randint(0, 2 * size), 0, 1, 2**96 - 1))


def _period(random: Random) -> int:
    return random.choice((3_600, 86_400, 1, 240, 241, PERIOD_S_MAX, random.randint(1, 10**6)))


def _grant(random: Random, account: Account) -> SessionGrant:
    units = random.choice((0, 0, 50, random.randint(1, 1_000)))
    spend = _cap(random, account.size)
    return SessionGrant(
        account="0x" + "aa" * 20,
        key="0x" + "bb" * 20,
        team=random.choice((0, 1, TEAM_MAX)),
        permissions=random.choice((2, 16, 18, 22, 54)),
        resource=random.choice(("", "a/b:call", "a/c:call")),
        tick_max=random.choice((0, 0, 10**6, random.randint(0, 10**8))),
        units=units,
        spend=spend,
        period=_period(random) if units or spend else 0,
        expires_at=account.time_s + random.choice((1, 3_600, 10**6)),
        session_epoch=account.session_epoch,
        nonce=0,
    )


def _capped(random: Random, account: Account, word: int) -> int:
    if random.random() < 0.3:
        return cap_word.without_cap(word)
    return cap_word.with_cap(word, _cap(random, account.size), _period(random), account.time_s)


def _new_account(random: Random) -> Account:
    account = Account(
        words=Words(counterparties=(0,) * LINES),
        session_epoch=random.choice((0, 1, 2**24 - 1)),
        time_s=START_S + random.randrange(10**7),
        size=10 ** random.randint(0, 18),
    )
    account.words = policy.granted(account.words, _grant(random, account), account.time_s)
    if random.random() < 0.05:
        # Any bits at all, in any word; a root's rule is one of three.
        wild = [random.getrandbits(256) for _ in range(4 + LINES)]
        root = cap_word.with_bearer(random.getrandbits(256), Bearer(permissions=2))
        account.words = Words(
            key=wild[0],
            terms=wild[1],
            units=wild[2],
            team=wild[3],
            root=root,
            counterparties=tuple(wild[4:]),
        )
        account.session_epoch = cap_word.bearer_of(wild[0]).session_epoch
    return account


def _change(random: Random, account: Account) -> None:
    """What an owner does between acts."""
    words = account.words
    kind = random.randrange(8)
    if kind == 0:
        account.words = policy.granted(words, _grant(random, account), account.time_s)
    elif kind == 1:
        account.words = msgspec.structs.replace(words, team=_capped(random, account, words.team))
    elif kind == 2:
        account.words = msgspec.structs.replace(words, root=_capped(random, account, words.root))
    elif kind == 3:
        sellers = tuple(_capped(random, account, word) for word in words.counterparties)
        account.words = msgspec.structs.replace(words, counterparties=sellers)
    elif kind == 4:
        rule = random.choice(tuple(CounterpartyRule))
        root = cap_word.with_bearer(words.root, Bearer(permissions=rule))
        account.words = msgspec.structs.replace(words, root=root)
    elif kind == 5 and random.random() < 0.2:
        account.session_epoch = (account.session_epoch + 1) % 2**24


def _act(random: Random, account: Account) -> Act:
    bucket = cap_word.period_of(account.words.key) // 8
    account.time_s += random.choice((0, 0, 1, bucket, 8 * bucket, 450, random.randrange(10**5)))
    left = cap_word.left_at(account.words.key, account.time_s)
    around = random.choice((account.size // 10, account.size, left or 0))
    amount = random.choice((around, around + 1, random.randint(0, 2 * around), 0))
    units = random.choice((0, 1, 10, 51, random.randrange(10**6)))
    tick_max = account.words.terms & 2**64 - 1
    if tick_max and random.random() < 0.3:
        # At the price's edge, or one atom above it.
        amount = units * tick_max // 10**6 + random.randrange(2)
        amount = min(amount, 2**90)
    first = random.randint(0, amount)
    sellers = SELLERS if random.random() < 0.95 else SELLERS[::-1]
    told = amount if random.random() < 0.95 else amount + 1
    return Act(
        permission=random.choice((Permission.RECEIPT, Permission.SIGN, 18, 0)),
        resource=random.choice((0, *RESOURCES)),
        units=units,
        amount=amount,
        session_epoch=account.session_epoch,
        time_s=account.time_s,
        grace_s=random.choice((0, 3_600)),
        lines=(Line(sellers[0], first), Line(sellers[1], told - first)),
    )


# -- the contracts


def _words_of(numbers: Iterator[int] | list[int]) -> bytes:
    return b"".join(number.to_bytes(_WORD, "big") for number in numbers)


def _array(elements: list[list[int]]) -> bytes:
    """ABI of an array of structs that end in an array, all of one length."""
    size = len(elements[0]) * _WORD
    start = len(elements) * _WORD
    offsets = [start + place * size for place in range(len(elements))]
    flat = [number for element in elements for number in element]
    return _words_of([len(elements), *offsets, *flat])


def _abi_words(words: Words) -> list[int]:
    fixed = [words.key, words.terms, words.units, words.team, words.root]
    return [*fixed, 6 * _WORD, LINES, *words.counterparties]


def _abi_act(act: Act) -> list[int]:
    fixed = [act.permission, act.resource, act.units, act.amount]
    times = [act.session_epoch, act.time_s, act.grace_s]
    lines = [line.counterparty << 96 | line.amount for line in act.lines]
    return [*fixed, *times, 8 * _WORD, LINES, *lines]


class Lens:
    """SessionLens on a chain."""

    def __init__(self, anvil: Anvil) -> None:
        self._anvil = anvil
        code = "0x" + _LENS.creation_code().hex()
        sent = anvil.rpc("eth_sendTransaction", {"from": DEV, "data": code, "gas": CALL_GAS})
        anvil.rpc("evm_mine")
        for _ in range(RECEIPT_ATTEMPTS_MAX):
            receipt = anvil.rpc("eth_getTransactionReceipt", sent)
            if receipt is not None:
                break
        self._address = receipt["contractAddress"]

    def evaluate(self, words: list[Words], acts: list[Act]) -> list[tuple[Verdict, Words]]:
        """What the contracts make of each act."""
        first = _array([_abi_words(each) for each in words])
        second = _array([_abi_act(each) for each in acts])
        numbers = self._call("evaluate", _words_of([64, 64 + len(first)]) + first + second)
        count = len(acts)
        size = 7 + LINES
        told = []
        for place in range(count):
            # Two offsets, the verdicts, a length and the offsets of the words.
            at = 2 + (1 + count) + (1 + count) + place * size
            key, terms, units, team, root = numbers[at : at + 5]
            after = Words(
                key=key,
                terms=terms,
                units=units,
                team=team,
                root=root,
                counterparties=tuple(numbers[at + 7 : at + size]),
            )
            told.append((Verdict(numbers[3 + place]), after))
        return told

    def capped(self, words: list[int], caps: list[int], periods: list[int], now: int) -> list[int]:
        """What the contracts make of each cap that is set."""
        arrays = [_words_of([len(each), *each]) for each in (words, caps, periods)]
        heads = [128, 128 + len(arrays[0]), 128 + 2 * len(arrays[0]), now]
        return self._call("capped", _words_of(heads) + b"".join(arrays))[2:]

    def granted(self, words: Words, grants: list[SessionGrant], times: list[int]) -> list[Words]:
        """What the contracts make of grants to one key, each after the one before."""
        item = _LENS.function("granted")
        documents = [
            tuple(
                keccak256(grant.resource.encode()) if field == "resource" else getattr(grant, field)
                for field in grant.__struct_fields__
            )
            for grant in grants
        ]
        data = item.encode(words.key, words.units, documents, times)
        call = {"to": self._address, "data": "0x" + data.hex(), "gas": CALL_GAS}
        raw = bytes.fromhex(self._anvil.rpc("eth_call", call, "latest")[2:])
        told = []
        for grant, key, terms, units in zip(grants, *item.decode_outputs(raw), strict=True):
            is_termed = bool(terms or grant.units)
            kept = terms if is_termed else words.terms
            words = msgspec.structs.replace(words, key=key, terms=kept, units=units)
            told.append(words)
        return told

    def _call(self, name: str, arguments: bytes) -> list[int]:
        data = "0x" + (_LENS.function(name).selector + arguments).hex()
        call = {"to": self._address, "data": data, "gas": CALL_GAS}
        raw = bytes.fromhex(self._anvil.rpc("eth_call", call, "latest")[2:])
        return [int.from_bytes(raw[at : at + _WORD], "big") for at in range(0, len(raw), _WORD)]


@pytest.fixture(scope="module")
def lens(anvil: Anvil) -> Lens:
    """The contracts' evaluator."""
    return Lens(anvil)


# -- the two beside each other


def _disagreements(lens: Lens, cases: int) -> tuple[list[str], Counter[Verdict]]:
    """Every case in which the evaluators differ in verdict or words; and what was said."""
    random = Random(SEED)  # noqa: S311  test data
    accounts = [_new_account(random) for _ in range(ACCOUNTS)]
    differing: list[str] = []
    said: Counter[Verdict] = Counter()
    for _ in range(0, cases, ACCOUNTS):
        for place, account in enumerate(accounts):
            if random.random() < 0.02:
                accounts[place] = _new_account(random)
            else:
                _change(random, account)
        words = [account.words for account in accounts]
        acts = [_act(random, account) for account in accounts]
        theirs = lens.evaluate(words, acts)
        for account, act, told in zip(accounts, acts, theirs, strict=True):
            ours = evaluate(account.words, act)
            if ours != told:
                differing.append(f"{act} of {account.words}: {ours}, on chain {told}")
            said[told[0]] += 1
            account.words = told[1]
    return differing, said


def test_both_evaluators_agree(lens: Lens) -> None:
    """Python and Solidity give each act the same verdict and leave the same words behind."""
    differing, said = _disagreements(lens, CASES)
    assert differing == [], f"KEYFILL_SEED={SEED}"
    assert said.total() >= CASES
    assert {verdict for verdict in Verdict if said[verdict] < CASES // 2_500} == set(), said


def test_both_set_the_same_caps(lens: Lens) -> None:
    """A cap set on any word, of any charges and at any time, gives the same word."""
    random = Random(SEED)  # noqa: S311  test data
    for _ in range(20):
        now = START_S + random.randrange(10**8)
        words, caps, periods = [], [], []
        for _ in range(ACCOUNTS):
            account = Account(words=Words(), session_epoch=0, time_s=now, size=10**9)
            word = random.choice((0, random.getrandbits(256)))
            if random.random() < 0.6:
                word = cap_word.with_cap(word, _cap(random, 10**9), _period(random), now - 10**4)
                for _ in range(4):
                    word = cap_word.charge(word, random.randrange(10**9), now - 900) or word
            words.append(word)
            caps.append(_cap(random, account.size))
            periods.append(_period(random) if random.random() < 0.9 else 0)
        ours = [
            cap_word.with_cap(word, cap, period, now) if period else cap_word.without_cap(word)
            for word, cap, period in zip(words, caps, periods, strict=True)
        ]
        assert ours == lens.capped(words, caps, periods, now), f"KEYFILL_SEED={SEED}"


def test_both_read_the_same_grants(lens: Lens) -> None:
    """A chain of grants to one key, each at its time, leaves the same words behind in both."""
    random = Random(SEED)  # noqa: S311  test data
    for _ in range(GRANTED_KEYS):
        account = _new_account(random)
        words, grants, times, ours = account.words, [], [], []
        after = words
        for _ in range(GRANTS):
            account.time_s += random.choice((0, 450, random.randrange(10**5)))
            grant = _grant(random, account)
            after = policy.granted(after, grant, account.time_s)
            grants.append(grant)
            times.append(account.time_s)
            ours.append(after)
        assert ours == lens.granted(words, grants, times), f"KEYFILL_SEED={SEED}"


def _patch_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring that forgets one bucket too early."""
    monkeypatch.setattr(cap_word, "BUCKETS", 7)


def _patch_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Roundings for the bearer."""
    monkeypatch.setattr(cap_word, "_ceil_shift", lambda value, bits: value >> bits)


def _patch_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Terms that are not looked at."""
    monkeypatch.setattr(policy, "TERMED", 64)


def _patch_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """A price that is off by one part in a thousand."""
    monkeypatch.setattr(policy, "TICK_UNITS", 10**6 - 1_000)


def _patch_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any resource for a key that may buy one."""
    monkeypatch.setattr(policy, "_TICK_MASK", 2**256 - 1)


@pytest.mark.parametrize(
    "plant", [_patch_ring, _patch_rounding, _patch_terms, _patch_price, _patch_resource]
)
def test_a_planted_disagreement_is_found(
    lens: Lens, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], Any]
) -> None:
    """The comparison above can fail: on one bucket less, one rounding, one term."""
    plant(monkeypatch)
    differing, _ = _disagreements(lens, PLANTED_CASES)
    assert differing, f"KEYFILL_SEED={SEED}"
