"""Awards as the market signs them, with the key that owns the operator's account."""

from collections import OrderedDict
from typing import Final

import msgspec

from intents.award import AwardedFill, AwardTree
from intents.document import Award
from intents.signature import SigningKey
from intents.typed_data import Domain, digest
from solver.core.award import AwardState

CACHED_MAX: Final = 64
"""Awards whose trees are remembered: as many fills may settle, batch by batch."""


class SignedAward(msgspec.Struct, frozen=True, kw_only=True):
    """What both sides are bound to, its fills, and the tree that proves each of them."""

    document: Award
    signature: str
    fills: tuple[AwardedFill, ...]
    tree: AwardTree


class AwardSigner:
    """Signs what the core decided, when it is asked to: the same bytes each time."""

    def __init__(self, key: SigningKey, domain: Domain) -> None:
        self.address = key.address
        self._key = key
        self._prefix = domain.prefix()
        self._cached: OrderedDict[str, SignedAward] = OrderedDict()

    def signed(self, award: AwardState) -> SignedAward:
        """An award of an auction that has closed."""
        found = self._cached.get(award.id)
        if found is None:
            found = self._cached[award.id] = self._sign(award)
            if len(self._cached) > CACHED_MAX:
                self._cached.popitem(last=False)
        return found

    def _sign(self, award: AwardState) -> SignedAward:
        tree = award.tree()
        document = award.document(tree)
        signature = self._key.sign(digest(self._prefix, document))
        return SignedAward(
            document=document, signature=signature, fills=tuple(award.fills), tree=tree
        )
