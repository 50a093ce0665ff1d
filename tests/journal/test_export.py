"""A tool of others adds our books up, and finds what does not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from beancount import loader  # type: ignore[import-untyped, unused-ignore]

from intents.receipt import ReceiptLine
from solver.core.command import ApplyBlocks, Command, IssueCredits
from solver.core.event import PaymentSettled
from solver.core.fact import ClaimPaid, Deposited
from solver.core.market import Market
from solver.journal import beancount as module
from solver.journal.beancount import beancount
from solver.journal.reader import JournalReader
from tests.builder import USDC, a_bench, alice, an_intent, an_offer, bob
from tests.core.floor import a_walk
from tests.core.test_metered import a_metered_log
from tests.journal.history import History


def the_books(folder: Path, log: list[Command]) -> str:
    History.at(folder).play(log).journal.close()
    reader = JournalReader.open(folder / "journal.db")
    try:
        return "\n".join(beancount(reader))
    finally:
        reader.close()


def complaints(text: str) -> list[Any]:
    """What the other tool has to say against it."""
    _, errors, _ = loader.load_string(text)
    return list(errors)


def entries(text: str, kind: str) -> list[Any]:
    return [entry for entry in loader.load_string(text)[0] if type(entry).__name__ == kind]


def a_settled_log() -> list[Command]:
    """A deposit, an issuance, a fill that is delivered, settled and paid."""
    bench = a_bench()
    bench.do(an_offer().units(5).limit(50).signed_by(bob))
    intent = an_intent().units(3).limit(60).signed_by(alice)
    bench.do(intent)
    bench.use(bench.lease(intent), 3)
    bench.settle(bench.cut())
    return bench.log


@pytest.fixture
def books(tmp_path: Path) -> str:
    """The books of the shortest whole story."""
    return the_books(tmp_path, a_settled_log())


@pytest.mark.parametrize("seed", range(4))
def test_the_books_of_a_whole_walk_add_up(tmp_path: Path, seed: int) -> None:
    """Deposits, withdrawals, issuance and payments lead to every balance of our ledger."""
    floor = a_walk(seed, 200)
    accepted = _accepted(floor.log)
    text = the_books(tmp_path, accepted)
    assert complaints(text) == []
    assert len(entries(text, "Transaction")) > 8
    ledger = floor.market.state.ledger
    money = [
        (owner, asset)
        for owner, asset in ledger.accounts()
        if not asset.startswith("unit:") and ledger.balance(owner, asset).total
    ]
    assert len(entries(text, "Balance")) >= len(money)


def test_the_books_name_what_happened(books: str) -> None:
    """A payment says which fill it is for, an issuance its reason, a deposit its block."""
    told = {entry.payee: entry for entry in entries(books, "Transaction")}
    assert set(told) == {"deposit", "issuance", "payment"}
    assert told["payment"].narration.startswith("0x")
    assert {"seq", "at"} <= set(told["payment"].meta)
    amounts = {str(posting.units) for posting in told["payment"].postings}
    assert amounts == {"0.000030 USDC", "-0.000030 USDC"}


def test_one_atom_too_much_is_found(books: str) -> None:
    """A payment that is off by one atom, on both sides, contradicts the balances."""
    assert complaints(books) == []
    assert complaints(books.replace("0.000030 USDC", "0.000031 USDC"))


def test_a_one_sided_amount_is_found(books: str) -> None:
    """A transaction that does not balance is refused by itself."""
    assert complaints(books.replace("-0.000030 USDC", "-0.000031 USDC", 1))


def test_a_payment_that_is_left_out_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If our export forgot payments, the other side would say so."""
    told = module.Books._from_events

    def forgetful(books: module.Books, events: Any) -> Iterator[Any]:
        list(told(books, events))
        return iter(())

    monkeypatch.setattr(module.Books, "_from_events", forgetful)
    assert complaints(the_books(tmp_path, a_settled_log()))


def test_the_books_of_metered_walks_add_up(tmp_path: Path) -> None:
    """What receipts, attestations and claims moved, known or not, leads to every balance."""
    for seed in range(6):
        log = a_metered_log(seed)
        lines = (ReceiptLine(seller=bob.address, amount=33),)
        block = max(one.number for one in log if isinstance(one, ApplyBlocks)) + 1
        claim = ApplyBlocks(
            at_ms=log[-1].at_ms,
            number=block,
            block_hash="0x" + f"{block:064x}",
            facts=(ClaimPaid(account=alice.address, spent=10**6, lines=lines),),
        )
        folder = tmp_path / str(seed)
        folder.mkdir()
        text = the_books(folder, _accepted([*log, claim]))
        assert complaints(text) == []
        told = [entry.payee for entry in entries(text, "Transaction")]
        assert {"payment", "claim"} <= set(told)


def test_text_of_others_stays_text(tmp_path: Path) -> None:
    """A reason with quotes, backslashes and lines cannot write entries of its own."""
    reason = 'so "it" is\\\n2020-01-01 open Assets:Mine\x00 é 💰'
    log: list[Command] = [
        IssueCredits(account=alice.address, amount=7, reason=reason, at_ms=1_800_000_000_000)
    ]
    text = the_books(tmp_path, log)
    assert complaints(text) == []
    (issued,) = entries(text, "Transaction")
    assert 'so "it" is' in issued.narration
    assert not [e for e in entries(text, "Open") if e.account == "Assets:Mine"]


def test_amounts_are_exact_beyond_floats(tmp_path: Path) -> None:
    """Sums outgrow what a float keeps; not an atom of them is lost."""
    deposits = tuple(Deposited(account=alice.address, amount=2**53 - 1) for _ in range(3))
    block = ApplyBlocks(
        number=1, block_hash="0x" + "00" * 32, facts=deposits, at_ms=1_800_000_000_000
    )
    text = the_books(tmp_path, [block])
    assert complaints(text) == []
    assert f"{(2**53 - 1) * 3 // 10**6}.{(2**53 - 1) * 3 % 10**6:06} ~ 0 USDC" in text


def test_every_payment_is_in_the_books(tmp_path: Path) -> None:
    """As many payments are exported as the market told, and their sum is the same."""
    log = _accepted(a_walk(11, 200).log)
    history = History.at(tmp_path)
    text_log = list(log)
    paid = 0
    for command in text_log:
        events = history.market.apply(command)
        assert isinstance(events, list)
        paid += sum(event.payment for event in events if isinstance(event, PaymentSettled))
    history.journal.close()
    other = tmp_path / "again"
    other.mkdir()
    text = the_books(other, log)
    exported = sum(
        int(abs(posting.units.number) * 10**6)
        for entry in entries(text, "Transaction")
        if entry.payee == "payment"
        for posting in entry.postings
    )
    assert exported == 2 * paid
    assert paid


def _accepted(log: list[Command]) -> list[Command]:
    market = Market(USDC)
    return [command for command in log if isinstance(market.apply(command), list)]
