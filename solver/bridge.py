"""The vault as the engine and the gateway see it.

Neither adapter imports another; these two classes are all that lies between them.
"""

import asyncio
import secrets
from collections.abc import Sequence

from intents.admission import Verified
from intents.document import Attestation
from intents.reject import Reject, RejectCode, reject
from solver.core.command import FinishCall, KeyEnd, Outcome, RetireKey, StartCall
from solver.core.event import LeaseStatus
from solver.engine.sequencer import Applied, Sequencer
from solver.gateway import port
from solver.vault import CallRequest, Candidate, Health, Proxy, Secret, StartedCall, Vault


class MarketDelivery:
    """The engine as the vault's proxy sees it."""

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer

    async def candidates(self, intent: str) -> Sequence[Candidate]:
        """The intent's open leases."""
        state = self._sequencer.market.state
        record = state.intents.get(intent)
        leases = [state.leases[lease] for lease in record.leases] if record else []
        return [
            Candidate(
                lease=lease.id,
                key=lease.key,
                resource=lease.resource,
                remaining=lease.remaining,
                last_used_ms=lease.last_used_ms,
            )
            for lease in leases
            if lease.status is LeaseStatus.OPEN
        ]

    async def start_call(self, lease: str, units: int) -> StartedCall | Reject:
        """Journal the reservation; the call's id is new and unguessable."""
        call = f"call-{secrets.token_hex(12)}"
        result = await self._sequencer.submit(StartCall(lease=lease, call=call, units=units))
        if isinstance(result, Reject):
            return result
        record = self._sequencer.market.state.leases[lease]
        return StartedCall(call=call, lease=lease, key=record.key, resource=record.resource)

    async def finish_call(
        self, call: str, outcome: Outcome, units: int, *, sellers_fault: bool = False
    ) -> None:
        """Journal the end. A full inbox is waited out: an open call must be closed."""
        command = FinishCall(call=call, outcome=outcome, units=units, sellers_fault=sellers_fault)
        while True:
            result = await self._sequencer.submit(command)
            if isinstance(result, Applied) or result.code is not RejectCode.BUSY:
                return
            await asyncio.sleep(0.05)

    async def report_refused(self, key: str) -> None:
        """A probe confirmed that the upstream refuses the key: it is dead."""
        await self._sequencer.submit(RetireKey(key=key, reason=KeyEnd.DEAD))


class VaultCustody:
    """The vault as the gateway sees it."""

    def __init__(self, vault: Vault, proxy: Proxy, sequencer: Sequencer) -> None:
        self._vault = vault
        self._proxy = proxy
        self._sequencer = sequencer

    def providers(self) -> Sequence[port.ProviderInfo]:
        """Every provider of the catalogue."""
        return [
            port.ProviderInfo(
                name=provider.name,
                title=provider.title,
                sharing=provider.sharing.value,
                attestation=provider.attestation,
                resources=tuple(resource.name for resource in provider.resources),
                limits=provider.limits,
            )
            for provider in self._vault.catalogue.providers()
        ]

    async def contribute(
        self, owner: str, provider: str, secret: str, attestation: Verified[Attestation] | None
    ) -> port.Contributed | Reject:
        """Seal and check a key."""
        sealed = await self._vault.contribute(
            owner, provider, Secret(secret.encode()), attested=attestation is not None
        )
        if isinstance(sealed, Reject):
            return sealed
        return port.Contributed(
            key=sealed.key_id,
            provider=sealed.provider,
            resources=sealed.resources,
            limits=sealed.limits,
        )

    async def revoke(self, owner: str, key: str) -> Reject | None:
        """Erase a key of this owner."""
        described = self._vault.describe(key)
        if described is not None and described.owner != owner:
            return reject(RejectCode.NOT_AUTHORIZED, "the key belongs to another account")
        await asyncio.to_thread(self._vault.revoke, key)
        return None

    async def health(self, owner: str, key: str) -> port.KeyHealth | Reject:
        """Probe a key of this owner."""
        described = self._vault.describe(key)
        if described is None or described.owner != owner:
            return reject(RejectCode.KEY_UNKNOWN, key)
        found = await self._vault.probe(key)
        if isinstance(found, Reject):
            return found
        return port.KeyHealth(
            key=key,
            provider=described.provider,
            status=found.value if isinstance(found, Health) else "unknown",
            checked_at_ms=self._sequencer.now_ms(),
        )

    async def call(self, intent: str, request: port.ProxyRequest) -> port.ProxyAnswer | Reject:
        """Serve a call from the intent's leases."""
        record = self._sequencer.market.state.intents.get(intent)
        if record is None:
            return reject(RejectCode.LEASE_UNKNOWN, f"no intent {intent}")
        return await self._proxy.call(
            intent,
            CallRequest(
                method=request.method,
                path=request.path,
                query=request.query,
                headers=request.headers,
                body=request.body,
            ),
            buyer=record.document.account,
        )
