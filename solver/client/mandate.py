"""Buying under a mandate: signed once, then each batch is authenticated by a MAC."""

import asyncio
import hmac
from collections.abc import Sequence
from typing import Final

from intents.document import Intent
from solver.client.market import Identity, Market
from solver.client.model import Mandate, MandateSecret, Result
from solver.client.purchase import Bought, Outcomes, Purchase, bought, parts_of

HEADER: Final = "Keyfill-Mac"
BATCH_MAX: Final = 128
COUNTER_BYTES: Final = 8


class MandateSession:
    """A registered mandate and its secret, of which it has no repr."""

    def __init__(self, market: Market, identity: Identity, told: MandateSecret) -> None:
        self.market: Final = market
        self.state = told.mandate
        self._identity = identity
        self._secret = bytes.fromhex(told.secret)
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"MandateSession({self.digest})"

    @property
    def kept(self) -> MandateSecret:
        """What to keep to go on with it later (`Agent.resume`). Whoever has it can use it up."""
        return MandateSecret(mandate=self.state, secret=self._secret.hex())

    @property
    def digest(self) -> str:
        """The mandate's id."""
        return self.state.digest

    async def buy_many(self, purchases: Sequence[Purchase]) -> list[Bought]:
        """Submit intents within the mandate; an outcome for each, in order."""
        return await self.submit_many(self.documents(purchases))

    def documents(self, purchases: Sequence[Purchase]) -> list[Intent]:
        """The intents that `buy_many` submits."""
        state = self.state
        return [one.document(self.market, state.account, state.epoch) for one in purchases]

    async def submit_many(self, documents: Sequence[Intent]) -> list[Bought]:
        """Submit intents of your own making; submitting one again is safe."""
        found: list[Bought] = []
        for part in parts_of(documents, BATCH_MAX):
            # One at a time: a counter that comes after a higher one is refused.
            async with self._turn:
                told = await self.market.request(
                    "POST",
                    f"/v1/mandates/{self.digest}/intents",
                    Outcomes,
                    body=part,
                    headers=self._headers,
                    repeatable=True,
                )
            found += bought(self.market, part, told.outcomes)
        return found

    def authenticate(self, body: bytes) -> tuple[int, str]:
        """(counter, MAC) of a body; good once, and only before any later one."""
        counter = self.market.next_ms()
        counted = counter.to_bytes(COUNTER_BYTES, "big") + body
        return counter, hmac.digest(self._secret, counted, "sha256").hex()

    async def refresh(self) -> Mandate:
        """How far it is used now."""
        self.state = await self.market.get(f"/v1/mandates/{self.digest}", Mandate)
        return self.state

    async def replace_secret(self) -> None:
        """Get another secret, and keep `kept` anew: from now on no earlier one counts.

        For one that somebody else may know, or that was lost. What was bought stands.
        """
        # No body of ours is under way with the old one.
        async with self._turn:
            told = await self.market.request(
                "POST",
                f"/v1/mandates/{self.digest}/secret",
                MandateSecret,
                signed_by=self._identity,
                repeatable=True,
            )
            self.state = told.mandate
            self._secret = bytes.fromhex(told.secret)

    async def end(self) -> None:
        """Withdraw it, and what is open under it."""
        await self.market.request(
            "DELETE",
            f"/v1/mandates/{self.digest}",
            Result,
            signed_by=self._identity,
            repeatable=True,
        )

    def _headers(self, body: bytes) -> dict[str, str]:
        counter, mac = self.authenticate(body)
        return {HEADER: f"{counter}.{mac}"}
