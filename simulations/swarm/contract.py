"""The settlement contract's rules, written a second time from Settlement.sol, plainly.

What it shares with metered settlement, and that itself, is in `metered_contract`.

It reads the calldata that the submitter really sends, and knows what clients really
signed: an intent or offer that differs in one field from any signed document has a bad
signature here, as it would on chain.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import msgspec
from tiny_keccak import keccak256

from contracts.bindings import ACCOUNT, SETTLEMENT, FillSettled
from intents.bound import TICK_UNITS
from intents.policy import Permission
from simulations.swarm.bond_contract import EXECUTE, BondLedger
from simulations.swarm.calldata import Awarded, Line, Revert, Signed, unpack
from simulations.swarm.metered_contract import SESSION, SETTLE_METERED
from simulations.swarm.registry import Registry
from simulations.swarm.session_contract import EXIT_DELAY_S, Log

BATCH_BYTES_MAX: Final = 120_000
_NO_NAME: Final = keccak256(b"")
ANY_RESOURCE: Final = _NO_NAME.hex()

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

_SETTLE: Final = SETTLEMENT.function("settle")
_CALL_SETTLEMENT: Final = ACCOUNT.function("callSettlement")


class SkipReason:
    """SkipReason of IVerified, by number; whatever is wrong with a line's terms is one here."""

    EXPIRED: Final = 5
    EPOCH_ENDED: Final = 6
    CANCELLED: Final = 7
    BAD_SIGNATURE: Final = 8
    SESSION_REFUSED: Final = 9
    LINE: Final = 10
    BELOW_MINIMUM: Final = 11
    INSUFFICIENT: Final = 15
    AWARD: Final = 18
    """And whatever is wrong with an award."""


class Draft:
    """Sums of one batch while it is settled."""

    def __init__(self) -> None:
        self.added: dict[int, int] = {}
        self.used: set[int] = set()
        """Awarded fills that have had their line."""
        self.paid = self.settled = self.skipped = 0


class Ledger(BondLedger):
    """The contract's storage. Values are immutable, so that `copy` is shallow."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self.withdrawals: dict[str, tuple[int, int]] = {}
        self.cancelled: dict[tuple[str, int], int] = {}
        self.units: dict[tuple[str, int], int] = {}
        self.batches: dict[int, str] = {}

    def copy(self) -> "Ledger":
        """For the next block, or for a simulation."""
        other = Ledger(self._registry)
        for name, kept in vars(self).items():
            setattr(other, name, dict(kept) if isinstance(kept, dict) else kept)
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
        yield EVENTS["Deposited"], (account, account, amount, after)

    def _request(self, account: str, now_s: int, *, amount: int) -> Iterator[Log]:
        self.withdrawals[account] = (amount, now_s + EXIT_DELAY_S)
        yield EVENTS["WithdrawalRequested"], (account, amount, now_s + EXIT_DELAY_S)

    def _take_back(self, account: str, _: int) -> Iterator[Log]:
        if not self.withdrawals.pop(account, None):
            raise Revert("SettlementNoWithdrawal")
        yield EVENTS["WithdrawalCancelled"], (account,)

    def _withdraw(self, account: str, now_s: int) -> Iterator[Log]:
        amount, at = self.withdrawals.get(account, (0, 0))
        if not amount or now_s < at:
            raise Revert("SettlementWithdrawalEarly")
        del self.withdrawals[account]
        free = max(0, self.balances.get(account, 0) - self.claimed(account))
        paid = min(amount, free)
        self.balances[account] = self.balances.get(account, 0) - paid
        yield EVENTS["Withdrawn"], (account, account, paid)

    def _cancel(self, account: str, now_s: int, *, nonce: int) -> Iterator[Log]:
        if (account, nonce) in self.cancelled:
            raise Revert("SettlementAlreadyCancelled")
        self.cancelled[account, nonce] = now_s + EXIT_DELAY_S
        yield EVENTS["Cancelled"], (account, nonce, now_s + EXIT_DELAY_S)

    def _bump(self, account: str, now_s: int) -> Iterator[Log]:
        epoch, at = self.epochs.get(account, (0, 0))
        if now_s < at:
            raise Revert("SettlementEpochPending")
        self.epochs[account] = (epoch + 1, now_s + EXIT_DELAY_S)
        yield EVENTS["EpochBumped"], (account, epoch + 1, now_s + EXIT_DELAY_S)

    # ---------------------------------------------------------------- batches

    def settle(self, calldata: bytes, now_s: int) -> list[Log]:
        """Settle a batch, as the operator's account calls it, or take a penalty. Raises Revert."""
        if calldata[:4] == EXECUTE.selector:
            return self.execute(calldata[4:], now_s)
        if calldata[:4] != _CALL_SETTLEMENT.selector or len(calldata) > BATCH_BYTES_MAX:
            raise Revert("unknown call")
        (inner,) = _CALL_SETTLEMENT.decode_inputs(calldata[4:])
        if inner[:4] == SETTLE_METERED.selector:
            return self.settle_metered(inner[4:], now_s)
        number, digest, packed = _SETTLE.decode_inputs(inner[4:])
        if number in self.batches:
            raise Revert(f"BatchAlreadySettled({number})")
        offers, awarded, intents = unpack(packed)
        places = [(int(account, 16), nonce) for account, nonce in (o.place for o in offers)]
        if any(left >= right for left, right in pairwise(places)):
            raise Revert("BatchOffersUnsorted")
        self.batches[number] = "0x" + digest.hex()
        problems = [self._problem(offer, now_s) for offer in offers]
        draft, logs = Draft(), []
        for intent in intents:
            logs += self._settle_intent(intent, offers, awarded, problems, draft, now_s)
        for place, units in draft.added.items():
            self._count(offers[place].place, units)
        logs.append(
            (
                EVENTS["BatchSettled"],
                (number, digest, draft.paid, draft.settled, draft.skipped),
            )
        )
        return logs

    def _settle_intent(  # noqa: PLR0917  each of another type
        self,
        intent: Signed,
        offers: list[Signed],
        awarded: list[Awarded],
        problems: list[int],
        draft: Draft,
        now_s: int,
    ) -> list[Log]:
        problem = self._problem(intent, now_s)
        good: list[Line] = []
        skipped: list[tuple[Line, int]] = []
        added = dict(draft.added)
        charged: dict[str, Awarded] = {}
        for packed in intent.lines:
            line = packed
            fill = awarded[line.offer - len(offers)] if line.offer >= len(offers) else None
            if fill is not None:
                line = msgspec.structs.replace(packed, offer=fill.offer)
                charged[line.fill] = fill
            fault = problem or problems[line.offer]
            if fill is not None and not fault:
                fault = self._award_problem(intent, line, offers[line.offer], fill, draft)
            fault = fault or self._line_problem(intent, line, offers[line.offer], good, added)
            if fault:
                skipped.append((line, fault))
            else:
                good.append(line)
                added[line.offer] = added.get(line.offer, 0) + line.delivered
        fault = self._sum_problem(intent, good, now_s) if good else 0
        if fault:
            skipped += [(line, fault) for line in good]
            good = []
        draft.skipped += len(skipped)
        logs: list[Log] = [(EVENTS["FillSkipped"], (line.fill, why)) for line, why in skipped]
        for line in good:
            logs.append(self._pay(intent, line, offers[line.offer], draft))
            if line.fill in charged:
                self._reward(line, offers[line.offer], charged[line.fill])
        return logs

    def _award_problem(
        self, intent: Signed, line: Line, offer: Signed, fill: Awarded, draft: Draft
    ) -> int:
        """The prices of an award that the operator signed, each fill once, both limits kept."""
        kept = line.payment - line.delivered * fill.charge // TICK_UNITS
        sold, place = offer.fields, id(fill)
        sound = (
            self._registry.is_award(fill.award, fill.signature)
            and fill.solution_of(intent.place, offer.place) == fill.award.solution
            and line.payment == line.delivered * fill.tick // TICK_UNITS
            and line.delivered <= fill.units
            and kept >= line.delivered * sold["limit"] // sold["units"]
            and place not in draft.used
        )
        draft.used.add(place)
        return 0 if sound else SkipReason.AWARD

    def _reward(self, line: Line, offer: Signed, fill: Awarded) -> None:
        """The solver's part of what the seller was paid."""
        reward = line.delivered * fill.charge // TICK_UNITS
        solver = fill.award.solver
        self.balances[offer.fields["account"]] -= reward
        self.balances[solver] = self.balances.get(solver, 0) + reward

    def _pay(self, intent: Signed, line: Line, offer: Signed, draft: Draft) -> Log:
        buyer, seller = intent.fields["account"], offer.fields["account"]
        self.balances[buyer] -= line.payment
        self.balances[seller] = self.balances.get(seller, 0) + line.payment
        self._count(intent.place, line.payment if intent.is_mandate else line.units)
        draft.added[line.offer] = draft.added.get(line.offer, 0) + line.delivered
        draft.paid += line.payment
        draft.settled += 1
        amounts = FillSettled.amounts_of(
            units=line.units, delivered=line.delivered, payment=line.payment
        )
        return EVENTS["FillSettled"], (line.fill, buyer, seller, amounts)

    def _line_problem(
        self, intent: Signed, line: Line, offer: Signed, good: list[Line], added: dict[int, int]
    ) -> int:
        bought, sold = intent.fields, offer.fields
        sane = (
            bought["resource"] in (sold["resource"], ANY_RESOURCE)
            and bought["account"] != sold["account"]
            and line.units > 0
            and line.delivered <= line.units
            and self.units.get(offer.place, 0) + added.get(line.offer, 0) + line.delivered
            <= sold["units"]
            and (line.payment + 1) * sold["units"] > line.delivered * sold["limit"]
            and self._is_within(intent, line, sum(other.units for other in good))
        )
        if not sane:
            return SkipReason.LINE
        owed = sum(other.payment for other in good) + line.payment
        if intent.is_mandate and owed > bought["limit"] - self.units.get(intent.place, 0):
            return SkipReason.LINE
        covered = owed <= self.balances.get(bought["account"], 0)
        return 0 if covered else SkipReason.INSUFFICIENT

    def _is_within(self, intent: Signed, line: Line, units_before: int) -> bool:
        """The buyer's units and price; a mandate has a price alone, and counts atoms."""
        bought = intent.fields
        if intent.is_mandate:
            return line.payment * TICK_UNITS <= line.delivered * int(bought["tick_max"])
        units = self.units.get(intent.place, 0) + units_before + line.units
        price = line.payment * bought["units"] <= line.delivered * bought["limit"]
        return bool(price and units <= bought["units"])

    def _sum_problem(self, intent: Signed, good: list[Line], now_s: int) -> int:
        if not intent.is_mandate:
            units = sum(line.units for line in good)
            left = intent.fields["units"] - self.units.get(intent.place, 0)
            if units < intent.fields["units_min"] and units != left:
                return SkipReason.BELOW_MINIMUM
        if intent.authority != SESSION:
            return 0
        return self._charge(intent, sum(line.payment for line in good), now_s)

    def _charge(self, signed: Signed, amount: int, now_s: int) -> int:
        """What the registry does; sessions are honoured a while after their end."""
        account, key = signed.fields["account"], self._registry.signer_of(signed)
        charged = self.charge(account, key, Permission.SIGN, amount, now_s)
        return 0 if charged else SkipReason.SESSION_REFUSED

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
        signer = self._registry.signer_of(signed)
        if signed.authority == SESSION:
            offered = "key" in fields
            return self._charge(signed, 0, now_s) if offered else 0
        bound = self.is_bound(fields["account"], signer, signed.authority)
        return 0 if bound else SkipReason.BAD_SIGNATURE

    def _count(self, place: tuple[str, int], units: int) -> None:
        self.units[place] = self.units.get(place, 0) + units
