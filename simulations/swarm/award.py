"""The auditor's view of awards: which solver a fill pays, by what the operator's owner signed."""

from intents.award import AwardedFill, root_of
from intents.document import Award
from intents.signature import recover
from intents.typed_data import digest
from simulations.swarm.finding import expect
from simulations.swarm.paper import Fill, Mandates, Paper
from simulations.swarm.person import DOMAIN, OWNER
from solver.gateway.owed import OwedTold, SignedAwardTold, SpendingTold


class Awards:
    """From what buyers are told before they sign, held against the feed's fills."""

    def __init__(
        self, papers: dict[str, Paper], fills: dict[str, Fill], mandates: Mandates
    ) -> None:
        self._papers = papers
        self._fills = fills
        self._mandates = mandates
        self._prefix = DOMAIN.prefix()

    def heard(self, account: str, told: SpendingTold) -> None:
        """Every charge of what is owed follows from a signed award; nothing else is charged."""
        roots = {(award.auction, award.solver): self._root(award) for award in told.awards}
        for owed in told.owed:
            fill = self._fills[owed.fill]
            charged = owed.award is not None
            expect(charged == (fill.charge > 0), "charged_by_an_award", fill=owed.fill)
            expect(owed.reward == fill.reward, "reward_is_of_what_was_delivered", fill=owed.fill)
            if owed.award is not None:
                self._awarded(account, owed, roots)
                fill.solver = owed.award.solver

    def _root(self, told: SignedAwardTold) -> str:
        award = Award(
            auction=told.auction,
            solver=told.solver,
            solution=told.solution,
            deadline_block=told.deadline_block,
        )
        signer = recover(digest(self._prefix, award), bytes.fromhex(told.signature[2:]))
        expect(signer == OWNER.address, "award_is_the_operators", auction=told.auction)
        return told.solution

    def _awarded(self, account: str, owed: OwedTold, roots: dict[tuple[int, str], str]) -> None:
        """The fill as papers and feed have it leads to the root that was signed."""
        said, fill = owed.award, self._fills[owed.fill]
        assert said is not None
        intent, offer = self._papers[fill.intent], self._papers[fill.offer].document
        nonce = intent.document.nonce
        if intent.mandate:
            _, nonce = self._mandates.place(intent.mandate)
        awarded = AwardedFill(
            buyer=account,
            buyer_nonce=nonce,
            seller=offer.account,
            seller_nonce=offer.nonce,
            units=said.units,
            tick=fill.tick,
            charge=fill.charge,
        )
        proven = root_of(awarded, said.proof) == roots[said.auction, said.solver]
        expect(proven, "charge_follows_from_its_award", fill=owed.fill)
        expect(fill.units <= said.units, "charge_follows_from_its_award", fill=owed.fill)
