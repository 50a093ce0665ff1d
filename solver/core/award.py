"""What a solver won and is paid for: the fills that carry its charges, until all are settled."""

from collections.abc import Container

import msgspec

from intents.award import AwardedFill, AwardTree, award_tree
from intents.document import Award


class AwardState(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One solver's award of one auction; leases refer to its fills by their places.

    It is remembered with its auction, and for as long as one of its fills is not settled.
    """

    auction: int
    solver: str
    deadline_block: int
    fills: list[AwardedFill] = []
    unsettled: int = 0

    @property
    def id(self) -> str:
        """What leases call it."""
        return award_id(self.auction, self.solver)

    def tree(self) -> AwardTree:
        """What its fills are proven by."""
        return award_tree(self.fills)

    def document(self, tree: AwardTree) -> Award:
        """What the market signs."""
        return Award(
            auction=self.auction,
            solver=self.solver,
            solution=tree.root,
            deadline_block=self.deadline_block,
        )


def forget_settled(awards: dict[str, AwardState], auctions: Container[int], name: str) -> None:
    """Forget an award of which all is settled, if its auction is forgotten."""
    award = awards.get(name)
    if award is not None and not award.unsettled and award.auction not in auctions:
        del awards[name]


def award_id(auction: int, solver: str) -> str:
    """One for each winner of an auction."""
    return f"{auction}:{solver}"


def awarded_by(name: str) -> tuple[int, str]:
    """The auction and the solver of an award, by its id: known when the award is forgotten too."""
    auction, _, solver = name.partition(":")
    return int(auction), solver
