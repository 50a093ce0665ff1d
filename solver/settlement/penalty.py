"""Takes the penalties that are due from solvers' bonds, in transactions of the operator's owner.

The contract takes each once, so that nothing has to be remembered here: what was sent and never
heard of is asked for again, and what was taken twice reverts. What the contract refuses stays
due, raises an alarm, and is tried again less and less often.
"""

from typing import Any, Final, Never

import msgspec
import structlog
from tiny_keccak import keccak256

from contracts.bindings import ACCOUNT, BONDS
from contracts.deploy import Deployment
from intents.document import Offer
from solver.core.bond import Pledge, Share
from solver.engine.award import AwardSigner, SignedAward
from solver.engine.sequencer import Sequencer
from solver.settlement.alarm import Alarms
from solver.settlement.chain import ChainClient
from solver.settlement.fault import RequestRefused
from solver.settlement.pace import Refusals, repeat
from solver.settlement.wallet import Wallet

PENALTIES_PER_STEP: Final = 8
REFUSED_RETRY_MS: Final = 30_000
_log = structlog.get_logger()


class _Due(msgspec.Struct, frozen=True, kw_only=True):
    """A penalty that nothing of the core is asked for any more."""

    auction: int
    solver: str
    award: SignedAward
    shares: tuple[Share, ...]


class PenaltyKeeper:
    """One owner's penalties. Call `run`, or `step` by hand."""

    def __init__(
        self,
        *,
        chain: ChainClient,
        sequencer: Sequencer,
        deployment: Deployment,
        wallet: Wallet,
        awards: AwardSigner,
        alarms: Alarms,
        interval_ms: int = 500,
        refused_retry_ms: int = REFUSED_RETRY_MS,
    ) -> None:
        """`wallet` has the key of the operator's owner."""
        self._chain = chain
        self._sequencer = sequencer
        self._deployment = deployment
        self._wallet = wallet
        self._awards = awards
        self._alarms = alarms
        self._interval_ms = interval_ms
        self._refusals = Refusals[tuple[int, str]](refused_retry_ms)

    async def run(self) -> Never:
        """Step after step until cancelled; an unreachable node only slows it down.

        Raises SequencerStopped.
        """
        await repeat(self.step, self._interval_ms, "penalties_wait")

    async def step(self) -> None:
        """Take what is due and past its deadline block, a few at once, in the order of awards.

        It works on a copy of what the core says, made before it waits for the journal.
        """
        pledges = self._sequencer.market.state.bonds.pledges
        self._forget_refusals(pledges)
        if not self._deployment.bonds or not any(pledge.shares for pledge in pledges.values()):
            return
        final = await self._chain.finalized()
        due = self._due(final.number)
        await self._sequencer.durable()
        for one in due:
            await self._take(one)

    def _due(self, final_block: int) -> list[_Due]:
        state, now_ms = self._sequencer.market.state, self._sequencer.now_ms()
        found: list[_Due] = []
        for name, pledge in state.bonds.pledges.items():
            is_due = pledge.shares and pledge.deadline_block < final_block
            if is_due and self._refusals.may_try((pledge.auction, pledge.solver), now_ms):
                found.append(
                    _Due(
                        auction=pledge.auction,
                        solver=pledge.solver,
                        award=self._awards.signed(state.awards[name]),
                        shares=pledge.shares,
                    )
                )
            if len(found) == PENALTIES_PER_STEP:
                break
        return found

    async def _take(self, due: _Due) -> None:
        """Unless it was: then its fact is on its way."""
        if await self._is_taken(due):
            return
        data = ACCOUNT.function("execute").encode(self._deployment.bonds, 0, penalise(due))
        owner, account = self._deployment.operator_owner, self._deployment.operator_account
        try:
            receipt = await self._wallet.transact(owner, account, data)
        except RequestRefused as fault:
            self._postpone(due, str(fault))
            return
        if receipt.succeeded:
            self._alarms.forget("penalty_refused", due.auction)
            _log.info("penalty_taken", auction=due.auction, solver=due.solver)
        else:
            self._postpone(due, f"transaction {receipt.transaction_hash} reverted")

    async def _is_taken(self, due: _Due) -> bool:
        asked = BONDS.function("isPenalised")
        answer = await self._chain.call(
            self._deployment.bonds, asked.encode(due.auction, due.solver)
        )
        return bool(asked.decode_outputs(answer)[0])

    def _postpone(self, due: _Due, reason: str) -> None:
        self._refusals.note((due.auction, due.solver), self._sequencer.now_ms())
        self._alarms.tell("penalty_refused", due.auction, reason)

    def _forget_refusals(self, pledges: dict[str, Pledge]) -> None:
        open_ones = [(pledge.auction, pledge.solver) for pledge in pledges.values()]
        for auction, _ in self._refusals.forget_all_but(open_ones):
            self._alarms.forget("penalty_refused", auction)


def penalise(due: _Due) -> bytes:
    """The call that takes a penalty."""
    document = due.award.document
    award = (document.auction, document.solver, _bytes(document.solution), document.deadline_block)
    shares = [_share(due.award, share) for share in due.shares]
    return BONDS.function("penalise").encode(award, _bytes(due.award.signature), shares)


def _share(award: SignedAward, share: Share) -> tuple[Any, ...]:
    """In the contract's order. A proof here has no height: its length says that."""
    fill = award.fills[share.place]
    return (
        _offer(share.offer),
        _bytes(share.signature),
        fill.buyer,
        fill.buyer_nonce,
        fill.units,
        fill.tick,
        fill.charge,
        _bytes(award.tree.proof(share.place))[1:],
        share.faded,
        share.atoms,
    )


def _offer(offer: Offer) -> tuple[Any, ...]:
    return (
        offer.account,
        keccak256(offer.resource.encode()),
        _bytes(offer.key),
        offer.units,
        offer.limit,
        offer.window_units,
        offer.window_seconds,
        offer.valid_from,
        offer.valid_until,
        offer.epoch,
        offer.nonce,
    )


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
