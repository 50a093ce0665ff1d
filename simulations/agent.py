"""Simulated participants. Each is a buyer and a contributor with one account and one key.

Agents only make commands; what becomes of them is the market's business. They do not
really sign: `signer` is the account and authority is KEY, which is what the gateway
hands to the core once it has recovered a signature. Recovery is all that is left out.
"""

from typing import Final

from intents.document import Intent, Offer
from simulations.stream import stream
from solver.core.command import Authority, PoolKey, SubmitIntent, SubmitOffer

PROVIDER: Final = "simulated"
RESOURCE: Final = "simulated/service:call"
REACTION_MS_MAX: Final = 900


class Identity:
    """An account that never signs two documents with one nonce."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.account = f"0x{index + 1:040x}"
        self.key = f"0x{index + 1:064x}"
        self._nonce = 0

    def sign(self) -> tuple[int, str]:
        """The next nonce and a digest that no other document has."""
        self._nonce += 1
        return self._nonce, f"0x{self.index + 1:032x}{self._nonce:032x}"


class Buyer:
    """Wants one unit now and pays up to the going price for it."""

    def __init__(self, identity: Identity, asset: str, price: int) -> None:
        self.identity = identity
        self._asset = asset
        self._price = price

    def request(self, at_ms: int, valid_until_s: int) -> SubmitIntent:
        """An intent for one unit that waits until `valid_until_s`."""
        nonce, digest = self.identity.sign()
        account = self.identity.account
        intent = Intent(
            account=account,
            resource=RESOURCE,
            asset=self._asset,
            units=1,
            limit=self._price,
            valid_until=valid_until_s,
            nonce=nonce,
        )
        return SubmitIntent(
            at_ms=at_ms,
            intent=intent,
            digest=digest,
            signer=account,
            authority=Authority.KEY,
            signature="",
        )


class Contributor:
    """Answers requests, after a time of its own, while it owns less than its threshold."""

    def __init__(self, identity: Identity, asset: str, price: int, seed: int) -> None:
        self.identity = identity
        self.account = identity.account
        self._asset = asset
        self._price = price
        self._reaction = stream(seed, f"reaction:{identity.index}")

    def pool(self) -> PoolKey:
        """Its one key joins the pool."""
        return PoolKey(
            key=self.identity.key, owner=self.account, provider=PROVIDER, resources=(RESOURCE,)
        )

    def reaction_ms(self) -> float:
        """How long it takes to see a request and answer it, drawn anew each time."""
        return self._reaction.random() * REACTION_MS_MAX

    def offer(self, at_ms: int, valid_until_s: int) -> SubmitOffer:
        """An offer of one unit at the going price."""
        nonce, digest = self.identity.sign()
        offer = Offer(
            account=self.account,
            resource=RESOURCE,
            asset=self._asset,
            key=self.identity.key,
            units=1,
            limit=self._price,
            valid_until=valid_until_s,
            nonce=nonce,
        )
        return SubmitOffer(
            at_ms=at_ms,
            offer=offer,
            digest=digest,
            signer=self.account,
            authority=Authority.KEY,
            signature="",
        )
