"""The settlement contract's rules, written a second time from Settlement.sol, plainly.

It reads the calldata that the submitter really sends, and knows what clients really
signed: an intent or offer that differs in one field from any signed document has a bad
signature here, as it would on chain.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import msgspec

from contracts.abi import Item
from contracts.bindings import ACCOUNT, FACTORY, SETTLEMENT
from intents.document import Intent, Offer

BATCH_BYTES_MAX: Final = 120_000
EXIT_DELAY_S: Final = 600
SESSION: Final = 2
MAY_SIGN: Final = 2

Log = tuple[Item, str, tuple[Any, ...]]
"""An event's ABI, the address that emits it (empty: settlement), and its values."""

EVENTS: Final = {
    name: SETTLEMENT.event(name)
    for name in (
        "Deposited",
        "WithdrawalRequested",
        "WithdrawalCancelled",
        "Withdrawn",
        "Cancelled",
        "EpochBumped",
        "FillSettled",
        "FillSkipped",
        "BatchSettled",
    )
}
GRANTED: Final = ACCOUNT.event("SessionGranted")
REVOKED: Final = ACCOUNT.event("SessionRevoked")
CREATED: Final = FACTORY.event("AccountCreated")

_SETTLE: Final = SETTLEMENT.function("settle")
_CALL_SETTLEMENT: Final = ACCOUNT.function("callSettlement")


class Revert(Exception):
    """The transaction has no effect."""


class SkipReason:
    """SkipReason of ISettlement, by number; only whether one is given matters here."""

    EXPIRED: Final = 2
    EPOCH_ENDED: Final = 3
    CANCELLED: Final = 4
    BAD_SIGNATURE: Final = 5
    SESSION_REFUSED: Final = 6
    LINE: Final = 10
    BELOW_MINIMUM: Final = 11
    INSUFFICIENT: Final = 12


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A session as its account keeps it."""

    permissions: int
    expires_at: int
    cap: int
    spent: int = 0
    live: bool = True


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One fill of a batch, as packed."""

    offer: int
    units: int
    delivered: int
    payment: int
    fill: str


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """An intent or offer of a batch, as packed: the fields that the contract hashes."""

    fields: dict[str, Any]
    authority: int
    signature: str
    lines: tuple[Line, ...] = ()

    @property
    def place(self) -> tuple[str, int]:
        """Account and nonce."""
        return self.fields["account"], self.fields["nonce"]


class Registry:
    """What clients signed, by signature: how the contract's ecrecover knows a signer."""

    def __init__(self) -> None:
        self._documents: dict[str, tuple[Intent | Offer, str]] = {}

    def note(self, document: Intent | Offer, signature: str, signer: str) -> None:
        """A client signs."""
        self._documents[signature] = (document, signer)

    def signer_of(self, signed: Signed, names: dict[str, str]) -> str:
        """Who signed exactly these fields; empty if nobody did."""
        document, signer = self._documents.get(signed.signature, (None, ""))
        if document is None:
            return ""
        for name, value in signed.fields.items():
            wanted = getattr(document, name)
            if (names.get(value, value) if name == "resource" else value) != wanted:
                return ""
        return signer


class Draft:
    """Sums of one batch while it is settled."""

    def __init__(self) -> None:
        self.added: dict[int, int] = {}
        self.paid = self.settled = self.skipped = 0


class Ledger:
    """The contract's storage. Values are immutable, so that `copy` is shallow."""

    def __init__(self, registry: Registry, names: dict[str, str], usdc: str) -> None:
        self._registry = registry
        self._names = names
        self._usdc = usdc
        self.balances: dict[str, int] = {}
        self.withdrawals: dict[str, tuple[int, int]] = {}
        self.epochs: dict[str, tuple[int, int]] = {}
        self.cancelled: dict[tuple[str, int], int] = {}
        self.units: dict[tuple[str, int], int] = {}
        self.batches: dict[int, str] = {}
        self.grants: dict[tuple[str, str], Grant] = {}

    def copy(self) -> "Ledger":
        """For the next block, or for a simulation."""
        other = Ledger(self._registry, self._names, self._usdc)
        for name in (
            "balances",
            "withdrawals",
            "epochs",
            "cancelled",
            "units",
            "batches",
            "grants",
        ):
            setattr(other, name, dict(getattr(self, name)))
        return other

    # ---------------------------------------------------------------- what accounts do

    def act(self, name: str, account: str, now_s: int, **terms: Any) -> list[Log]:  # noqa: ANN401
        """One call of an account's; reverts give nothing."""
        try:
            return list(getattr(self, f"_{name}")(account, now_s, **terms))
        except Revert:
            return []

    def _deposit(self, account: str, _: int, *, amount: int) -> Iterator[Log]:
        self.balances[account] = after = self.balances.get(account, 0) + amount
        yield EVENTS["Deposited"], "", (account, account, amount, after)

    def _request(self, account: str, now_s: int, *, amount: int) -> Iterator[Log]:
        self.withdrawals[account] = (amount, now_s + EXIT_DELAY_S)
        yield EVENTS["WithdrawalRequested"], "", (account, amount, now_s + EXIT_DELAY_S)

    def _take_back(self, account: str, _: int) -> Iterator[Log]:
        if not self.withdrawals.pop(account, None):
            raise Revert("SettlementNoWithdrawal")
        yield EVENTS["WithdrawalCancelled"], "", (account,)

    def _withdraw(self, account: str, now_s: int) -> Iterator[Log]:
        amount, at = self.withdrawals.get(account, (0, 0))
        if not amount or now_s < at:
            raise Revert("SettlementWithdrawalEarly")
        del self.withdrawals[account]
        paid = min(amount, self.balances.get(account, 0))
        self.balances[account] = self.balances.get(account, 0) - paid
        yield EVENTS["Withdrawn"], "", (account, account, paid)

    def _cancel(self, account: str, now_s: int, *, nonce: int) -> Iterator[Log]:
        if (account, nonce) in self.cancelled:
            raise Revert("SettlementAlreadyCancelled")
        self.cancelled[account, nonce] = now_s + EXIT_DELAY_S
        yield EVENTS["Cancelled"], "", (account, nonce, now_s + EXIT_DELAY_S)

    def _bump(self, account: str, now_s: int) -> Iterator[Log]:
        epoch, at = self.epochs.get(account, (0, 0))
        if now_s < at:
            raise Revert("SettlementEpochPending")
        self.epochs[account] = (epoch + 1, now_s + EXIT_DELAY_S)
        yield EVENTS["EpochBumped"], "", (account, epoch + 1, now_s + EXIT_DELAY_S)

    def _grant(
        self, account: str, _: int, *, key: str, permissions: int, expires_at: int, cap: int
    ) -> Iterator[Log]:
        old = self.grants.get((account, key))
        self.grants[account, key] = Grant(
            permissions=permissions,
            expires_at=expires_at,
            cap=cap,
            spent=old.spent if old else 0,
        )
        yield GRANTED, account, (key, permissions, expires_at, cap)

    def _revoke(self, account: str, _: int, *, key: str) -> Iterator[Log]:
        old = self.grants.get((account, key))
        if old is None or not old.live:
            raise Revert("AccountSessionUnknown")
        self.grants[account, key] = msgspec.structs.replace(old, live=False)
        yield REVOKED, account, (key,)

    # ---------------------------------------------------------------- batches

    def settle(self, calldata: bytes, now_s: int) -> list[Log]:
        """Settle a batch, as the operator's account calls it. Raises Revert."""
        if calldata[:4] != _CALL_SETTLEMENT.selector or len(calldata) > BATCH_BYTES_MAX:
            raise Revert("unknown call")
        (inner,) = _CALL_SETTLEMENT.decode_inputs(calldata[4:])
        number, digest, packed = _SETTLE.decode_inputs(inner[4:])
        if number in self.batches:
            raise Revert(f"BatchAlreadySettled({number})")
        offers, intents = _unpack(packed)
        places = [(int(account, 16), nonce) for account, nonce in (o.place for o in offers)]
        if any(left >= right for left, right in pairwise(places)):
            raise Revert("BatchOffersUnsorted")
        self.batches[number] = "0x" + digest.hex()
        problems = [self._problem(offer, now_s) for offer in offers]
        draft, logs = Draft(), []
        for intent in intents:
            logs += self._settle_intent(intent, offers, problems, draft, now_s)
        for place, units in draft.added.items():
            self._count(offers[place].place, units)
        logs.append(
            (
                EVENTS["BatchSettled"],
                "",
                (number, digest, draft.paid, draft.settled, draft.skipped),
            )
        )
        return logs

    def _settle_intent(
        self, intent: Signed, offers: list[Signed], problems: list[int], draft: Draft, now_s: int
    ) -> list[Log]:
        problem = self._problem(intent, now_s)
        good: list[Line] = []
        skipped: list[tuple[Line, int]] = []
        added = dict(draft.added)
        for line in intent.lines:
            fault = problem or problems[line.offer]
            fault = fault or self._line_problem(intent, line, offers[line.offer], good, added)
            if fault:
                skipped.append((line, fault))
            else:
                good.append(line)
                added[line.offer] = added.get(line.offer, 0) + line.units
        fault = self._sum_problem(intent, good, now_s) if good else 0
        if fault:
            skipped += [(line, fault) for line in good]
            good = []
        draft.skipped += len(skipped)
        logs: list[Log] = [(EVENTS["FillSkipped"], "", (line.fill, why)) for line, why in skipped]
        return logs + [self._pay(intent, line, offers[line.offer], draft) for line in good]

    def _pay(self, intent: Signed, line: Line, offer: Signed, draft: Draft) -> Log:
        buyer, seller = intent.fields["account"], offer.fields["account"]
        self.balances[buyer] -= line.payment
        self.balances[seller] = self.balances.get(seller, 0) + line.payment
        self._count(intent.place, line.units)
        draft.added[line.offer] = draft.added.get(line.offer, 0) + line.units
        draft.paid += line.payment
        draft.settled += 1
        values = (line.fill, buyer, seller, line.units, line.delivered, line.payment)
        return EVENTS["FillSettled"], "", values

    def _line_problem(
        self, intent: Signed, line: Line, offer: Signed, good: list[Line], added: dict[int, int]
    ) -> int:
        bought, sold = intent.fields, offer.fields
        units = sum(other.units for other in good) + line.units
        sane = (
            bought["resource"] == sold["resource"]
            and bought["account"] != sold["account"]
            and line.units > 0
            and line.delivered <= line.units
            and self.units.get(intent.place, 0) + units <= bought["units"]
            and self.units.get(offer.place, 0) + added.get(line.offer, 0) + line.units
            <= sold["units"]
            and line.payment * bought["units"] <= line.delivered * bought["limit"]
            and (line.payment + 1) * sold["units"] > line.delivered * sold["limit"]
        )
        if not sane:
            return SkipReason.LINE
        owed = sum(other.payment for other in good) + line.payment
        covered = owed <= self.balances.get(bought["account"], 0)
        return 0 if covered else SkipReason.INSUFFICIENT

    def _sum_problem(self, intent: Signed, good: list[Line], now_s: int) -> int:
        units = sum(line.units for line in good)
        left = intent.fields["units"] - self.units.get(intent.place, 0)
        if units < intent.fields["units_min"] and units != left:
            return SkipReason.BELOW_MINIMUM
        if intent.authority != SESSION:
            return 0
        return self._charge(intent, sum(line.payment for line in good), now_s)

    def _charge(self, signed: Signed, amount: int, now_s: int) -> int:
        """What ISessionSigner.consume does; sessions are honoured a while after their end."""
        key = self._registry.signer_of(signed, self._names)
        grant = self.grants.get((signed.fields["account"], key))
        if (
            grant is None
            or not grant.live
            or not grant.permissions & MAY_SIGN
            or now_s > grant.expires_at + EXIT_DELAY_S
            or grant.spent + amount > grant.cap
        ):
            return SkipReason.SESSION_REFUSED
        place = (signed.fields["account"], key)
        self.grants[place] = msgspec.structs.replace(grant, spent=grant.spent + amount)
        return 0

    def _problem(self, signed: Signed, now_s: int) -> int:
        """What is wrong with a document whatever its lines are."""
        fields = signed.fields
        if not fields["valid_from"] <= now_s <= fields["valid_until"] + EXIT_DELAY_S:
            return SkipReason.EXPIRED
        epoch, at = self.epochs.get(fields["account"], (0, 0))
        if fields["epoch"] != epoch and not (now_s < at and fields["epoch"] == epoch - 1):
            return SkipReason.EPOCH_ENDED
        if now_s >= self.cancelled.get(signed.place, now_s + 1):
            return SkipReason.CANCELLED
        signer = self._registry.signer_of(signed, self._names)
        if signed.authority == SESSION:
            offered = "units_min" not in fields
            return self._charge(signed, 0, now_s) if offered else 0
        return 0 if signer == fields["account"] else SkipReason.BAD_SIGNATURE

    def _count(self, place: tuple[str, int], units: int) -> None:
        self.units[place] = self.units.get(place, 0) + units


_OFFER: Final = (
    ("account", 20),
    ("resource", 2),
    ("key", 32),
    ("units", 8),
    ("limit", 12),
    ("window_units", 8),
    ("window_seconds", 5),
    ("valid_from", 5),
    ("valid_until", 5),
    ("epoch", 4),
    ("nonce", 8),
)
_INTENT: Final = (
    ("account", 20),
    ("resource", 2),
    ("units", 8),
    ("units_min", 8),
    ("limit", 12),
    ("valid_from", 5),
    ("valid_until", 5),
    ("immediate", 1),
    ("epoch", 4),
    ("nonce", 8),
)
_TEXT: Final = ("account", "key")


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next bytes. Raises Revert at the end."""
        piece = self._data[self._at : self._at + size]
        self._at += size
        if len(piece) != size:
            raise Revert("BatchMalformed")
        return piece

    def number(self, size: int) -> int:
        """The next integer."""
        return int.from_bytes(self.take(size), "big")

    def fields(self, layout: tuple[tuple[str, int], ...], resources: list[str]) -> dict[str, Any]:
        """A document's fields."""
        found: dict[str, Any] = {
            name: "0x" + self.take(size).hex() if name in _TEXT else self.number(size)
            for name, size in layout
        }
        found["resource"] = resources[found["resource"]]
        return found

    def finish(self) -> None:
        """Nothing may follow."""
        if self._at != len(self._data):
            raise Revert("BatchTrailingBytes")


def _unpack(packed: bytes) -> tuple[list[Signed], list[Signed]]:
    reader = _Reader(packed)
    resources = [reader.take(32).hex() for _ in range(reader.number(2))]
    offers = []
    for _ in range(reader.number(2)):
        fields = reader.fields(_OFFER, resources)
        authority, size = reader.number(1), reader.number(2)
        signature = "0x" + reader.take(size).hex()
        offers.append(Signed(fields=fields, authority=authority, signature=signature))
    intents = []
    for _ in range(reader.number(2)):
        fields = reader.fields(_INTENT, resources)
        authority, count, size = reader.number(1), reader.number(1), reader.number(2)
        signature = "0x" + reader.take(size).hex()
        lines = tuple(_line(reader, len(offers)) for _ in range(count))
        intents.append(Signed(fields=fields, authority=authority, signature=signature, lines=lines))
    reader.finish()
    return offers, intents


def _line(reader: _Reader, offers: int) -> Line:
    line = Line(
        offer=reader.number(2),
        units=reader.number(8),
        delivered=reader.number(8),
        payment=reader.number(12),
        fill="0x" + reader.take(32).hex(),
    )
    if line.offer >= offers:
        raise Revert("UnknownOffer")
    return line
