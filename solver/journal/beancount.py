"""The ledger as Beancount text, so that a tool of others can hold our books against us.

Every transaction is made from what happened: deposits and withdrawals from the chain's
facts, issuance from its commands, payments from their events. What each account has in the
end comes from the market's own ledger instead, as `balance` assertions without tolerance.
`bean-check` adds the one up and compares it with the other.

Seen from the market, what people have in it is owed to them: a liability, so negative.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec

from solver.core.command import ApplyBlocks, Command, IssueCredits, SubmitIntent
from solver.core.event import ClaimMoved, Event, Filled, PaymentSettled, PaymentSkipped
from solver.core.fact import Deposited, Withdrawn
from solver.core.ledger import CHAIN, ISSUANCE
from solver.core.market import Market
from solver.core.state import CREDIT
from solver.engine.feed import Feed
from solver.engine.recovery import Recovered, apply_group
from solver.journal.recovery import Source

PLACES: Final = 6
START: Final = "1970-01-01"
_OUTSIDE: Final = {CHAIN: "Assets:Chain", ISSUANCE: "Equity:Issuance"}


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """Money that moved, from one owner to another, and what it was for."""

    seq: int
    at_ms: int
    kind: str
    note: str
    debit: str
    credit: str
    asset: str
    amount: int


class Books:
    """Follows commands and their events, and tells what money they moved."""

    def __init__(self, usdc: str) -> None:
        self._usdc = usdc
        self._assets: dict[str, str] = {}
        """By digest of an intent, and by id of a fill that is not settled."""

    def transfers(self, seq: int, command: Command, events: Sequence[Event]) -> Iterator[Transfer]:
        """What one command moved, in order."""
        moves = [*self._from_command(command), *self._from_events(events)]
        for kind, note, debit, credit, asset, amount in moves:
            if amount:
                yield Transfer(
                    seq=seq,
                    at_ms=command.at_ms,
                    kind=kind,
                    note=note,
                    debit=debit,
                    credit=credit,
                    asset=asset,
                    amount=amount,
                )

    def _from_command(self, command: Command) -> Iterator[tuple[str, str, str, str, str, int]]:
        match command:
            case SubmitIntent():
                self._assets[command.digest] = command.intent.asset
            case IssueCredits(account=to, amount=amount):
                yield "issuance", command.reason, ISSUANCE, to, CREDIT, amount
            case ApplyBlocks():
                note = f"block {command.number}"
                for fact in command.facts:
                    match fact:
                        case Deposited(account=to, amount=amount):
                            yield "deposit", note, CHAIN, to, self._usdc, amount
                        case Withdrawn(account=of, amount=amount):
                            yield "withdrawal", note, of, CHAIN, self._usdc, amount

    def _from_events(
        self, events: Sequence[Event]
    ) -> Iterator[tuple[str, str, str, str, str, int]]:
        for event in events:
            match event:
                case Filled(fill=fill, intent=intent):
                    self._assets[fill] = self._assets[intent]
                case PaymentSettled(fill=fill, buyer=buyer):
                    asset, reward = self._assets.pop(fill), event.reward or 0
                    yield "payment", fill, buyer, event.seller, asset, event.payment - reward
                    yield "reward", fill, buyer, event.solver or "", asset, reward
                case ClaimMoved(buyer=buyer, seller=seller, payment=payment):
                    yield "claim", "", buyer, seller, self._usdc, payment
                case PaymentSkipped(fill=fill):
                    self._assets.pop(fill)


def beancount(source: Source) -> Iterator[str]:
    """A journal's ledger, line by line; each of its groups is replayed and compared.

    Raises JournalCorrupt or a Violation where that fails: there are no books then.
    """
    genesis = source.genesis
    recovered = Recovered(market=Market(genesis.usdc), feed=Feed(kept_max=1))
    books, names = Books(genesis.usdc), {genesis.usdc: "USDC", CREDIT: "CREDIT"}
    yield f'option "title" "Keyfill market {genesis.settlement} on chain {genesis.chain_id}"'
    yield 'option "operating_currency" "USDC"'
    for name in names.values():
        yield f"{START} commodity {name}"
    opened: set[str] = set()
    last_ms = 0
    for record in source.read():
        told = apply_group(recovered, record)
        numbered = zip(record.decoded(), told, strict=True)
        for seq, (command, events) in enumerate(numbered, record.seq):
            last_ms = command.at_ms
            for transfer in books.transfers(seq, command, events):
                yield from _written(transfer, names[transfer.asset], opened)
    yield from _balances(recovered.market, names, opened, _day(last_ms) + timedelta(days=1))


def _written(transfer: Transfer, name: str, opened: set[str]) -> Iterator[str]:
    debit, credit = _account(transfer.debit, name), _account(transfer.credit, name)
    yield from _opened(debit, name, opened)
    yield from _opened(credit, name, opened)
    amount = _amount(transfer.amount)
    at = datetime.fromtimestamp(transfer.at_ms / 1_000, UTC).isoformat(timespec="milliseconds")
    yield f"{_day(transfer.at_ms)} * {_quoted(transfer.kind)} {_quoted(transfer.note)}"
    yield f"  seq: {transfer.seq}"
    yield f"  at: {_quoted(at)}"
    yield f"  {debit}  {amount} {name}"
    yield f"  {credit}  -{amount} {name}"


def _balances(market: Market, names: dict[str, str], opened: set[str], day: date) -> Iterator[str]:
    """What our ledger says that everybody has, for the other side to compare."""
    ledger = market.state.ledger
    for owner, asset in ledger.accounts():
        total = ledger.balance(owner, asset).total
        name = names.get(asset)
        if name is None:
            continue
        account = _account(owner, name)
        if not total and account not in opened:
            continue
        yield from _opened(account, name, opened)
        yield f"{day} balance {account}  {_amount(-total)} ~ 0 {name}"


def _opened(account: str, name: str, opened: set[str]) -> Iterator[str]:
    if account not in opened:
        opened.add(account)
        yield f"{START} open {account} {name}"


def _account(owner: str, name: str) -> str:
    if owner.startswith("@"):
        return f"{_OUTSIDE.get(owner, 'Equity:' + owner[1:].capitalize())}:{name}"
    return f"Liabilities:{owner}:{name}"


def _amount(atoms: int) -> str:
    whole, rest = divmod(abs(atoms), 10**PLACES)
    return f"{'-' if atoms < 0 else ''}{whole}.{rest:0{PLACES}}"


def _day(at_ms: int) -> date:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).date()


def _quoted(text: str) -> str:
    clean = "".join(letter if letter.isprintable() else " " for letter in text)
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'
