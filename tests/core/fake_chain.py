"""The contract's rules, in their plainest form: balances, counters of nonces, session caps."""

from typing import Final

from solver.core.command import Authority
from solver.core.event import BatchCut, BatchLine
from solver.core.fact import BatchSettled, Fact, FillSettled, FillSkipped
from solver.core.state import IntentState, State

MILLION: Final = 10**6
LINES_MAX: Final = 256


class FakeChain:
    """What settles batches. It reads documents from the market, and nothing else."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.balances: dict[str, int] = {}
        self.withdrawing: dict[str, tuple[int, int]] = {}
        self.settled: dict[tuple[str, int], int] = {}
        """Units of intents and offers, atoms of mandates, by account and nonce."""
        self.sessions: dict[tuple[str, str], dict[str, int]] = {}
        self.revoked: set[str] = set()
        self.left: set[str] = set()

    def settle(self, batch: BatchCut, skipping: int) -> list[Fact]:
        """What the contract says to each line; `skipping` picks one execution to refuse."""
        executions: dict[int, list[BatchLine]] = {}
        for line in batch.lines:
            lease = self._state.leases[line.fill]
            executions.setdefault(lease.execution, []).append(line)
        facts: list[Fact] = []
        for place, lines in enumerate(executions.values()):
            reason = "told to" if place == skipping else self._refusal(lines)
            if reason:
                facts += [FillSkipped(fill=line.fill, reason=1) for line in lines]
            else:
                facts += [self._paid(line) for line in lines]
        return [*facts, BatchSettled(number=batch.number, digest=batch.digest)]

    def _paid(self, line: BatchLine) -> Fact:
        intent = self._state.intents[line.intent]
        buyer, seller = intent.document, self._state.offers[line.offer].document
        if intent.authority is Authority.MANDATE:
            mandate = self._state.mandates[intent.signer].document
            self._count(mandate.account, mandate.nonce, line.payment)
        else:
            self._count(buyer.account, buyer.nonce, line.units)
        self._count(seller.account, seller.nonce, line.delivered)
        authority, signer = signer_of(self._state, intent)
        if authority is Authority.SESSION:
            self.sessions[buyer.account, signer]["spent"] += line.payment
        self.balances[buyer.account] -= line.payment
        reward = self._pay_reward(line)
        self.balances[seller.account] = self.balances.get(seller.account, 0) + line.payment - reward
        return FillSettled(fill=line.fill, payment=line.payment)

    def _pay_reward(self, line: BatchLine) -> int:
        """The solver's part, as its award says; the seller keeps its limit."""
        lease = self._state.leases[line.fill]
        if not lease.award:
            return 0
        award = self._state.awards[lease.award]
        fill = award.fills[lease.award_place]
        offer = self._state.offers[line.offer].document
        intent = self._state.intents[line.intent]
        signed = self._state.mandates.get(intent.signer, intent)
        assert (fill.buyer, fill.buyer_nonce) == (signed.account, signed.nonce), "AwardMismatch"
        assert (fill.seller, fill.seller_nonce) == (offer.account, offer.nonce), "AwardMismatch"
        assert line.payment == line.delivered * fill.tick // MILLION, "AwardMismatch"
        assert line.delivered <= fill.units, "UnitsOverfilled"
        reward = line.delivered * fill.charge // MILLION
        kept = line.payment - reward
        assert kept >= line.delivered * offer.limit // offer.units, "PriceBelowLimit"
        self.balances[award.solver] = self.balances.get(award.solver, 0) + reward
        return reward

    def _count(self, account: str, nonce: int, amount: int) -> None:
        self.settled[account, nonce] = self.settled.get((account, nonce), 0) + amount

    def _refusal(self, lines: list[BatchLine]) -> str:
        """Why the contract refuses an execution. Some reasons are the market's own fault."""
        intent = self._state.intents[lines[0].intent]
        account = intent.document.account
        payment = sum(line.payment for line in lines)
        assert len(lines) <= LINES_MAX
        self._check_lines(intent, lines)
        if intent.authority is Authority.MANDATE:
            self._check_mandate(intent, lines)
        else:
            self._check_intent(intent, lines)
        authority, signer = signer_of(self._state, intent)
        signers = {signer, *(self._state.offers[line.offer].signer for line in lines)}
        if signers & self.revoked:
            return "SessionRefused"
        if authority is Authority.SESSION:
            session = self.sessions[account, signer]
            assert session["spent"] + payment <= session["cap"], "SessionCapExceeded"
        if payment > self.balances.get(account, 0):
            assert account in self.left, "InsufficientBalance"
            return "InsufficientBalance"
        return ""

    def _check_intent(self, intent: IntentState, lines: list[BatchLine]) -> None:
        document = intent.document
        units = self.settled.get((document.account, document.nonce), 0)
        total = sum(line.units for line in lines)
        assert units + total <= document.units, "UnitsOverfilled"
        assert total >= min(document.units_min, document.units - units), "UnitsBelowMinimum"

    def _check_mandate(self, intent: IntentState, lines: list[BatchLine]) -> None:
        mandate = self._state.mandates[intent.signer].document
        spent = self.settled.get((mandate.account, mandate.nonce), 0)
        assert spent + sum(line.payment for line in lines) <= mandate.limit, "MandateExceeded"
        assert intent.document.account == mandate.account, "AccountMismatch"
        assert mandate.resource in ("", intent.document.resource), "ResourceMismatch"
        for line in lines:
            most = line.delivered * mandate.tick_max // MILLION
            assert line.payment <= most, "PriceAboveLimit"

    def _check_lines(self, intent: IntentState, lines: list[BatchLine]) -> None:
        document = intent.document
        added: dict[str, int] = {}
        for line in lines:
            offer = self._state.offers[line.offer].document
            added[line.offer] = added.get(line.offer, 0) + line.delivered
            sold = self.settled.get((offer.account, offer.nonce), 0)
            assert line.units > 0, "UnitsZero"
            assert sold + added[line.offer] <= offer.units, "UnitsOverfilled"
            assert line.delivered <= line.units, "DeliveredAboveUnits"
            assert line.payment * document.units <= line.delivered * document.limit, (
                "PriceAboveLimit"
            )
            assert (line.payment + 1) * offer.units > line.delivered * offer.limit, (
                "PriceBelowLimit"
            )


def signer_of(state: State, intent: IntentState) -> tuple[Authority, str]:
    """Who signed for an intent, and how: what it came under, if it came under a mandate."""
    if intent.authority is Authority.MANDATE:
        mandate = state.mandates[intent.signer]
        return mandate.authority, mandate.signer
    return intent.authority, intent.signer
