"""Whether what a fill pays to a solver follows from the market's signed award, to the atom.

Nothing of a receipt goes to a solver but what is shown so: by the award's root, to which the fill
is proven with its units, price and charge. `keyfill auction replay` says whether the award is
what the auction came to; that the price is within the buyer's limit is counted by `Spending`.
"""

from intents.award import AwardedFill, root_of
from intents.document import Award
from intents.rounding import payment_at
from solver.client.market import Market
from solver.client.owed import FillAward, Owed, SignedAward, Statement


class Awards:
    """Those of one statement; each fill of them is one that is owed, once."""

    def __init__(self, market: Market, account: str, told: Statement) -> None:
        self._account = account
        self._used: set[str] = set()
        self._roots = {
            (award.auction, award.solver): award.solution
            for award in told.awards
            if _signer_of(market, award) == market.signing.award_signer
        }

    def fault_in(self, owed: Owed) -> str:
        """Why a fill's charge cannot be derived; empty if it can, or if there is none."""
        said = owed.award
        if said is None:
            return f"fill {owed.fill} pays a solver by no award" if owed.reward else ""
        root = self._roots.get((said.auction, said.solver))
        if root is None:
            return f"auction {said.auction}'s award to {said.solver} is not signed by the market"
        fill = self._fill_of(owed, said)
        leaf = fill.digest().hex()
        if leaf in self._used or root_of(fill, said.proof) != root:
            return f"fill {owed.fill} is not one of the award of auction {said.auction}"
        self._used.add(leaf)
        due = (payment_at(said.tick, owed.delivered), payment_at(said.charge, owed.delivered))
        if owed.delivered > said.units or (owed.payment, owed.reward) != due:
            return f"{due} atoms follow from fill {owed.fill}'s award, not {owed.payment}"
        return ""

    def _fill_of(self, owed: Owed, said: FillAward) -> AwardedFill:
        return AwardedFill(
            buyer=self._account,
            buyer_nonce=said.buyer_nonce,
            seller=owed.seller,
            seller_nonce=said.seller_nonce,
            units=said.units,
            tick=said.tick,
            charge=said.charge,
        )


def _signer_of(market: Market, award: SignedAward) -> str | None:
    document = Award(
        auction=award.auction,
        solver=award.solver,
        solution=award.solution,
        deadline_block=award.deadline_block,
    )
    return market.signer_of(document, award.signature)
