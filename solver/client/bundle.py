"""What is bought together, or instead of each other; and what is bought again and again."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from intents.bound import LIFETIME_SECONDS_MAX
from intents.bulk import INTENTS_MAX
from intents.bundle import Bundle, Terms, sign_bundle
from intents.document import Intent as SignedIntent
from solver.client.bought import BoughtIntent
from solver.client.fault import NotFilled
from solver.client.market import Identity, Market
from solver.client.model import Intent, Model, Result
from solver.client.purchase import Purchase

if TYPE_CHECKING:
    from solver.client.agent import Agent


class BundleState(Model, frozen=True, kw_only=True):
    """A bundle and its legs. What they ask of keys is as it was signed (`intents.bundle`)."""

    digest: str
    any: bool
    success_min: int = 0
    latency_max: int = 0
    legs: tuple[Intent, ...]


class BoughtBundle:
    """A submitted bundle. `legs` are intents, in the order in which they were asked for."""

    def __init__(self, agent: "Agent", state: BundleState, legs: Sequence[BoughtIntent]) -> None:
        self._agent = agent
        self.digest = state.digest
        self.legs = tuple(legs)

    async def refresh(self) -> BundleState:
        """Where it stands now, with the legs that are remembered."""
        return await self._agent.market.get(f"/v1/bundles/{self.digest}", BundleState)

    async def filled(self, *, timeout_seconds: float = 60) -> list[BoughtIntent]:
        """Wait for the legs that are filled: all of them, or the one of an any-of.

        Raises NotFilled if the bundle ends before, TimeoutError if neither happens in time.
        """
        watch = self._agent.watch
        waits = [
            watch.until(leg.digest, lambda it: bool(it.filled_units) or it.is_over, timeout_seconds)
            for leg in self.legs
        ]
        for leg, state in zip(self.legs, await asyncio.gather(*waits), strict=True):
            leg.state = state
        filled = [leg for leg in self.legs if leg.state.filled_units]
        if not filled:
            raise NotFilled(self.legs[0].state.status, 0)
        return filled

    async def cancel(self) -> None:
        """Withdraw all legs. Raises Rejected (too_late, not_open)."""
        await self._agent.market.request(
            "DELETE",
            f"/v1/bundles/{self.digest}",
            Result,
            signed_by=self._agent.identity,
            repeatable=True,
        )


def bundle_of(
    market: Market, account: str, epoch: int, purchases: Sequence[Purchase], terms: Terms
) -> Bundle:
    """The bundle to sign. Its legs are good as long as the first; all are bought whole or not."""
    legs = [purchase.document(market, account, epoch) for purchase in purchases]
    times = {name: getattr(legs[0], name) for name in ("valid_from", "valid_until", "immediate")}
    return Bundle(
        any=terms.any,
        success_min=terms.success_min,
        latency_max=terms.latency_max,
        legs=tuple(
            msgspec.structs.replace(
                leg, **times, units_min=leg.units_min if terms.any else leg.units
            )
            for leg in legs
        ),
    )


def signed_bundle(market: Market, identity: Identity, bundle: Bundle) -> dict[str, Any]:
    """A body of a bundle over its one signature."""
    return {
        **msgspec.to_builtins(bundle),
        "signature": sign_bundle(identity.key, market.domain, bundle),
    }


def recurring(
    market: Market, intent: SignedIntent, every_seconds: int, times: int
) -> list[SignedIntent]:
    """The same intent for each of so many periods that follow each other, the first with its own.

    Each begins when the one before ends, has a nonce of its own and can be cancelled alone.
    """
    if not 1 <= times <= INTENTS_MAX:
        raise ValueError(f"{times} times; 1 to {INTENTS_MAX} fit one signature")
    if not 1 <= every_seconds <= LIFETIME_SECONDS_MAX:
        raise ValueError(f"every {every_seconds} s; 1 to {LIFETIME_SECONDS_MAX}")
    start = intent.valid_from or market.time_s()
    return [
        msgspec.structs.replace(
            intent,
            valid_from=start + place * every_seconds,
            valid_until=start + (place + 1) * every_seconds,
            nonce=market.next_nonce() if place else intent.nonce,
        )
        for place in range(times)
    ]
